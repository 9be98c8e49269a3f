# The step that gives sealed partitions their indexes: in each of its stages looked at, killed with -9, and done again; in the middle of
# a statement, too; beside a transaction that keeps an index from being made. P8: nothing stops readers or writers.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use WalhouseLife;
use Test::More;

my $house = one_server(conf => "walhouse.worker = off\nwalhouse.partition_lock_timeout = 200ms\nallow_in_place_tablespaces = on\n");

sql($house, q{CREATE TABLESPACE cold LOCATION ''});
sql($house, q{
	CREATE ROLE keeper; CREATE SCHEMA s AUTHORIZATION keeper; GRANT CREATE ON TABLESPACE cold TO keeper;
	SET ROLE keeper;
	CREATE TABLE s.t (id int, at timestamptz NOT NULL, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
	SELECT walhouse.create_partition_set('s.t', 'day', lead_count => 8, seal_after => '1 day', profile => '{"open_indexes": [{"btree": ["at"]}],
		"indexes": [{"brin": ["at"]}, {"btree": ["v"]}], "fillfactor": 100, "index_tablespace": "cold", "after": "2 days"}');
	CALL walhouse.maintain_partitions('s.t', '2026-01-01 12:00+00');
	INSERT INTO s.t SELECT i, '2026-01-01 00:00+00'::timestamptz + i * interval '1 minute', 'v' || i % 7 FROM generate_series(0, 3 * 1440 - 1) i;
	CALL walhouse.maintain_partitions('s.t', '2026-01-06 00:00+00');
	SELECT walhouse.alter_partition_set('s.t', '{"seal_after": "1 day"}');
});
my $go_on = q{SELECT count(*) FROM s.t WHERE at < '2026-01-04'; INSERT INTO s.t SELECT 100000 + i, '2026-01-01 00:00+00'::timestamptz + i * interval '1 day', 'late' FROM generate_series(0, 4) i};
my $rows = value($house, q{SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM s.t});

# has PARTITION: its state, its indexes, and its fillfactor.
sub has
{
	my ($partition) = @_;
	return value($house, qq{SELECT (SELECT state FROM walhouse.partitions WHERE partition = '$partition'::regclass) || ' ' || string_agg(a.amname || '(' || pg_get_indexdef(x.oid, 1, true) || ')'
		|| CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END || CASE WHEN x.reltablespace = 0 THEN '' ELSE ' cold' END, ', ' ORDER BY a.amname, pg_get_indexdef(x.oid, 1, true))
		|| ' ' || coalesce((SELECT reloptions::text FROM pg_class WHERE oid = '$partition'::regclass), '{}')
		FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam WHERE i.indrelid = '$partition'::regclass});
}
my $done = 'profiled brin(at) cold, btree(id) cold, btree(v) cold {fillfactor=100}';

is(has('s.t_p2026_01_01'), $done, 'a partition of rows gets what its profile says');
is(has('s.t_p2026_01_04'), 'sealed btree(at), btree(id) {}', 'one that is sealed waits for its time');
sql($house, q{SET ROLE keeper; INSERT INTO s.t SELECT 10000 + i, '2026-01-04 00:00+00'::timestamptz + i * interval '1 second', 'v' || i FROM generate_series(0, 9999) i});
$rows = value($house, q{SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM s.t});

# Killed after each of its statements, until nothing is left to be done: it stands at the same point again and again. Commits of steps do
# not wait for the disk; CHECKPOINT has them there, so that what was done is known.
my $killed = 0;
while ($killed < 10)
{
	setting($house, 'walhouse.debug_partition_point', 'profile: one done');
	my $session = start_maintenance($house, 's.t', '2026-01-07 00:00');
	ok(poll($house, 'postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query = 'standing at profile: one done') OR state = 'profiled' FROM walhouse.partitions WHERE partition = 's.t_p2026_01_04'::regclass}), 'it stands, or has done all');
	last if value($house, q{SELECT state FROM walhouse.partitions WHERE partition = 's.t_p2026_01_04'::regclass}) eq 'profiled';
	$killed++;
	is(strongest_lock($house, 's.t'), '', "after statement $killed: the parent is not locked");
	go_on_now($house, $go_on, "after statement $killed");
	sql($house, q{CHECKPOINT});
	kill_worker($house, $session);
}
setting($house, 'walhouse.debug_partition_point');
is($killed, 5, 'it was killed after each statement: fillfactor, two indexes, one that goes, one that moves');
is(has('s.t_p2026_01_04'), $done, 'and all is done, once');

# In the middle of a statement: an index that is half made, while a transaction of somebody else's stays open.
sql($house, q{SET ROLE keeper; SELECT walhouse.alter_partition_set('s.t', '{"profile": {"indexes": [{"brin": ["at"]}, {"btree": ["v"]}, {"hash": ["v"]}], "fillfactor": 100, "index_tablespace": "cold"}}')});
my $reader = $house->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM s.t');
my $session = start_maintenance($house, 's.t', '2026-01-07 00:00');
ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'walhouse partition worker' AND wait_event_type = 'Lock' AND query LIKE 'CREATE INDEX CONCURRENTLY%'}), 'an index is made, and waits for the reader');
is(strongest_lock($house, 's.t'), '', 'meanwhile the parent is not locked');
go_on_now($house, $go_on, 'while an index is made');
sql($house, q{CHECKPOINT});
kill_worker($house, $session, $reader);
is(value($house, q{SELECT count(*) FROM pg_index WHERE NOT indisvalid}), '1', 'a killed one leaves an index that is not valid');
sql($house, q{CALL walhouse.maintain_partitions('s.t', '2026-01-07 00:00+00')});
is(value($house, q{SELECT count(*) FROM pg_index WHERE NOT indisvalid}), '0', 'the next attempt drops it');
$done =~ s/ \{/, hash(v) cold {/;
is(has('s.t_p2026_01_01'), $done, 'and makes it');

# All the same for one that is moved to a tablespace.
$reader = $house->background_psql('postgres');
sql($house, q{SET ROLE keeper; CREATE INDEX later ON s.t_p2026_01_02 (v, id); SELECT walhouse.alter_partition_set('s.t', '{"profile": {"index_tablespace": "cold"}}')});
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM s.t');
$session = start_maintenance($house, 's.t', '2026-01-07 00:00');
ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'walhouse partition worker' AND wait_event_type = 'Lock' AND query LIKE 'REINDEX%'}), 'an index is moved, and waits for the reader');
go_on_now($house, $go_on, 'while an index is moved');
sql($house, q{CHECKPOINT});
kill_worker($house, $session, $reader);
isnt(value($house, q{SELECT count(*) FROM pg_index WHERE NOT indisvalid}), '0', 'a killed one leaves an index that is not valid');
sql($house, q{CALL walhouse.maintain_partitions('s.t', '2026-01-07 00:00+00')});
is(value($house, q{SELECT count(*) FROM pg_index WHERE NOT indisvalid}), '0', 'the next attempt drops it');
is(value($house, q{SELECT t.spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE c.relname = 'later'}), 'cold', 'and moves it');

