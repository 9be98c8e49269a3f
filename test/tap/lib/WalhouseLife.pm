# WalhouseLife: what the tests of partitions' lives share: the process that does a step is made to stand still at a point, looked at
# (which locks it holds, and that readers and writers go on), and killed. In database "postgres".
package WalhouseLife;

use strict;
use warnings;
use Exporter 'import';
use WalhouseTest;
use WalhouseProof;
use Test::More;

our @EXPORT = qw(life go_on_now stand_at walk_on start_maintenance strongest_lock kill_worker setting);

my $worker = "backend_type = 'walhouse partition worker'";

# setting NODE, NAME, VALUE: in the server's configuration; without a value, its default.
sub setting
{
	my ($node, $name, $value) = @_;

	sql($node, "ALTER SYSTEM " . (defined $value ? "SET $name = '$value'" : "RESET $name"));
	sql($node, 'SELECT pg_reload_conf()');
	return;
}

# start_maintenance NODE, TABLE, TIME: what is due by then, in a session that is returned.
sub start_maintenance
{
	my ($node, $table, $at) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_until(qr/started/, "\\echo started\nCALL walhouse.maintain_partitions('$table', '$at+00');\n");
	return $session;
}

# stand_at NODE, TABLE, TIME, POINT: does what is due by then, until the process stands at the point; returns the session that waits for it.
sub stand_at
{
	my ($node, $table, $at, $point) = @_;

	setting($node, 'walhouse.debug_partition_point', $point);
	my $session = start_maintenance($node, $table, $at);
	ok(poll($node, 'postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE $worker AND query = 'standing at $point'"), "it stands at \"$point\"")
		or diag(sql($node, "SELECT * FROM pg_stat_activity WHERE $worker") . sql($node, 'SELECT * FROM walhouse.partition_step'));
	return $session;
}

# walk_on NODE, SESSION: what stands goes on to its end.
sub walk_on
{
	my ($node, $session) = @_;

	setting($node, 'walhouse.debug_partition_point');
	$session->quit;
	return;
}

# strongest_lock NODE, RELATION: the strongest that the process holds on a relation.
sub strongest_lock
{
	my ($node, $relation) = @_;

	return value($node, qq{SELECT coalesce((SELECT l.mode FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE a.$worker AND l.granted AND l.locktype = 'relation' AND l.relation = (SELECT c.oid FROM pg_class c WHERE c.oid::regclass::text = '$relation')
		ORDER BY array_position('{AccessExclusiveLock,ExclusiveLock,ShareRowExclusiveLock,ShareLock,ShareUpdateExclusiveLock,RowExclusiveLock,RowShareLock,AccessShareLock}', l.mode) LIMIT 1), '')});
}

# kill_worker NODE, SESSION …: kill -9 of the process; the server restarts all of them, and the sessions are lost.
sub kill_worker
{
	my ($node, @sessions) = @_;
	my $pid = value($node, "SELECT pid FROM pg_stat_activity WHERE $worker");

	kill9($node, $pid);
	wait_until(sub { !kill(0, $pid) });
	ok(poll($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE $worker"), 'killed');
	for (@sessions)
	{
		eval { $_->{run}->kill_kill };
	}
	return;
}

# go_on_now NODE, SQL, WHEN: a reader and a writer, who do this, get their locks at once.
sub go_on_now
{
	my ($node, $go_on, $when) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "SET lock_timeout = '100ms'; BEGIN; $go_on; ROLLBACK", timeout => 60);

	is($status ? $err : 'goes on', 'goes on', "$when: readers and writers go on");
	return;
}

# life NODE, TABLE, GO_ON, POINT, TIME, RELATION => LOCK …: what is due at a time, until the process stands at a point: there its
# strongest lock on each relation is as expected, and SQL GO_ON gets its locks at once; it is killed, and the same is done again.
sub life
{
	my ($node, $table, $go_on, $point, $at, @locks) = @_;
	my $session = stand_at($node, $table, $at, $point);

	while (my ($relation, $lock) = splice @locks, 0, 2)
	{
		is(strongest_lock($node, $relation), $lock, "\"$point\": $relation is locked " . ($lock || 'not at all'));
	}
	go_on_now($node, $go_on, "at \"$point\"");
	kill_worker($node, $session);
	setting($node, 'walhouse.debug_partition_point');
	sql($node, "CALL walhouse.maintain_partitions('$table', '$at+00')");
	return;
}

1;
