# The steps of a partition's life: in each of their stages, the process is looked at (which locks it holds, while readers and writers of
# the table go on), killed with -9, and after the restart the same step is done again, to the same end.
# P8: no step holds a lock on the parent that stops readers or writers.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use WalhouseLife qw(go_on_now stand_at start_maintenance strongest_lock kill_worker setting);
use Test::More;

my $house = one_server(conf => "walhouse.worker = off\nwalhouse.partition_lock_timeout = 200ms\nwal_writer_delay = 10s\n");

sql($house, q{
	CREATE ROLE keeper; CREATE SCHEMA s AUTHORIZATION keeper; CREATE SCHEMA old AUTHORIZATION keeper;
	SET ROLE keeper;
	CREATE TABLE s.t (id int, at timestamptz NOT NULL, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
	SELECT walhouse.create_partition_set('s.t', 'day', lead_count => 2, seal_after => '1 day', retire_after => '3 days');
});


# Each stage: where it stands, at which time it comes there, what the worker locks there, strongest first.
life('make: made', '2026-01-01 12:00', 's.t' => 'ShareUpdateExclusiveLock');
is(value($house, parts()), 's.t_p2026_01_01,s.t_p2026_01_02,s.t_p2026_01_03', 'after the restart all is made, once');
sql($house, q{INSERT INTO s.t SELECT i, '2026-01-01 00:00+00'::timestamptz + i * interval '1 hour', 'v' FROM generate_series(0, 23) i});
life('seal: vacuumed', '2026-01-03 00:00', 's.t' => '', 's.t_p2026_01_01' => '');
is(value($house, q{SELECT state || ' ' || rows FROM walhouse.partitions WHERE partition = 's.t_p2026_01_01'::regclass}), 'sealed 24', 'it is sealed');
sql($house, q{UPDATE walhouse.partition SET state = 'open', rows = NULL WHERE relid = 's.t_p2026_01_01'::regclass;
	UPDATE walhouse.partition_step SET step = 'seal', due = '2026-01-03' WHERE relid = 's.t_p2026_01_01'::regclass});
life('seal: counted', '2026-01-03 00:00', 's.t' => '', 's.t_p2026_01_01' => 'AccessShareLock');
is(value($house, q{SELECT state || ' ' || rows FROM walhouse.partitions WHERE partition = 's.t_p2026_01_01'::regclass}), 'sealed 24', 'it is sealed again');

# Detaching, cut off while it waits for a writer: the server remembers that it is pending, and the next attempt ends it.
setting($house, 'walhouse.partition_lock_timeout', '60s');
my $writer = $house->background_psql('postgres');
$writer->query_safe(q{BEGIN; INSERT INTO s.t VALUES (900, '2026-01-04 00:00+00', 'open')});
my $maintainer = start_maintenance($house, 's.t', '2026-01-05 00:00');
ok(poll($house, 'postgres', q{SELECT bool_or(inhdetachpending) FROM pg_inherits WHERE inhparent = 's.t'::regclass}), 'detaching waits for a writer, pending');
ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'walhouse partition worker' AND wait_event_type = 'Lock'}), 'and the process waits for a lock');
is(strongest_lock($house, 's.t'), 'ShareUpdateExclusiveLock', 'meanwhile the parent is locked SHARE UPDATE EXCLUSIVE, no stronger') if strongest_lock($house, 's.t') ne '';
go_on_now($house, go_on(), 'while detaching waits');
setting($house, 'walhouse.partition_lock_timeout');
# Its commits do not wait for the disk; this one is to be there.
sql($house, 'CHECKPOINT');
kill_worker($house, $maintainer, $writer);
is(value($house, q{SELECT count(*) FROM pg_inherits WHERE inhparent = 's.t'::regclass AND inhdetachpending}), '1', 'a killed one stays pending');
sql($house, maintain('2026-01-05 00:00'));
is(value($house, q{SELECT coalesce(to_regclass('s.t_p2026_01_01')::text, 'gone') || ' ' || count(*) FROM pg_inherits WHERE inhparent = 's.t'::regclass AND inhdetachpending}), 'gone 0',
	'the next attempt has finished it, and dropped the table');

