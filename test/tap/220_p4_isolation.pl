# P4, a broken model hurts nobody else: a query that divides by zero stops its model alone, at its position, with the error
# on view; other models, the change log and the slot go on; a fact stops with a dimension that it needs; once the row is
# mended at the source, both catch up. The same when the bad row is met during a build, with run and with the worker.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house();

sql($source, q{
	CREATE TABLE item (id int PRIMARY KEY, price numeric NOT NULL, pack int NOT NULL);
	CREATE TABLE sale (id int PRIMARY KEY, item int NOT NULL, at timestamptz NOT NULL, quantity int NOT NULL);
	INSERT INTO item SELECT i, i * 10, 1 + i % 5 FROM generate_series(1, 20) AS i;
	INSERT INTO sale SELECT i, 1 + i % 20, timestamptz '2026-01-01 00:00+00' + i * interval '1 hour', i FROM generate_series(1, 100) AS i;
	CREATE PUBLICATION shop FOR TABLE item, sale;
});
create_server($house, 'shop', $source);
sql($house, q{
	CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop');
	CREATE SCHEMA dw;
	-- Breaks on pack = 0; "per_sale" needs it.
	SELECT walhouse.create_dimension('dw.unit', $$ SELECT id, price / pack AS unit_price FROM shop.item $$, key => '{id}');
	SELECT walhouse.create_fact('dw.per_sale', $$ SELECT id, at, item, quantity FROM shop.sale $$, key => '{id}',
		event_time => 'at', dimensions => '{"unit_sk": "dw.unit(item)"}');
	-- Never breaks.
	SELECT walhouse.create_dimension('dw.item', $$ SELECT id, price, pack FROM shop.item $$, key => '{id}');
	SELECT walhouse.create_fact('dw.sale', $$ SELECT id, at, item, quantity FROM shop.sale $$, key => '{id}',
		event_time => 'at', dimensions => '{"item_sk": "dw.item(item)"}');
	-- Breaks on quantity = 0.
	SELECT walhouse.create_fact('dw.share', $$ SELECT id, at, 100 / quantity AS share FROM shop.sale $$, key => '{id}', event_time => 'at');
	CALL walhouse.run('shop');
});
my $states = q{SELECT string_agg(relation || ' ' || state, ', ' ORDER BY relation::text COLLATE "C") FROM walhouse.model};
is(value($house, $states), 'dw.item live, dw.per_sale live, dw.sale live, dw.share live, dw.unit live', 'all models live');
verify_clean($house, 'at first', qw(dw.unit dw.per_sale dw.item dw.sale dw.share));

my $position_of = q{SELECT to_lsn FROM walhouse.load_model JOIN walhouse.model USING (model_id) WHERE relation = '%s'::regclass ORDER BY load_id DESC LIMIT 1};

# ---- A good change, then a bad one, then more: with run.
my $good = value($house, sprintf $position_of, 'dw.unit');
sql($source, q{
	UPDATE item SET price = price + 1 WHERE id = 1;
	UPDATE item SET pack = 0 WHERE id = 7;
	INSERT INTO sale VALUES (101, 7, '2026-02-01 00:00+00', 1), (102, 7, '2026-03-01 00:00+00', 2);
});
my $end = source_lsn($source);
sql($house, q{CALL walhouse.run('shop')});
is(value($house, $states), 'dw.item live, dw.per_sale stopped, dw.sale live, dw.share live, dw.unit stopped',
	'the broken model stops, and the fact that needs it; nobody else');
verify_clean($house, 'beside a stopped model', qw(dw.item dw.sale dw.share));
is(value($house, q{SELECT count(*), max(id) FROM dw.sale}), '102|102', 'other models go on');
ok(poll($source, 'postgres', "SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots"), 'the slot advances past the broken change');
is(value($house, sprintf $position_of, 'dw.unit'), $good, 'the stopped model stays at its position');
is(value($house, q{SELECT count(*) FROM dw.unit WHERE unit_price = 11 OR id = 1 AND NOT is_current}), '0', 'with nothing of the load in it');
like(value($house, q{SELECT state || ' ' || error FROM walhouse.stat_model WHERE model = 'dw.unit'::regclass}), qr/^stopped .*22012.*division by zero|^stopped .*division by zero/,
	'stat_model shows state and error');
# An error may quote data: it is for the owner and for monitoring, not for everybody who may look at the views.
sql($house, 'CREATE ROLE stranger; CREATE ROLE watcher IN ROLE pg_monitor');
is(value($house, q{SET ROLE stranger; SELECT state, error FROM walhouse.stat_model WHERE model::text = 'dw.unit'}), 'stopped|',
	'a stranger sees the state, and no error');
fails_with($house, 'nor in the catalog', q{SET ROLE stranger; SELECT error FROM walhouse.model}, qr/permission denied/);
fails_with($house, 'nor among the loads', q{SET ROLE stranger; SELECT error FROM walhouse.load}, qr/permission denied/);
like(value($house, q{SET ROLE watcher; SELECT error FROM walhouse.stat_model WHERE model::text = 'dw.unit'}), qr/division by zero/,
	'monitoring sees it');
