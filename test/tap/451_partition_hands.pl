# What somebody else does to a partition, or to the table, while a step of it stands still between two of its transactions, or holds a
# lock: renamed, moved, dropped, detached, attached again, made by hand across the grid. The step comes to an end that fits what is
# there, or fails and is tried again; no row is lost, and nothing is left behind. And the calendar: days on which clocks change, leap
# days, a zone that is altered, a clock that goes back.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use WalhouseLife;
use Test::More;

my $house = one_server(conf => "walhouse.worker = off\nwalhouse.partition_lock_timeout = 200ms\n");
my $folder = $house->basedir . '/archive';
mkdir $folder or die "$folder: $!";
setting($house, 'walhouse.archive_directory', $folder);
sql($house, 'CREATE SCHEMA s; CREATE SCHEMA old');

sub maintain { my ($table, $at) = @_; return sql($house, "CALL walhouse.maintain_partitions('$table', '$at+00')") }
sub parts { return value($house, "SELECT coalesce(string_agg(partition::text || ' ' || state, ', ' ORDER BY from_value, partition::text), '') FROM walhouse.partitions WHERE parent = '$_[0]'::regclass") }
sub failing { return value($house, 'SELECT count(*) FROM walhouse.partition_step WHERE failures > 0') }

# fresh TABLE, OPTIONS: a set with rows of its first day; the days after that are there.
sub fresh
{
	my ($table, $options) = @_;

	sql($house, qq{CREATE TABLE s.$table (at timestamptz NOT NULL, v int) PARTITION BY RANGE (at);
		SELECT walhouse.create_partition_set('s.$table', 'day', lead_count => 2, horizon => '1000 years', $options);
		CALL walhouse.maintain_partitions('s.$table', '2026-01-01 12:00+00');
		INSERT INTO s.$table SELECT '2026-01-01 00:00+00'::timestamptz + i * interval '1 hour', i FROM generate_series(0, 23) i});
	return;
}

# at_point TABLE, TIME, POINT, SQL: what somebody does while the step stands there; then it goes on.
sub at_point
{
	my ($table, $at, $point, $sql) = @_;
	my $session = stand_at($house, "s.$table", $at, $point);

	sql($house, $sql);
	walk_on($house, $session);
	return;
}

# Making: the set has been looked at, and nothing is made yet.
fresh('m', q{retire_after => NULL});
at_point('m', '2026-01-03 12:00', 'make: planned', q{CREATE TABLE s.across (LIKE s.m); ALTER TABLE s.m ATTACH PARTITION s.across FOR VALUES FROM ('2026-01-04 18:00+00') TO ('2026-01-05 06:00+00')});
maintain('s.m', '2026-01-03 12:00');
is(value($house, q{SELECT string_agg(from_value || ' ' || to_value, ', ' ORDER BY from_value) FROM walhouse.partitions WHERE parent = 's.m'::regclass AND from_value >= '2026-01-04'}),
	'2026-01-04 00:00:00+00 2026-01-04 18:00:00+00, 2026-01-04 18:00:00+00 2026-01-05 06:00:00+00, 2026-01-05 06:00:00+00 2026-01-06 00:00:00+00', 'made: a partition that was made across the grid meanwhile gets neighbours');
is(failing(), '0', 'made: the step that met it was tried again');
at_point('m', '2026-01-04 12:00', 'make: planned', q{ALTER TABLE s.m RENAME TO mm; ALTER TABLE s.mm SET SCHEMA old});
like(parts('old.mm'), qr/old\.mm_p2026_01_06 open$/, 'made: a table that was renamed and moved gets its partition');
my $session = stand_at($house, 'old.mm', '2026-01-05 12:00', 'make: planned');
sql($house, 'DROP TABLE old.mm');
walk_on($house, $session);
sql($house, q{CALL walhouse.maintain_partitions(at => '2100-01-01')});
is(value($house, 'SELECT count(*) FROM walhouse.partition_set') . failing(), '00', 'made: a table that was dropped is forgotten');

# Asked for while it is being looked at.
fresh('w', q{retire_after => NULL});
at_point('w', '2026-01-01 13:00', 'make: planned', q{SELECT walhouse.alter_partition_set('s.w', '{"lead_count": 5}')});
is(value($house, q{SELECT due <= now() FROM walhouse.partition_step WHERE step = 'make'}), 't', 'made: what is asked for while a set is being looked at stays asked for');
maintain('s.w', '2026-01-01 13:00');
is(value($house, q{SELECT count(*) FROM walhouse.partitions WHERE parent = 's.w'::regclass}), '6', 'made: and is done');

