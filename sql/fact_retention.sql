-- Retention of facts, in days that are far from now, so that nothing is due but when it is asked for: what is retired is gone from the fact and
-- stays in its rollups; changes of it are passed over, or stop the fact; builds and alterations begin at the horizon; verify compares what is kept.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT handfeed.make('shop', 'Europe/Berlin');
CREATE TABLE shop.customers (customer_id int PRIMARY KEY, region text);
CREATE TABLE shop.orders (order_id int PRIMARY KEY, customer_id int, at timestamptz, is_paid boolean);
CREATE TABLE shop.items (order_id int, line int, amount numeric, PRIMARY KEY (order_id, line));
CREATE TABLE shop.sales (sale_id int PRIMARY KEY, customer_id int, day date, amount numeric, note text);
SELECT handfeed.add('shop', 'shop.customers'), handfeed.add('shop', 'shop.orders'), handfeed.add('shop', 'shop.items'), handfeed.add('shop', 'shop.sales');
CREATE SCHEMA dw;
CREATE PROCEDURE dw.go(at timestamptz) LANGUAGE plpgsql AS $$ BEGIN
    PERFORM handfeed.commit('shop', at); PERFORM handfeed.reach('shop'); COMMIT; CALL walhouse.load('shop'); END $$;
INSERT INTO shop.customers VALUES (1, 'north'), (2, 'south');
INSERT INTO shop.sales SELECT i, 1 + i % 2, '2100-01-10'::date + i * 9, i * 10, 'n' FROM generate_series(0, 11) i;
INSERT INTO shop.orders SELECT i, 1 + i % 2, '2100-01-10 12:00+00'::timestamptz + i * interval '9 days', false FROM generate_series(0, 11) i;
INSERT INTO shop.items SELECT o, l, o + l FROM generate_series(0, 11) o, generate_series(1, 2) l;
SELECT handfeed.commit('shop', '2100-04-15 12:00+00');
SELECT handfeed.reach('shop');
SELECT walhouse.create_dimension('dw.customer', 'SELECT customer_id, region FROM shop.customers', '{customer_id}');
SELECT walhouse.create_fact('dw.sale', 'SELECT sale_id, customer_id, day, amount FROM shop.sales', '{sale_id}', 'day', '{"customer_sk": "dw.customer(customer_id)"}');
SELECT walhouse.create_fact('dw.item', 'SELECT i.order_id, i.line, o.at, o.customer_id, i.amount FROM shop.items i JOIN shop.orders o USING (order_id)', '{order_id,line}', 'at',
    '{"customer_sk": "dw.customer(customer_id)"}');
SELECT walhouse.create_fact('dw.ledger', 'SELECT sale_id, customer_id, day, amount FROM shop.sales', '{sale_id}', 'day', '{"customer_sk": "dw.customer(customer_id)"}',
    corrections => 'reverse', measures => '{amount}');
SELECT walhouse.create_fact('dw.steps', 'SELECT order_id, at, is_paid FROM shop.orders', '{order_id}', 'at', milestones => '{"paid_at": "is_paid"}');
SELECT walhouse.create_rollup('dw.monthly', 'dw.sale', '{customer_sk}', '{"n": "count(*)", "amount": "sum(amount)", "best": "max(amount)", "different": "count(distinct amount)"}', bucket => 'month');
SELECT walhouse.create_rollup('dw.total', 'dw.sale', '{}', '{"n": "count(*)", "amount": "sum(amount)", "least": "min(amount)"}', bucket => 'none');
SELECT walhouse.create_periodic_snapshot('dw.stock', 'dw.sale', '{customer_id}', '{"turnover": "balance(amount)", "last_amount": "last(amount)"}', period => 'month');
CREATE PROCEDURE dw.build() LANGUAGE plpgsql AS $$ DECLARE m regclass; BEGIN
    FOR m IN SELECT relation FROM walhouse.model WHERE kind <> 'date' ORDER BY model_id LOOP COMMIT; CALL walhouse.build(m); END LOOP; END $$;
CALL dw.build();
CREATE VIEW dw.proof AS SELECT v.model, v.expected, v.missing, v.unexpected, v.different FROM walhouse.model m, walhouse.verify(m.relation) v
    WHERE m.kind <> 'dimension' ORDER BY m.model_id;
CREATE VIEW dw.horizons AS SELECT model, retired_to, late_changes FROM walhouse.stat_model WHERE kind = 'fact' ORDER BY model::text COLLATE "C";
SELECT * FROM dw.proof;

