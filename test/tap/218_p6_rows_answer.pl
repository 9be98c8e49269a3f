# P6, every row can answer: each dimension and fact row names its load, the load its LSN range, and in that range the change log has
# the change and txn the source transaction that made the row, by the source's own record.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE thing (id int PRIMARY KEY, name text, made_by bigint DEFAULT txid_current());
	CREATE TABLE event (id int PRIMARY KEY, thing int, at timestamptz, made_by bigint DEFAULT txid_current());
	INSERT INTO thing SELECT i, 'thing ' || i FROM generate_series(1, 20) AS i;
	INSERT INTO event SELECT i, i, timestamptz '2026-01-01 12:00+00' FROM generate_series(1, 20) AS i;
	CREATE PUBLICATION p FOR TABLE thing, event;
});
create_server($house, 'shop', $source);
sql($house, q{
	CALL walhouse.create_feed('shop', server => 'shop', publication => 'p');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.thing', $$ SELECT id, name, made_by FROM shop.thing $$, key => '{id}');
	SELECT walhouse.create_fact('dw.event', $$ SELECT id, thing, at, made_by FROM shop.event $$, key => '{id}', event_time => 'at',
		dimensions => '{"thing_sk": "dw.thing(thing)"}');
	CALL walhouse.run('shop');
});

# Rounds of small transactions, some of them loaded together.
for my $round (1 .. 5)
{
	for my $i (1 .. 4)
	{
		my $id = $round * 4 + $i;
		sql($source, "UPDATE thing SET name = name || '$round', made_by = txid_current() WHERE id % 5 = $i");
		sql($source, "INSERT INTO event VALUES (100 + $id, 1 + $id % 20, timestamptz '2026-02-01' + $id * interval '1 day')");
		sql($source, "UPDATE event SET at = at + interval '1 hour', made_by = txid_current() WHERE id = $id");
		sql($house, "CALL walhouse.run('shop')") if $i % 2;
	}
}
sql($house, q{CALL walhouse.run('shop')});
verify_clean($house, 'in the end', 'dw.thing', 'dw.event');

for my $model ([ 'dw.thing', 'shop_log.thing', 'AND d.is_current' ], [ 'dw.event', 'shop_log.event', '' ])
{
	my ($table, $log, $and) = @$model;
	my $rows = "FROM $table d JOIN walhouse.load l USING (load_id) WHERE d.id IS NOT NULL $and";
	is(value($house, "SELECT count(*) FROM $table d WHERE d.id IS NOT NULL AND NOT EXISTS (SELECT FROM walhouse.load l WHERE l.load_id = d.load_id)"),
		'0', "$table: every row names a load that is on record");
	cmp_ok(value($house, "SELECT count(*) $rows AND l.kind = 'load'"), '>=', 15, "$table: rows of loads");
	cmp_ok(value($house, "SELECT count(*) $rows AND l.kind = 'build'"), '>', 0, "$table: rows of the build");
	is(value($house, qq{SELECT count(*) $rows AND l.kind = 'load' AND NOT EXISTS (SELECT FROM $log g JOIN shop_log.txn t ON t.end_lsn = g.lsn
			WHERE g.lsn > l.from_lsn AND g.lsn <= l.to_lsn AND g.op IN ('I', 'U') AND g.id = d.id
			AND t.xid::bigint = d.made_by AND t.commit_time BETWEEN l.from_time AND l.to_time)}),
		'0', "$table: in the range of its load stands the source transaction that made the row");
}
$house->stop;
$source->stop;
done_testing();