# Sealing.
fresh('e', q{seal_after => '1 day'});
at_point('e', '2026-01-03 00:00', 'seal: vacuumed', q{ALTER TABLE s.e_p2026_01_01 RENAME TO e_first; ALTER TABLE s.e_first SET SCHEMA old});
like(parts('s.e'), qr/^old\.e_first sealed,/, 'sealed: one that was renamed and moved');
at_point('e', '2026-01-04 00:00', 'seal: vacuumed', q{DROP TABLE s.e_p2026_01_02});
maintain('s.e', '2026-01-04 00:00');
unlike(parts('s.e'), qr/e_p2026_01_02 sealed/, 'sealed: one that was dropped is forgotten');
maintain('s.e', '2026-01-05 12:00');
at_point('e', '2026-01-06 00:00', 'seal: vacuumed', q{ALTER TABLE s.e DETACH PARTITION s.e_p2026_01_04});
maintain('s.e', '2026-01-06 00:00');
unlike(parts('s.e'), qr/e_p2026_01_04/, 'sealed: one that was detached is nobody\'s business here');
is(failing(), '0', 'sealed: nothing counts as failed');

# Detaching, which is done and not noted yet.
fresh('d', q{retire_after => '1 day', drop_after => '30 days'});
at_point('d', '2026-01-03 00:00', 'detach: detached', q{ALTER TABLE s.d_p2026_01_01 RENAME TO d_first; ALTER TABLE s.d_first SET SCHEMA old});
like(parts('s.d'), qr/^old\.d_first detached,/, 'detached: one that was renamed and moved');
at_point('d', '2026-01-04 00:00', 'detach: detached', q{DROP TABLE s.d_p2026_01_02});
maintain('s.d', '2026-01-04 00:00');
unlike(parts('s.d'), qr/d_p2026_01_02/, 'detached: one that was dropped is forgotten');
sql($house, q{INSERT INTO s.d VALUES ('2026-01-03 12:00+00', 77)});
at_point('d', '2026-01-05 00:00', 'detach: detached', q{ALTER TABLE s.d ATTACH PARTITION s.d_p2026_01_03 FOR VALUES FROM ('2026-01-03 00:00+00') TO ('2026-01-04 00:00+00'); SELECT walhouse.hold_partition('s.d_p2026_01_03', 'mine')});
maintain('s.d', '2026-01-05 00:00');
is(value($house, q{SELECT count(*) FROM s.d WHERE v = 77}), '1', 'detached: one that was attached again and held is there');
like(parts('s.d'), qr/s\.d_p2026_01_03 open/, 'detached: and is a partition like any other');
is(failing(), '0', 'detached: nothing counts as failed');

# Archived, dropped, moved: the step holds a lock on what is no partition any more; who comes meanwhile waits for it.
my $waits = q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'};
sub beside
{
	my ($table, $at, $point, $sql) = @_;
	my $step = stand_at($house, "s.$table", $at, $point);
	my $other = $house->background_psql('postgres', on_error_stop => 0);

	$other->query_until(qr/started/, "\\echo started\n$sql;\n");
	ok(poll($house, 'postgres', $waits), "\"$point\": who changes the table by hand waits");
	walk_on($house, $step);
	$other->quit;
	return;
}
fresh('a', q{retire_after => '1 day', drop_after => '30 days', archive => true});
beside('a', '2026-01-03 00:00', 'archive: written', 'ALTER TABLE s.a_p2026_01_01 RENAME TO a_first');
like(parts('s.a'), qr/^s\.a_first archived,/, 'archived: one that was renamed');
sql($house, q{INSERT INTO s.a VALUES ('2026-01-02 12:00+00', 5)});
beside('a', '2026-01-04 00:00', 'archive: written', 'DROP TABLE s.a_p2026_01_02');
maintain('s.a', '2026-01-04 00:00');
unlike(parts('s.a'), qr/a_p2026_01_02/, 'archived: one that was dropped is forgotten');
sql($house, q{CALL walhouse.restore_partition('s.a', '2026-01-02 12:00+00')});
is(value($house, q{SELECT v FROM s.a WHERE at = '2026-01-02 12:00+00'}), '5', 'archived: and comes back from its file');
beside('a', '2026-02-10 00:00', 'drop: before', 'ALTER TABLE s.a_first RENAME TO a_second');
is(value($house, q{SELECT to_regclass('s.a_first') IS NULL AND to_regclass('s.a_second') IS NULL}), 't', 'dropped: who comes to rename it finds nothing');
fresh('v', q{retire_after => '1 day', retire => 'move', retire_schema => 'old'});
beside('v', '2026-01-03 00:00', 'move: moved', 'DROP TABLE s.v_p2026_01_01');
is(value($house, q{SELECT to_regclass('s.v_p2026_01_01') IS NULL}), 't', 'moved: who comes to drop it under its old name finds what it was');
maintain('s.v', '2026-01-03 00:00');
is(failing(), '0', 'nothing counts as failed');

