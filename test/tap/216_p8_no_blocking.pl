# P8, maintenance does not block: while sessions hold read locks on a fact, a dimension and a mirror in open transactions, loads that
# need new partitions go through, and while the partitions are made nobody who reads waits.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use WalhouseLife;
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE thing (id int PRIMARY KEY, name text);
	CREATE TABLE event (id int PRIMARY KEY, thing int, at timestamptz);
	INSERT INTO thing SELECT i, 'thing ' || i FROM generate_series(1, 10) AS i;
	INSERT INTO event SELECT i, i, timestamptz '2026-01-01 12:00+00' FROM generate_series(1, 10) AS i;
	CREATE PUBLICATION p FOR TABLE thing, event;
});
create_server($house, 'shop', $source);
sql($house, q{
	CALL walhouse.create_feed('shop', server => 'shop', publication => 'p');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.thing', $$ SELECT id, name FROM shop.thing $$, key => '{id}');
	SELECT walhouse.create_fact('dw.event', $$ SELECT id, thing, at FROM shop.event $$, key => '{id}', event_time => 'at',
		dimensions => '{"thing_sk": "dw.thing(thing)"}', partition_by => 'day');
	CALL walhouse.run('shop');
});
my $partitions = q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'dw.event'::regclass};
my $before = value($house, $partitions);

# Readers stay in their transactions over all that follows.
my @readers = map { $house->background_psql('postgres') } 1 .. 2;
$_->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM dw.event e JOIN dw.thing t USING (thing_sk); SELECT count(*) FROM shop.event') for @readers;

sql($source, q{
	INSERT INTO event SELECT 100 + i, 1 + i % 12, timestamptz '2026-02-01 12:00+00' + i * interval '1 day' FROM generate_series(1, 40) AS i;
	UPDATE event SET at = at + interval '300 days' WHERE id < 5;
	UPDATE thing SET name = name || '!';
});
my ($status, $out, $err) = $house->psql('postgres', q{SET lock_timeout = '5s'; CALL walhouse.run('shop')}, timeout => 60);
is($status ? $err : '', '', 'a load that needs partitions does not wait for readers');
is(value($house, $partitions) - $before, 41, 'it has made 41 partitions');
is($readers[0]->query_safe('SELECT count(*) FROM dw.event'), '10', 'a reader sees what it saw');
verify_clean($house, 'beside readers', 'dw.thing', 'dw.event');

# The other way round: what making partitions locks, held open, keeps no reader waiting.
my $maker = $house->background_psql('postgres');
$maker->query_safe(q{BEGIN;
	CREATE TABLE dw.event_p (LIKE dw.event INCLUDING ALL);
	ALTER TABLE dw.event ATTACH PARTITION dw.event_p FOR VALUES FROM ('2100-01-01') TO ('2100-01-02')});
($status, $out, $err) = $house->psql('postgres', q{SET lock_timeout = '2s'; SELECT count(*) > 0 FROM dw.event e JOIN dw.thing t USING (thing_sk)}, timeout => 60);
is($status ? $err : $out, 't', 'a reader of the fact does not wait for a partition that is being made');
$maker->query_safe('ROLLBACK');
$_->quit for @readers, $maker;

# A set of the fact makes partitions ahead, knows those that loads make, and retires none.
sql($house, q{SELECT walhouse.create_partition_set('dw.event', 'day', lead_count => 2)});
ok(poll($house, 'postgres', q{SELECT count(*) = 3 FROM walhouse.partitions WHERE parent = 'dw.event'::regclass AND from_value::timestamptz > now() - interval '1 day'}),
	'a set of a fact makes partitions ahead');
sql($source, q{INSERT INTO event SELECT 200 + i, i, timestamptz '2027-02-01 12:00+00' + i * interval '1 day' FROM generate_series(1, 5) AS i});
sql($house, q{CALL walhouse.run('shop')});
ok(poll($house, 'postgres', qq{SELECT (SELECT count(*) FROM walhouse.partitions WHERE parent = 'dw.event'::regclass) = ($partitions)}), 'and knows those that loads make');
# Also those that a load makes while the set is being looked at: what it asks for then is not forgotten.
setting($house, 'walhouse.debug_partition_point', 'make: planned');
sql($house, q{SELECT walhouse.alter_partition_set('dw.event', '{"lead_count": 3}')});
ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query = 'standing at make: planned'}), 'a set is being looked at');
sql($source, q{INSERT INTO event SELECT 300 + i, i, timestamptz '2027-03-01 12:00+00' + i * interval '1 day' FROM generate_series(1, 5) AS i});
sql($house, q{CALL walhouse.run('shop')});
setting($house, 'walhouse.debug_partition_point');
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.partitions WHERE parent = 'dw.event'::regclass}, value($house, $partitions)), 'it has been looked at, and knows what a load made meanwhile');
fails_with($house, 'a change log is not retired as a table is', q{SELECT walhouse.create_partition_set('shop_log.event', '1 GB', retire_after => '10 GB')}, qr/cannot be retired/);
sql($house, q{SELECT walhouse.alter_partition_set('dw.event', '{"seal_after": "0", "profile": {"indexes": [{"brin": ["at"]}], "fillfactor": 100}}')});
ok(poll($house, 'postgres', q{SELECT count(*) FILTER (WHERE p.state = 'profiled') > 0 AND count(*) FILTER (WHERE p.state = 'sealed') = 0 FROM walhouse.partitions p WHERE parent = 'dw.event'::regclass AND to_value::timestamptz < now()}), 'its old partitions get what a profile says');
verify_clean($house, 'with a set', 'dw.thing', 'dw.event');

$house->stop;
$source->stop;
done_testing();
