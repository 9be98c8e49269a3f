# P5 and P8 of partition sets: the launcher starts a process when a step is due and none else; one set that fails stops no other, is
# tried again with a growing pause and shown; a transaction that stays open delays what waits for it and nobody else; what was due while
# the server was down is done afterwards; tables may be renamed and dropped.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $house = one_server(conf => "walhouse.partition_lock_timeout = 100ms\n");
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse partition worker'};

sub made { return "SELECT count(*) FROM pg_inherits WHERE inhparent = '$_[0]'::regclass" }
sub day { my ($n) = @_; return "(date_trunc('day', now() AT TIME ZONE 'UTC') + $n * interval '1 day') AT TIME ZONE 'UTC'" }

sql($house, q{
	CREATE ROLE poor; CREATE ROLE rich; CREATE SCHEMA a; CREATE SCHEMA b;
	GRANT USAGE, CREATE ON SCHEMA a TO poor; GRANT USAGE, CREATE ON SCHEMA b TO rich;
	SET ROLE rich;
	CREATE TABLE b.t (at timestamptz NOT NULL, v text) PARTITION BY RANGE (at);
	SELECT walhouse.create_partition_set('b.t', 'day', lead_count => 3);
});
ok(poll($house, 'postgres', made('b.t'), '4'), 'partitions are made soon after the commit');
ok(poll($house, 'postgres', $workers, '0'), 'then there is no process');
is(value($house, q{SELECT min(due) > now() FROM walhouse.partition_step}), 't', 'until the next step is due');
cmp_ok(value($house, q{SELECT lead_seconds FROM walhouse.stat_partition_set}), '>', 3 * 86400 - 1, 'the lead is three days and more');
is(value($house, q{SELECT count(*) FROM pg_class WHERE relowner = 'rich'::regrole AND relnamespace = 'b'::regnamespace AND relkind IN ('r', 'p')}), '5', 'all tables are the owner\'s');

# Slept until the time, and no longer: a step that is due in two seconds.
sql($house, q{UPDATE walhouse.partition_step SET due = clock_timestamp() + interval '2 s'; CREATE TABLE due AS SELECT due FROM walhouse.partition_step;
	SET ROLE rich; SELECT walhouse.hold_partition((SELECT partition FROM walhouse.partitions ORDER BY from_value LIMIT 1), 'only to have the time read')});
ok(poll($house, 'postgres', q{SELECT bool_and(t.due > d.due + interval '1 min') FROM walhouse.partition_step t, due d WHERE t.step = 'make'}), 'it is done');
is(value($house, q{SELECT count(*) FROM walhouse.partition_step WHERE failures > 0}), '0', 'without a failure');

# One that fails.
sql($house, q{
	SET ROLE poor;
	CREATE TABLE a.t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
	RESET ROLE;
	REVOKE CREATE ON SCHEMA a FROM poor;
	SET ROLE poor;
	SELECT walhouse.create_partition_set('a.t', 'day');
});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.partition_step WHERE failures >= 2 AND error LIKE 'permission denied for schema a%'}, '1'), 'a set that fails is tried again');
is(value($house, q{SELECT failing || ' ' || error FROM walhouse.stat_partition_set WHERE parent = 'a.t'::regclass}), '1 permission denied for schema a', 'and shown');
sql($house, q{SET ROLE rich; CREATE TABLE b.u (k bigint) PARTITION BY RANGE (k); SELECT walhouse.create_partition_set('b.u', '1000', lead_count => 1)});
ok(poll($house, 'postgres', made('b.u'), '2'), 'another one goes on');
is(value($house, made('a.t')), '0', 'nothing is made with more rights than its owner has');
sql($house, q{GRANT CREATE ON SCHEMA a TO poor});
ok(poll($house, 'postgres', made('a.t'), '5'), 'and the first one too when it can');
is(value($house, q{SELECT count(*) FROM walhouse.partitions WHERE error IS NOT NULL}), '0', 'no error is left');