-- declared like any set; what cannot go is refused
SELECT walhouse.create_partition_set('dw.steps', 'month', zone => 'Europe/Berlin', retire_after => '60 days');
SELECT walhouse.create_partition_set('dw.sale', 'month', lead_count => 1, seal_after => '10 days', retire_after => '60 days') > 0 AS declared;
SELECT walhouse.create_partition_set('dw.item', 'month', zone => 'Europe/Berlin', lead_count => 1, retire_after => '60 days', retire => 'keep') > 0 AS declared;
SELECT walhouse.create_partition_set('dw.ledger', 'month', lead_count => 1, retire_after => '60 days') > 0 AS declared;
SELECT period_start, customer_sk, n, amount, best, different FROM dw.monthly ORDER BY 1, 2;
SELECT n, amount, least FROM dw.total;
CALL walhouse.maintain_partitions('dw.sale', '2100-04-15 12:00+00');
CALL walhouse.maintain_partitions('dw.item', '2100-04-15 12:00+00');
CALL walhouse.maintain_partitions('dw.ledger', '2100-04-15 12:00+00');
SELECT partition, from_value, to_value, state FROM walhouse.partitions WHERE parent IN ('dw.sale'::regclass, 'dw.item'::regclass, 'dw.ledger'::regclass)
    AND to_value > '2100' ORDER BY partition::text COLLATE "C";
SELECT * FROM dw.horizons;
SELECT partition, "from", "to" FROM walhouse.fact_partitions('dw.sale') WHERE "to" > '2100-01-01';
SELECT step, statement, lock FROM walhouse.partition_plan('dw.sale', '80 years') WHERE partition = 'dw.sale_p2100_02' ORDER BY due, step;
SELECT parent, failing FROM walhouse.stat_partition_set WHERE parent::text LIKE 'dw.%' ORDER BY parent::text COLLATE "C";
SELECT count(*), min(day) FROM dw.sale;
SELECT count(*), min(at) FROM dw.item;
SELECT period_start, customer_sk, n, amount, best, different FROM dw.monthly ORDER BY 1, 2;
SELECT n, amount, least FROM dw.total;
SELECT period_start, customer_id, turnover, last_amount FROM dw.stock ORDER BY 2, 1;
SELECT * FROM dw.proof;
SELECT missing, unexpected, different FROM walhouse.verify('dw.sale', 10);
SELECT missing, unexpected, different FROM walhouse.verify('dw.ledger', 10);

-- changes of what is retired are passed over: a correction, a delete, a late row; over the horizon, both ways
UPDATE shop.sales SET amount = amount + 1000 WHERE sale_id = 0;
DELETE FROM shop.sales WHERE sale_id = 1;
INSERT INTO shop.sales VALUES (100, 2, '2100-01-31', 5, 'late'), (101, 1, '2100-04-02', 6, 'new');
UPDATE shop.sales SET day = '2100-04-03', amount = 7 WHERE sale_id = 2;
UPDATE shop.sales SET day = '2100-01-30' WHERE sale_id = 8;
UPDATE shop.sales SET note = 'nothing' WHERE sale_id = 3;
UPDATE shop.orders SET at = at + interval '1 minute' WHERE order_id IN (0, 9);
UPDATE shop.orders SET at = '2100-04-03' WHERE order_id = 1;
UPDATE shop.items SET amount = 0 WHERE order_id IN (1, 2);
DELETE FROM shop.orders WHERE order_id = 8;
CALL dw.go('2100-04-15 13:00+00');
SELECT sale_id, day, amount FROM dw.sale WHERE day < '2100-03-01' OR sale_id IN (2, 8) OR sale_id > 99 ORDER BY 1;
SELECT order_id, line, at, amount FROM dw.item WHERE at < '2100-03-01' OR order_id IN (1, 8, 9) ORDER BY 1, 2;
SELECT sale_id, day, amount, is_reversal FROM dw.ledger WHERE day < '2100-03-01' OR sale_id IN (2, 8) OR sale_id > 99 ORDER BY sale_id, booked_lsn, is_reversal;
SELECT period_start, customer_sk, n, amount, best, different FROM dw.monthly ORDER BY 1, 2;
SELECT n, amount, least FROM dw.total;
SELECT * FROM dw.horizons;
SELECT count(*) FROM walhouse.rejected;
SELECT * FROM dw.proof;
-- as an update of a row of another table, and of the same by SQL alone
SET walhouse.load_path = sql;
UPDATE shop.sales SET amount = amount + 1 WHERE sale_id IN (0, 100, 101);
CALL dw.go('2100-04-15 14:00+00');
RESET walhouse.load_path;
SELECT * FROM dw.horizons;
SELECT * FROM dw.proof;

-- what is none of a fact's columns is no change of its rows, though a row that they are made of was written
UPDATE shop.orders SET is_paid = true WHERE order_id IN (0, 2);
CALL dw.go('2100-04-15 14:30+00');
SELECT late_changes FROM dw.horizons WHERE model = 'dw.item'::regclass;

-- builds begin at the horizon, and rollups keep what they had
SET client_min_messages = warning;
CALL dw.build();
RESET client_min_messages;
SELECT count(*), min(day) FROM dw.sale;
SELECT count(*), min(at) FROM dw.item;
SELECT n, amount, least FROM dw.total;
SELECT period_start, n, amount, best, different FROM dw.monthly ORDER BY 1, 2, 3;
SELECT period_start, customer_id, turnover, last_amount FROM dw.stock ORDER BY 2, 1;
SELECT * FROM dw.proof;
SELECT count(*) FROM walhouse.as_known(NULL::dw.sale, load => (SELECT max(load_id) FROM walhouse.load));
SELECT count(*) FROM walhouse.as_known(NULL::dw.total, load => (SELECT max(load_id) FROM walhouse.load));