like(value($house, q{SELECT error FROM walhouse.stat_model WHERE model = 'dw.per_sale'::regclass}), qr/dw\.unit/,
	'the error of the dependent fact names the dimension');
is(value($house, q{SELECT count(*) FROM walhouse.stat_model WHERE model IN ('dw.item'::regclass, 'dw.sale'::regclass) AND error IS NOT NULL}), '0',
	'the others show no error');
is(value($house, q{SELECT error IS NULL FROM walhouse.stat_feed}), 't', 'the feed shows no error');

# ---- It stays stopped while others go on, and run does not fail.
sql($source, q{INSERT INTO sale VALUES (103, 7, '2026-03-02 00:00+00', 4); UPDATE item SET price = 99 WHERE id = 2});
sql($house, q{CALL walhouse.run('shop')});
is(value($house, q{SELECT count(*) FROM dw.sale}), '103', 'others go on in the next run');
is(value($house, sprintf $position_of, 'dw.unit'), $good, 'the stopped model waits');

# ---- Mended at the source. A type-2 dimension evaluates its query on each committed image, the bad one also: what stands
# in the log stays there. The model is built again from where the log allows, or skips what cannot be evaluated.
sql($source, q{UPDATE item SET pack = 3 WHERE id = 7});
sql($house, q{CALL walhouse.run('shop')});
is(value($house, $states), 'dw.item live, dw.per_sale live, dw.sale live, dw.share live, dw.unit live',
	'after the row is mended the dimension and its fact catch up');
verify_clean($house, 'after mending', qw(dw.unit dw.per_sale dw.item dw.sale dw.share));
is(value($house, q{SELECT unit_price::numeric(10, 2) FROM dw.unit WHERE id = 7 AND is_current}), value($source, q{SELECT (price / pack)::numeric(10, 2) FROM item WHERE id = 7}),
	'the mended row is there');
is(value($house, q{SELECT error IS NULL AND state = 'live' FROM walhouse.stat_model WHERE model = 'dw.unit'::regclass}), 't', 'the error has gone');
is(value($house, q{SELECT count(*) FROM dw.per_sale}), '103', 'the fact has all rows');

# ---- A fact on its own breaks and is mended, with the worker.
sql($house, q{SELECT walhouse.start('shop')});
sql($source, q{INSERT INTO sale VALUES (104, 1, '2026-04-01 00:00+00', 0)});
ok(poll($house, 'postgres', $states, 'dw.item live, dw.per_sale live, dw.sale live, dw.share stopped, dw.unit live'),
	'with the worker: the broken fact stops alone');
sql($source, q{INSERT INTO sale VALUES (105, 1, '2026-04-01 00:00+00', 5)});
$end = source_lsn($source);
ok(poll($house, 'postgres', 'SELECT count(*) FROM dw.sale', '105'), 'with the worker: other models go on');
ok(poll($source, 'postgres', "SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots"), 'with the worker: the slot advances');
ok(worker_pid($house), 'with the worker: it lives');
sql($source, q{UPDATE sale SET quantity = 1 WHERE id = 104});
ok(poll($house, 'postgres', $states, 'dw.item live, dw.per_sale live, dw.sale live, dw.share live, dw.unit live'),
	'with the worker: mended, it catches up');
ok(reach($house, 'shop', $source), 'with the worker: all models reach the source');
verify_clean($house, 'with the worker', qw(dw.unit dw.per_sale dw.item dw.sale dw.share));
sql($house, q{SELECT walhouse.stop('shop')});

# ---- The bad row is there before the model: the build stops, and nobody else.
sql($source, q{UPDATE sale SET quantity = 0 WHERE id = 50});
sql($house, q{CALL walhouse.run('shop')});
sql($house, q{SELECT walhouse.create_fact('dw.rest', $$ SELECT id, at, 100 % quantity AS rest FROM shop.sale $$, key => '{id}', event_time => 'at')});
sql($house, q{CALL walhouse.run('shop')});
like(value($house, q{SELECT state || ' ' || error FROM walhouse.stat_model WHERE model = 'dw.rest'::regclass}), qr/^stopped .*division by zero/,
	'division by zero in a build stops the model, with its error');
is(value($house, q{SELECT state FROM walhouse.model WHERE relation = 'dw.sale'::regclass}), 'live', 'others live');
sql($source, q{UPDATE sale SET quantity = 7 WHERE id = 50; INSERT INTO sale VALUES (106, 2, '2026-05-01 00:00+00', 6)});
sql($house, q{CALL walhouse.run('shop')});
is(value($house, q{SELECT state FROM walhouse.model WHERE relation = 'dw.rest'::regclass}), 'live', 'mended, it is built');
is(value($house, $states), 'dw.item live, dw.per_sale live, dw.rest live, dw.sale live, dw.share live, dw.unit live', 'and all live');
verify_clean($house, 'after the build', qw(dw.unit dw.per_sale dw.item dw.sale dw.share dw.rest));

$house->stop;
$source->stop;
done_testing();