# A transaction that stays open, in a partition that is to go.
sql($house, "SET ROLE rich; SELECT walhouse.alter_partition_set('b.t', '{\"outside\": \"create\"}'); SELECT walhouse.make_partition('b.t', (" . day(-20) . ')::text)');
sql($house, "INSERT INTO b.t VALUES (" . day(-20) . ", 'old')");
my $reader = $house->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM b.t');
sql($house, q{SET ROLE rich; SELECT walhouse.alter_partition_set('b.t', '{"retire_after": "10 days"}')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.partitions WHERE state = 'detaching' AND failures > 0 AND error LIKE 'canceling statement due to lock timeout%'}, '1'), 'detaching is given up and tried again while a reader stays');
my ($status, $out, $err) = $house->psql('postgres', "SET lock_timeout = '250ms'; INSERT INTO b.t VALUES (now(), 'new'); SELECT count(*) FROM b.t", timeout => 60);
is($status ? $err : $out, '1', 'meanwhile others read and write, and do not see what goes');
is($reader->query_safe('SELECT v FROM b.t'), 'old', 'the reader sees what it saw');
$reader->query_safe('COMMIT');
ok(poll($house, 'postgres', made('b.t'), '4'), 'when the reader is gone, so is the partition');
ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_class WHERE relnamespace = 'b'::regnamespace AND relkind = 'r' AND relname LIKE 't\_p%'}, '4'), 'and its table');
$reader->quit;

# Due while the server is down; renamed; dropped.
sql($house, q{ALTER TABLE b.t RENAME TO renamed; ALTER TABLE b.renamed SET SCHEMA a});
sql($house, q{GRANT CREATE, USAGE ON SCHEMA a TO rich; DROP TABLE a.t; UPDATE walhouse.partition_step SET due = now() - interval '1 hour' WHERE step = 'make'});
my $latest = value($house, q{SELECT partition FROM walhouse.partitions WHERE parent = 'a.renamed'::regclass ORDER BY from_value DESC LIMIT 1});
sql($house, "DROP TABLE $latest");
$house->restart;
ok(poll($house, 'postgres', made('a.renamed'), '4'), 'after a restart what was due is done, also for a table that was renamed and moved');
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.partition_set}, '2'), 'a set whose table was dropped is forgotten');
sql($house, q{ALTER SYSTEM SET walhouse.worker = off});
sql($house, 'SELECT pg_reload_conf()');
sql($house, q{SET ROLE rich; CREATE TABLE b.v (at date) PARTITION BY RANGE (at); SELECT walhouse.create_partition_set('b.v', 'day', lead_count => 0, lead => '2 days')});
is(value($house, made('b.v')), '0', 'with walhouse.worker off nothing is made');
sql($house, q{SET ROLE rich; CALL walhouse.maintain_partitions()});
is(value($house, made('b.v')), '3', 'unless somebody asks for it');
sql($house, q{ALTER SYSTEM RESET walhouse.worker});
sql($house, 'SELECT pg_reload_conf()');

# A database that is dumped and restored keeps its sets.
my $dump = $house->basedir . '/dump.sql';
$house->command_ok([ 'pg_dump', '-f', $dump, $house->connstr('postgres') ], 'dumped');
sql($house, 'CREATE DATABASE copy');
$house->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $house->connstr('copy') ], 'restored');
is(sql($house, q{SELECT string_agg(parent::text || ' ' || partitions, ', ' ORDER BY parent::text) FROM walhouse.stat_partition_set}, 'copy'),
	value($house, q{SELECT string_agg(parent::text || ' ' || partitions, ', ' ORDER BY parent::text) FROM walhouse.stat_partition_set}), 'its sets are there');
sql($house, q{CALL walhouse.maintain_partitions('b.v', now() + interval '1 day')}, 'copy');
is(sql($house, made('b.v'), 'copy'), '4', 'and go on');

$house->stop;
done_testing();