SELECT item, name, details FROM walhouse.explain_row('dw.sale', '{"sale_id": 0}');
SELECT item FROM walhouse.explain_row('dw.sale', '{"sale_id": 3}') WHERE item IN ('row', 'retired');

-- a range that crosses the horizon is rebuilt above it; the bucket of a rollup in which it lies has both its parts
SET walhouse.allow_writes = on;
UPDATE dw.sale SET amount = 0 WHERE sale_id IN (3, 4);
DELETE FROM dw.monthly WHERE period_start = '2100-01-01';
RESET walhouse.allow_writes;
SELECT missing, unexpected, different FROM walhouse.verify('dw.sale');
CALL walhouse.rebuild('dw.sale', '2100-01-01', '2100-03-01');
CALL walhouse.build('dw.total');
CALL walhouse.build('dw.stock');
CALL walhouse.rebuild('dw.monthly', '2100-01-01', '2100-05-01');
SELECT * FROM dw.proof;

-- stopped by them, where the owner wants it so
SELECT walhouse.set_late_changes('dw.sale', 'wait');
SELECT walhouse.set_late_changes('dw.customer', 'stop');
SELECT walhouse.set_late_changes('dw.sale', 'stop');
UPDATE shop.sales SET amount = 1 WHERE sale_id = 0;
CALL dw.go('2100-04-15 15:00+00');
SELECT state, error FROM walhouse.stat_model WHERE model = 'dw.sale'::regclass;
SELECT walhouse.set_late_changes('dw.sale', 'skip');
SELECT walhouse.resume('dw.sale');
CALL dw.go('2100-04-15 16:00+00');
SELECT model, state FROM walhouse.stat_model WHERE kind <> 'dimension' ORDER BY model::text COLLATE "C";
SELECT * FROM dw.horizons;

-- a hold keeps what is later, too
SELECT walhouse.hold_partition('dw.sale_p2100_02', 'case 4711');
CALL walhouse.maintain_partitions('dw.sale', '2100-06-15 12:00+00');
SELECT partition, state, hold, error FROM walhouse.partitions WHERE parent = 'dw.sale'::regclass AND to_value BETWEEN '2100' AND '2100-06-01' ORDER BY partition::text COLLATE "C";
SELECT * FROM dw.horizons;
SELECT walhouse.unhold_partition('dw.sale_p2100_02');
CALL walhouse.maintain_partitions('dw.sale', '2100-06-15 12:00+00');
SELECT * FROM dw.horizons;
SELECT count(*), min(day) FROM dw.sale;
SELECT n, amount, least FROM dw.total;
SELECT * FROM dw.proof;

-- what a fact with a horizon cannot become
SELECT walhouse.alter_fact('dw.item', query => 'SELECT i.order_id, i.line, o.at, o.customer_id, i.amount, o.is_paid FROM shop.items i JOIN shop.orders o USING (order_id)',
    milestones => '{"paid_at": "is_paid"}');
-- altered: what takes its place begins there, and goes on with the set; a rollup cannot be made of what is not there
SELECT walhouse.alter_rollup('dw.total', measures => '{"n": "count(*)"}');
SELECT walhouse.set_late_changes('dw.item', 'stop');
SELECT walhouse.alter_fact('dw.item', query => 'SELECT i.order_id, i.line, o.at, o.customer_id, i.amount, i.amount * 2 AS twice FROM shop.items i JOIN shop.orders o USING (order_id)');
CALL walhouse.maintain_partitions('dw.item', '2100-05-15 12:00+00');
CALL walhouse.build('dw.item__next');
CALL dw.go('2100-05-15 16:00+00');
SELECT model, next, error FROM walhouse.stat_alteration;
SELECT model, retired_to, state FROM walhouse.stat_model WHERE kind = 'fact' AND model::text LIKE '%item%' ORDER BY model::text COLLATE "C";
SELECT late FROM walhouse.fact_retention WHERE model_id = (SELECT model_id FROM walhouse.model WHERE relation = 'dw.item'::regclass);
SELECT count(*), min(at), min(twice) FROM dw.item;
CALL walhouse.maintain_partitions('dw.item', '2100-06-15 12:00+00');
SELECT partition, state FROM walhouse.partitions WHERE parent = 'dw.item'::regclass AND to_value > '2100' ORDER BY partition::text COLLATE "C";
SELECT missing, unexpected, different FROM walhouse.verify('dw.item');

-- without an archive nothing comes back
CALL walhouse.restore_partition('dw.sale', '2100-01-10');

SELECT walhouse.drop_partition_set(s) FROM unnest('{dw.sale,dw.item,dw.ledger}'::regclass[]) s;
SELECT * FROM dw.horizons;
SET client_min_messages = error;
DROP VIEW dw.proof, dw.horizons;
SELECT walhouse.drop_model(relation) FROM walhouse.model ORDER BY model_id DESC;
SELECT count(*) FROM walhouse.fact_retention;
DROP SCHEMA dw CASCADE;
SELECT handfeed.remove('shop');
DROP SCHEMA handfeed CASCADE;
