-- Rollups: what a declaration makes and refuses, deltas of every kind of write, stops and what was missed, rebuilds, drop, verify,
-- as_known.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT handfeed.make('shop', 'Europe/Berlin');
CREATE TABLE shop.customers (customer_id int PRIMARY KEY, region text);
CREATE TABLE shop.orders (order_id int PRIMARY KEY, customer_id int, channel text, at timestamptz, due date, qty int, amount numeric(10,2),
    price numeric, weight float8, note text, info jsonb);
SELECT handfeed.add('shop', 'shop.customers');
SELECT handfeed.add('shop', 'shop.orders');
INSERT INTO shop.customers VALUES (1, 'north'), (2, 'south');
INSERT INTO shop.orders VALUES (1, 1, 'web', '2026-01-31 22:59+00', '2026-02-10', 1, 10.50, 10.5, 1, 'a', '{}'),
    (2, 2, NULL, '2026-01-31 23:00+00', '2026-02-10', 2, 20, 20.00, 2, 'b', NULL),
    (3, 7, 'web', '2026-02-01 10:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (4, 1, '', '2026-02-01 11:00+00', '2026-03-01', 4, 1.00, 1.00, 0.5, 'a', '{"a": 1}');
SELECT handfeed.commit('shop', '2026-02-10 12:00+00');
SELECT handfeed.reach('shop');
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.customer', 'SELECT customer_id, region FROM shop.customers', '{customer_id}');
SELECT walhouse.create_fact('dw.sales', 'SELECT order_id, customer_id, channel, at, due, qty, amount, price, weight, note, info FROM shop.orders',
    key => '{order_id}', event_time => 'at', dimensions => '{"customer_sk": "dw.customer(customer_id)"}');

-- a rollup
SELECT walhouse.create_rollup('dw.daily', 'dw.sales', '{channel}',
    '{"n": "count(*)", "Rev enue": "sum(amount)", "best": "max(amount)", "buyers": "count( DISTINCT customer_id )", "mean": "avg(qty)",
      "informed": "count(info)"}');
\d dw.daily
SELECT c.relname, d.objsubid, d.description FROM pg_class c JOIN pg_description d ON d.objoid = c.oid
    WHERE c.relnamespace = 'dw'::regnamespace AND c.relname LIKE 'daily%' ORDER BY 1, 2;
SELECT walhouse.create_rollup('dw.by_customer', 'dw.sales', '{customer_sk,due}', '{"amount": "sum(amount)"}', bucket => 'month');
SELECT walhouse.create_rollup('dw.total', 'dw.sales', '{}', '{"n": "count(*)", "qty": "sum(qty)"}', bucket => 'none');
SELECT kind, key, state, options FROM walhouse.model WHERE kind = 'rollup' ORDER BY model_id;
SELECT columns FROM walhouse.fact_reader ORDER BY model_id;

-- what is refused
CREATE FUNCTION pg_temp.declare(measures jsonb, group_by text[] DEFAULT '{channel}', bucket text DEFAULT 'day', bucket_column name DEFAULT NULL,
    fact regclass DEFAULT 'dw.sales') RETURNS void LANGUAGE sql AS
    $$ SELECT walhouse.create_rollup('dw.r', fact, group_by, measures, bucket, bucket_column) $$;
SELECT pg_temp.declare('{}');
SELECT pg_temp.declare('[]');
SELECT pg_temp.declare('{"n": 1}');
SELECT pg_temp.declare('{"n": "count"}');
SELECT pg_temp.declare('{"n": "median(qty)"}');
SELECT pg_temp.declare('{"n": "sum(*)"}');
SELECT pg_temp.declare('{"n": "sum(qty, amount)"}');
SELECT pg_temp.declare('{"n": "sum(qty + 1)"}');
SELECT pg_temp.declare('{"n": "count(distinct *)"}');
SELECT pg_temp.declare('{"n": "sum(nothing)"}');
SELECT pg_temp.declare('{"n": "sum(weight)"}');
SELECT pg_temp.declare('{"n": "sum(note)"}');
SELECT pg_temp.declare('{"n": "max(info)"}');
SELECT pg_temp.declare('{"n": "max(load_id)"}');
SELECT pg_temp.declare('{"n": "max(ctid)"}');
SELECT pg_temp.declare('{"n": "balance(qty)"}');
SELECT pg_temp.declare('{"n": "last(qty)"}');
SELECT pg_temp.declare('{"channel": "count(*)"}');
SELECT pg_temp.declare('{"load_id": "count(*)"}');
SELECT pg_temp.declare('{"wh_x": "count(*)"}');
SELECT pg_temp.declare('{"n": "count(*)"}', '{channel,channel}');
SELECT pg_temp.declare('{"n": "count(*)"}', '{nothing}');
SELECT pg_temp.declare('{"n": "count(*)"}', '{price}');
SELECT pg_temp.declare('{"n": "count(*)"}', '{weight}');
SELECT pg_temp.declare('{"n": "count(*)"}', '{info}');
SELECT pg_temp.declare('{"n": "count(*)"}', '{load_id}');
SELECT pg_temp.declare('{"n": "count(*)"}', bucket => 'decade');
SELECT pg_temp.declare('{"n": "count(*)"}', bucket_column => 'qty');
SELECT pg_temp.declare('{"n": "count(*)"}', bucket => 'hour', bucket_column => 'due');
SELECT pg_temp.declare('{"n": "count(*)"}', fact => 'dw.customer');
SELECT walhouse.create_rollup('dw.daily', 'dw.sales', '{}', '{"n": "count(*)"}');
SELECT walhouse.create_rollup('dw.r', 'dw.sales', NULL, '{"n": "count(*)"}');
SELECT walhouse.create_periodic_snapshot('dw.r', 'dw.sales', '{}', '{"n": "count(*)"}', period => 'hour');
SELECT walhouse.create_periodic_snapshot('dw.r', 'dw.sales', '{}', '{"n": "count(*)"}', fill => NULL);
INSERT INTO dw.daily (channel) VALUES ('x');
DELETE FROM dw.daily_amount_values;

-- built after its fact, and only then
CALL walhouse.build('dw.daily');
CALL walhouse.build('dw.customer');
CALL walhouse.build('dw.sales');
CALL walhouse.build('dw.daily');
CALL walhouse.build('dw.by_customer');
CALL walhouse.build('dw.total');
CREATE VIEW dw.daily_clean AS SELECT period_start, channel, n, informed, "Rev enue", best, buyers, mean FROM dw.daily;
CREATE VIEW dw.by_region AS SELECT period_start, customer_id, due, amount FROM dw.by_customer LEFT JOIN dw.customer USING (customer_sk);
CREATE VIEW dw.proof AS SELECT v.model, v.expected, v.found, v.missing, v.unexpected, v.different
    FROM walhouse.model m, walhouse.verify(m.relation) v WHERE m.kind = 'rollup' ORDER BY m.model_id;
CREATE PROCEDURE dw.go(at timestamptz) LANGUAGE plpgsql AS $$ BEGIN
    PERFORM handfeed.commit('shop', at); PERFORM handfeed.reach('shop'); COMMIT; CALL walhouse.load('shop'); END $$;
SELECT * FROM dw.daily_clean ORDER BY 1, 2;
SELECT * FROM dw.by_region ORDER BY 1, 2, 3;
SELECT n, qty FROM dw.total;
SELECT * FROM dw.proof;

-- inserts, updates, a moved event time, deletes; a group that comes, one that goes; a change in a column that nobody reads
INSERT INTO shop.orders VALUES (5, 2, 'shop', '2026-02-01 12:00+00', NULL, 5, 5, 5, 5, 'e', NULL);
UPDATE shop.orders SET amount = 99, qty = NULL WHERE order_id = 1;
UPDATE shop.orders SET at = '2026-02-02 10:00+00' WHERE order_id = 4;
UPDATE shop.orders SET weight = 7 WHERE order_id = 2;
DELETE FROM shop.orders WHERE order_id = 3;
CALL dw.go('2026-02-11 12:00+00');
SELECT * FROM dw.daily_clean ORDER BY 1, 2;
SELECT * FROM dw.by_region ORDER BY 1, 2, 3;
SELECT n, qty FROM dw.total;
SELECT * FROM dw.proof;
SELECT m.relation, l.inserted, l.updated, l.deleted FROM walhouse.load_model l JOIN walhouse.model m USING (model_id)
    WHERE l.load_id = (SELECT max(load_id) FROM walhouse.load) ORDER BY m.model_id;

-- a row ahead of the clock is pointed to another version: its group moves
INSERT INTO shop.orders VALUES (6, 1, 'web', '2026-03-01 12:00+00', NULL, 6, 6, 6, 6, 'f', NULL);
CALL dw.go('2026-02-12 12:00+00');
UPDATE shop.customers SET region = 'west' WHERE customer_id = 1;
CALL dw.go('2026-02-13 12:00+00');
SELECT period_start, customer_id, region, due, amount FROM dw.by_customer LEFT JOIN dw.customer USING (customer_sk) ORDER BY 1, 2, 3, 4;
SELECT * FROM dw.proof;

-- TRUNCATE leaves no row
BEGIN;
CREATE TEMP TABLE saved AS SELECT * FROM shop.orders;
COMMIT;
TRUNCATE shop.orders;
CALL dw.go('2026-02-14 12:00+00');
SELECT count(*) FROM dw.daily;
SELECT count(*) FROM dw.total;
SELECT * FROM dw.proof;
INSERT INTO shop.orders SELECT * FROM saved;
CALL dw.go('2026-02-15 12:00+00');
SELECT * FROM dw.daily_clean ORDER BY 1, 2;
SELECT * FROM dw.proof;

-- a rollup that fails stops, its fact and the others go on; what it misses is kept, and it holds verify meanwhile
ALTER TABLE dw.daily ADD CONSTRAINT small CHECK ("Rev enue" < 1000);
UPDATE shop.orders SET amount = 5000 WHERE order_id = 1;
CALL dw.go('2026-02-16 12:00+00');
SELECT model, state, is_current, waits_for, regexp_replace(error, ' \(Failing row.*', '') AS error FROM walhouse.stat_model WHERE kind = 'rollup' ORDER BY 1;
UPDATE shop.orders SET amount = 6000, channel = 'phone' WHERE order_id = 1;
INSERT INTO shop.orders VALUES (7, 2, 'web', '2026-02-01 12:00+00', NULL, 5, 5, 5, 5, 'e', NULL);
CALL dw.go('2026-02-17 12:00+00');
DELETE FROM shop.orders WHERE order_id = 7;
CALL dw.go('2026-02-17 12:00+00');
SELECT state FROM walhouse.model WHERE relation = 'dw.daily'::regclass;
SELECT count(*) > 0 AS missed FROM dw.daily_pending;
SELECT n, qty FROM dw.total;
SELECT * FROM dw.proof;
UPDATE shop.orders SET amount = 60 WHERE order_id = 1;
CALL dw.go('2026-02-18 12:00+00');
SELECT walhouse.resume('dw.daily');
CALL walhouse.load('shop');
SELECT state FROM walhouse.model WHERE relation = 'dw.daily'::regclass;
SELECT count(*) AS missed FROM dw.daily_pending;
SELECT * FROM dw.daily_clean ORDER BY 1, 2;
SELECT * FROM dw.proof;

-- what a stopped rollup misses is kept as long as it is less than the fact has; then it waits to be built
CREATE PROCEDURE dw.fill(count int, amount numeric) LANGUAGE sql SET session_replication_role = replica AS $$
    INSERT INTO shop_log.orders SELECT s.lsn, 2 * o.order_id, 'B', o.* FROM shop.orders o, handfeed.state s WHERE order_id > 1000;
    INSERT INTO shop.orders SELECT 1000 + i, 1, 'bulk ' || i, '2026-02-01', NULL, 1, fill.amount, 1, 1, 'x', NULL FROM generate_series(1, fill.count) i
        ON CONFLICT (order_id) DO UPDATE SET amount = fill.amount;
    INSERT INTO shop_log.orders SELECT s.lsn, 2 * o.order_id + 1, 'U', o.* FROM shop.orders o, handfeed.state s WHERE order_id > 1000;
$$;
UPDATE shop.orders SET amount = 5000 WHERE order_id = 1;
CALL dw.go('2026-02-18 13:00+00');
CALL dw.fill(700, 1);
CALL dw.go('2026-02-18 13:01+00');
SELECT format('CALL dw.fill(700, %s)', n), format('CALL dw.go(%L)', timestamptz '2026-02-18 13:01+00' + n * interval '1 minute') FROM generate_series(2, 12) n \gexec
SELECT model, state, error FROM walhouse.stat_model WHERE model = 'dw.daily'::regclass;
SELECT pg_table_size('dw.daily_pending') BETWEEN 1000000 AND 2 * pg_table_size((SELECT relid FROM pg_partition_tree('dw.sales') WHERE isleaf AND relid::text LIKE '%02')) AS bounded;
-- building it fails for the same reason; meanwhile nothing is kept
\set VERBOSITY terse
CALL walhouse.build('dw.daily');
\set VERBOSITY default
SELECT * FROM walhouse.verify('dw.daily');
SELECT sum(load_id) AS before FROM dw.daily_pending \gset
CALL dw.fill(700, 13);
CALL dw.go('2026-02-18 13:30+00');
SELECT sum(load_id) = :before AS same FROM dw.daily_pending;
UPDATE shop.orders SET amount = 60 WHERE order_id = 1;
CALL dw.go('2026-02-18 13:40+00');
CALL walhouse.build('dw.daily');
SELECT state, error FROM walhouse.model WHERE relation = 'dw.daily'::regclass;
SELECT count(*) AS missed FROM dw.daily_pending;
SELECT * FROM dw.proof;
DELETE FROM shop.orders WHERE order_id > 1000;
CALL dw.go('2026-02-18 13:50+00');

-- a fact that stops takes its rollups along, and they come back with it
ALTER TABLE dw.sales ADD CONSTRAINT small CHECK (amount < 1000);
UPDATE shop.orders SET amount = 5000 WHERE order_id = 1;
CALL dw.go('2026-02-19 12:00+00');
SELECT model, state, regexp_replace(error, ' \(Failing row.*', '') AS error FROM walhouse.stat_model WHERE kind IN ('fact', 'rollup') ORDER BY 1;
SELECT * FROM dw.proof;
UPDATE shop.orders SET amount = 50 WHERE order_id = 1;
CALL dw.go('2026-02-20 12:00+00');
SELECT model, state FROM walhouse.stat_model WHERE kind IN ('fact', 'rollup') ORDER BY 1;
SELECT "Rev enue" FROM dw.daily WHERE channel = 'phone';
SELECT * FROM dw.proof;

-- a fact that is built again has its rollups built again
UPDATE shop.orders SET qty = 11 WHERE order_id = 1;
CALL walhouse.build('dw.sales');
SELECT model, state, is_current FROM walhouse.stat_model WHERE kind = 'rollup' ORDER BY 1;
UPDATE shop.orders SET qty = 12 WHERE order_id = 1;
CALL dw.go('2026-02-21 12:00+00');
CALL walhouse.build('dw.daily');
SELECT model, state, is_current FROM walhouse.stat_model WHERE kind = 'rollup' ORDER BY 1;
CALL walhouse.build('dw.by_customer');
CALL walhouse.build('dw.total');
SELECT * FROM dw.proof;
SELECT n, qty FROM dw.total;

-- as it was known after an earlier load
SELECT max(load_id) AS earlier FROM walhouse.load \gset
CREATE TABLE dw.was AS SELECT * FROM dw.daily_clean;
UPDATE shop.orders SET channel = 'fax', amount = amount + 1;
CALL dw.go('2026-02-22 12:00+00');
SELECT period_start, channel, n, informed, "Rev enue", best, buyers, mean FROM walhouse.as_known(NULL::dw.daily, load => :earlier)
EXCEPT ALL TABLE dw.was;
SELECT count(*) FROM walhouse.as_known(NULL::dw.daily, load => :earlier);
SELECT count(*) FROM dw.was;

-- verify tells what somebody changed
SET walhouse.allow_writes = on;
UPDATE dw.daily SET n = n + 1 WHERE period_start = '2026-02-01';
DELETE FROM dw.by_customer WHERE amount = 7;
UPDATE dw.daily_amount_values SET n = 9;
SELECT * FROM dw.proof;
-- and a rollup that does not fit its fact stops, rather than to guess
DELETE FROM dw.total;
RESET walhouse.allow_writes;
DELETE FROM shop.orders WHERE order_id = 2;
CALL dw.go('2026-02-23 12:00+00');
SELECT model, state, regexp_replace(error, ' \(Failing row.*', '') AS error FROM walhouse.stat_model WHERE kind = 'rollup' ORDER BY 1;
CALL walhouse.build('dw.daily');
CALL walhouse.build('dw.by_customer');
CALL walhouse.build('dw.total');
SELECT * FROM dw.proof;

-- it runs as its owner, who must be able to read the fact
CREATE ROLE regress_roller;
GRANT CREATE, USAGE ON SCHEMA dw TO regress_roller;
SET ROLE regress_roller;
SELECT walhouse.create_rollup('dw.other', 'dw.sales', '{channel}', '{"n": "count(*)"}');
RESET ROLE;
GRANT SELECT ON dw.sales TO regress_roller;
SET ROLE regress_roller;
SELECT walhouse.create_rollup('dw.other', 'dw.sales', '{channel}', '{"n": "count(*)"}');
CALL walhouse.build('dw.other');
RESET ROLE;
REVOKE SELECT ON dw.sales FROM regress_roller;
INSERT INTO shop.orders VALUES (8, 2, 'web', '2026-02-01 12:00+00', NULL, 5, 5, 5, 5, 'e', NULL);
CALL dw.go('2026-02-24 12:00+00');
SELECT model, state, regexp_replace(error, ' \(Failing row.*', '') AS error FROM walhouse.stat_model WHERE kind = 'rollup' ORDER BY 1;
GRANT SELECT ON dw.sales TO regress_roller;
SELECT walhouse.resume('dw.other');
CALL walhouse.load('shop');
SELECT channel, n FROM dw.other ORDER BY 1;

-- a fact with rollups is not dropped; a rollup leaves nothing
SELECT walhouse.drop_model('dw.sales');
DROP VIEW dw.daily_clean, dw.by_region;
SELECT walhouse.drop_model(relation) FROM walhouse.model WHERE kind = 'rollup' ORDER BY model_id;
SELECT count(*) FROM walhouse.fact_reader;
SELECT count(*) FROM walhouse.rollup;
SELECT relname FROM pg_class WHERE relnamespace = 'dw'::regnamespace AND relkind = 'r' AND NOT relispartition ORDER BY 1;
DROP FUNCTION pg_temp.declare;
SELECT walhouse.drop_model('dw.sales');
SELECT walhouse.drop_model('dw.customer');
SET client_min_messages = error;
DROP SCHEMA dw CASCADE;
DROP ROLE regress_roller;
SELECT handfeed.remove('shop');
DROP SCHEMA handfeed CASCADE;