# Restoring, while somebody makes a partition of the range, or drops the table.
sql($house, q{SELECT walhouse.unhold_partition('s.a_p2026_01_02')});
maintain('s.a', '2026-02-10 00:00');
setting($house, 'walhouse.debug_partition_point', 'restore: copied');
my $restorer = $house->background_psql('postgres', on_error_stop => 0);
$restorer->query_until(qr/started/, "\\echo started\nCALL walhouse.restore_partition('s.a', '2026-01-02 12:00+00');\n");
ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query = 'standing at restore: copied'}), 'it stands at "restore: copied"');
sql($house, q{CREATE TABLE s.late PARTITION OF s.w FOR VALUES FROM ('2025-01-01') TO ('2025-01-02'); CREATE TABLE s.byhand (LIKE s.a); ALTER TABLE s.a ATTACH PARTITION s.byhand FOR VALUES FROM ('2026-01-02 06:00+00') TO ('2026-01-02 07:00+00')});
setting($house, 'walhouse.debug_partition_point');
$restorer->quit;
is(value($house, q{SELECT count(*) FROM pg_class WHERE relnamespace = 's'::regnamespace AND relname ~ '^a_p2026_01_02'}), '0', 'restored: beside a partition that was made meanwhile nothing is, and nothing is left');
sql($house, q{DROP TABLE s.byhand; CALL walhouse.restore_partition('s.a', '2026-01-02 12:00+00')});
is(value($house, q{SELECT v FROM s.a WHERE at = '2026-01-02 12:00+00'}), '5', 'restored: when it is gone, it is');

# The calendar, from the launcher's side: when steps are due.
sub dues
{
	my ($table, $where) = @_;
	return value($house, "SELECT string_agg(regexp_replace(partition::text, '.*_p', '') || ' ' || to_char(due AT TIME ZONE 'UTC', 'MM-DD HH24:MI'), ', ' ORDER BY from_value) FROM walhouse.partitions WHERE parent = '$table'::regclass AND $where");
}
sql($house, q{CREATE TABLE s.berlin (at timestamptz NOT NULL) PARTITION BY RANGE (at);
	SELECT walhouse.create_partition_set('s.berlin', 'day', zone => 'Europe/Berlin', lead_count => 2, seal_after => '1 day', horizon => '1000 years')});
maintain('s.berlin', '2026-03-28 12:00');
is(dues('s.berlin', 'true'), '2026_03_28 03-29 22:00, 2026_03_29 03-30 22:00, 2026_03_30 03-31 22:00', 'a day of 23 hours: steps are due at midnight there');
maintain('s.berlin', '2026-10-24 12:00');
is(dues('s.berlin', q{from_value >= '2026-10-23'}), '2026_10_24 10-25 23:00, 2026_10_25 10-26 23:00, 2026_10_26 10-27 23:00', 'and one of 25');
maintain('s.berlin', '2028-02-28 12:00');
is(dues('s.berlin', q{from_value >= '2028-02-27'}), '2028_02_28 02-29 23:00, 2028_02_29 03-01 23:00, 2028_03_01 03-02 23:00', 'a leap day is a day');
sql($house, q{SELECT walhouse.alter_partition_set('s.berlin', '{"seal_after": null, "retire_after": "1 year", "retire": "keep"}')});
is(dues('s.berlin', q{from_value >= '2028-02-27'}), '2028_02_28 02-27 23:00, 2028_02_29 02-28 23:00, 2028_03_01 03-01 23:00', 'a year after a leap day has ended it is March, too');

# Neither the server's zone nor a session's moves a bound; an altered zone leaves no gap; a clock that goes back undoes nothing.
my $bounds = q{SELECT md5(string_agg(pg_get_expr(c.relpartbound, c.oid), ' ' ORDER BY c.oid)) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 's.berlin'::regclass};
my $was = value($house, "SET timezone = 'UTC'; $bounds");
setting($house, 'timezone', 'Pacific/Chatham');
$house->restart;
sql($house, q{SET timezone = 'Asia/Kathmandu'; CALL walhouse.maintain_partitions('s.berlin', '2026-10-24 12:00+00')});
is(value($house, "SET timezone = 'UTC'; $bounds"), $was, 'with another zone of server and session, and a clock that went back, all is as it was');
sql($house, q{CALL walhouse.maintain_partitions('s.berlin', '2028-03-01 12:00+00')});
is(value($house, q{SET timezone = 'Europe/Berlin'; SELECT to_char(max(from_value::timestamptz), 'HH24:MI') FROM walhouse.partitions WHERE parent = 's.berlin'::regclass}), '00:00', 'what is made then begins at midnight in the set\'s zone');
sql($house, q{SELECT walhouse.alter_partition_set('s.berlin', '{"zone": "America/New_York", "retire_after": null}'); CALL walhouse.maintain_partitions('s.berlin', '2028-03-04 12:00+00')});
is(value($house, q{SELECT count(*) FROM (SELECT from_value::timestamptz AS lo, lag(to_value::timestamptz) OVER (ORDER BY from_value::timestamptz) AS before FROM walhouse.partitions WHERE parent = 's.berlin'::regclass AND from_value > '2028-02-28') x WHERE before <> lo}), '0',
	'between the days of the old zone and those of the new one nothing is left out');

$house->stop;
done_testing();