life('detach: detached', '2026-01-06 00:00', 's.t' => '', 's.t_p2026_01_02' => '');
is(value($house, q{SELECT to_regclass('s.t_p2026_01_02') IS NULL}), 't', 'after detached: it goes');
life('detach: noted', '2026-01-07 00:00', 's.t' => '', 's.t_p2026_01_03' => '');
is(value($house, q{SELECT to_regclass('s.t_p2026_01_03') IS NULL}), 't', 'after noted: it goes');
life('drop: before', '2026-01-08 00:00', 's.t' => 'AccessShareLock', 's.t_p2026_01_04' => 'AccessExclusiveLock');
is(value($house, q{SELECT to_regclass('s.t_p2026_01_04') IS NULL}), 't', 'before the drop: it goes');
life('drop: dropped', '2026-01-09 00:00', 's.t' => 'AccessShareLock', 's.t_p2026_01_05' => 'AccessExclusiveLock');
is(value($house, q{SELECT to_regclass('s.t_p2026_01_05') IS NULL}), 't', 'after the drop: it goes');
sql($house, q{SET ROLE keeper; SELECT walhouse.alter_partition_set('s.t', '{"retire": "move", "retire_schema": "old"}')});
life('move: moved', '2026-01-10 00:00', 's.t' => 'AccessShareLock', 's.t_p2026_01_06' => 'AccessExclusiveLock');
is(value($house, q{SELECT to_regclass('old.t_p2026_01_06') IS NOT NULL AND to_regclass('s.t_p2026_01_06') IS NULL}), 't', 'it has moved');

# What the register says is what is there.
is(value($house, q{SELECT count(*) FROM walhouse.partitions p FULL JOIN pg_inherits i ON i.inhrelid = p.partition
	WHERE (i.inhparent = 's.t'::regclass OR i.inhparent IS NULL) AND (p.partition IS NULL) <> (i.inhrelid IS NULL) AND p.state IS DISTINCT FROM 'moved'}), '0', 'the register is right');
is(value($house, q{SELECT count(*) FROM walhouse.partition_step WHERE failures > 0}), '0', 'no step counts as failed');
is(value($house, q{SELECT count(DISTINCT relowner) FROM pg_class WHERE relnamespace IN ('s'::regnamespace, 'old'::regnamespace) AND relkind IN ('r', 'p') AND relowner = 'keeper'::regrole}), '1', 'all is the owner\'s');

# A look at a set, killed: before it commits nothing is known of what it found, then that is known, and what lacks is found again.
sql($house, q{SET ROLE keeper; CREATE TABLE s.made (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at); SELECT walhouse.create_partition_set('s.made', 'day', lead_count => 1);
	CREATE TABLE s.hand PARTITION OF s.made FOR VALUES FROM ('2026-01-01 18:00+00') TO ('2026-01-02 06:00+00')});
my $known = q{SELECT count(*) || ' ' || (SELECT count(*) FROM walhouse.partitions WHERE parent = 's.made'::regclass) FROM pg_inherits WHERE inhparent = 's.made'::regclass};
for (['make: looked', 'AccessShareLock', '1 0'], ['make: planned', '', '1 1'])
{
	my ($point, $lock, $expected) = @$_;
	my $session = stand_at($house, 's.made', '2026-01-01 12:00', $point);
	is(strongest_lock($house, 's.made'), $lock, "\"$point\": the table is locked " . ($lock || 'not at all'));
	go_on_now($house, q{SELECT count(*) FROM s.made; INSERT INTO s.made VALUES (1, '2026-01-01 20:00+00')}, "at \"$point\"");
	sql($house, 'CHECKPOINT');
	kill_worker($house, $session);
	setting($house, 'walhouse.debug_partition_point');
	is(value($house, $known), $expected, "killed at \"$point\": nothing is made, and is known what was committed");
}
sql($house, q{CALL walhouse.maintain_partitions('s.made', '2026-01-01 12:00+00')});
is(value($house, $known), '3 3', 'the next look makes what lacks, beside what is there');

$house->stop;
done_testing();

# life POINT, TIME, RELATION => LOCK …: that of WalhouseLife, of this table.
sub life { return WalhouseLife::life($house, 's.t', go_on(), @_) }

sub maintain { return "CALL walhouse.maintain_partitions('s.t', '$_[0]+00')" }

# go_on: what a reader and a writer of the table do.
sub go_on
{
	return q{SELECT count(*) >= 0 FROM s.t;
		INSERT INTO s.t SELECT 1000, lower_bound::timestamptz, 'w' FROM (SELECT max(from_value) FROM walhouse.partitions WHERE parent = 's.t'::regclass AND state = 'open') x(lower_bound) WHERE lower_bound IS NOT NULL};
}

sub parts { return q{SELECT string_agg(partition::text, ',' ORDER BY from_value) FROM walhouse.partitions WHERE parent = 's.t'::regclass} }