life($house, 's.t', $go_on, 'profile: noted', '2026-01-08 00:00', 's.t' => 'AccessShareLock', 's.t_p2026_01_05' => '');
is(value($house, q{SELECT string_agg(DISTINCT state, ' ') FROM walhouse.partitions WHERE to_value::timestamptz <= '2026-01-06'}), 'profiled', 'all are profiled');
is(value($house, q{SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM s.t}), $rows, 'the rows are what they were');
is(value($house, q{SELECT count(*) FROM walhouse.partition_step WHERE failures > 0}), '0', 'no step counts as failed');

# A partition that is dropped by hand while its step goes on, and one that is renamed.
sql($house, q{SET ROLE keeper; SELECT walhouse.alter_partition_set('s.t', '{"profile": {"indexes": [{"brin": ["at", "id"]}, {"brin": ["v"]}]}}')});
$session = stand_at($house, 's.t', '2026-01-08 00:00', 'profile: one done');
sql($house, q{SET ROLE keeper; ALTER TABLE s.t_p2026_01_02 RENAME TO renamed; DROP TABLE s.t_p2026_01_03; DROP TABLE s.t_p2026_01_01});
walk_on($house, $session);
sql($house, q{CALL walhouse.maintain_partitions('s.t', '2026-01-08 00:00+00')});
is(value($house, q{SELECT count(*) FROM walhouse.partitions WHERE parent = 's.t'::regclass AND partition::text ~ '01_0[13]'}), '0', 'what was dropped is forgotten');
is(value($house, q{SELECT count(*) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam WHERE i.indrelid = 's.renamed'::regclass AND a.amname = 'brin' AND indisvalid}), '3', 'what was renamed is profiled');
is(value($house, q{SELECT count(*) FROM walhouse.partition_step WHERE failures > 0}), '0', 'no step counts as failed');

$house->stop;
done_testing();
