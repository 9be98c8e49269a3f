-- Periodic snapshots: gaps, late rows, corrections and deletes, rows of the future, the clock that enters periods, last and balance, weeks
-- and months, a zone with summer time, rows that no period takes; each state against a query that counts rows for every period.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SET jit = off;
SET datestyle = 'ISO';
SELECT handfeed.make('shop', 'Europe/Berlin');
CREATE SCHEMA dw;
CREATE TABLE shop.moves (id int PRIMARY KEY, item text, at timestamptz, paid date, seen timestamp, qty int, price numeric);
SELECT handfeed.add('shop', 'shop.moves');
SELECT walhouse.create_fact('dw.move', 'SELECT id, item, at, paid, seen, qty, price FROM shop.moves', '{id}', 'at');
SELECT walhouse.create_periodic_snapshot('dw.stock', 'dw.move', '{item}',
    '{"moves": "count(*)", "moved": "sum(qty)", "stock": "balance(qty)", "total": "balance(*)", "value": "balance(price)", "price": "last(price)", "dearest": "max(price)",
      "prices": "count(distinct price)"}');
\d dw.stock
\d dw.stock_rows
SELECT walhouse.create_periodic_snapshot('dw.sparse', 'dw.move', '{item}', '{"moves": "count(*)", "stock": "balance(qty)", "price": "last(price)"}', fill => false),
       walhouse.create_periodic_snapshot('dw.weekly', 'dw.move', '{}', '{"moved": "sum(qty)", "stock": "balance(qty)"}', period => 'week'),
       walhouse.create_periodic_snapshot('dw.monthly', 'dw.move', '{item}', '{"n": "count(*)", "last": "last(qty)"}', period => 'month', period_column => 'paid'),
       walhouse.create_periodic_snapshot('dw.seen', 'dw.move', '{}', '{"n": "balance(*)"}', period_column => 'seen');

-- The rows that each snapshot should have, by counting the fact's rows for every period.
CREATE FUNCTION dw.clock(unit text) RETURNS date LANGUAGE sql AS
    $$ SELECT date_trunc(unit, max(clock) AT TIME ZONE 'Europe/Berlin')::date FROM shop_log.txn WHERE end_lsn <= (SELECT max(position) FROM walhouse.feed_position) $$;
CREATE VIEW dw.f AS SELECT *, (at AT TIME ZONE 'Europe/Berlin')::date AS day FROM dw.move;
CREATE VIEW dw.want AS
    SELECT 'stock' AS snapshot, ROW (p::date, g.item, (SELECT count(*) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day = p),
        (SELECT count(*) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day <= p), (SELECT sum(qty) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day = p),
        (SELECT sum(qty) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day <= p),
        (SELECT count(distinct price) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day = p),
        (SELECT trim_scale(max(price)) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day = p),
        (SELECT trim_scale(sum(price)) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day <= p),
        (SELECT trim_scale(price) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day <= p ORDER BY at DESC, id DESC LIMIT 1))::text AS r
    FROM (SELECT item, min(day) AS first, max(day) AS last FROM dw.f GROUP BY 1) g, generate_series(g.first, greatest(g.last, dw.clock('day')), interval '1 day') p
    UNION ALL
    SELECT 'sparse', ROW (p, item, (SELECT count(*) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day = p),
        (SELECT sum(qty) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day <= p),
        (SELECT trim_scale(price) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND day <= p ORDER BY at DESC, id DESC LIMIT 1))::text
    FROM (SELECT DISTINCT item, day AS p FROM dw.f) g
    UNION ALL
    SELECT 'weekly', ROW (p::date, (SELECT sum(qty) FROM dw.f WHERE day BETWEEN p AND p + interval '6 days'), (SELECT sum(qty) FROM dw.f WHERE day <= p + interval '6 days'))::text
    FROM (SELECT min(date_trunc('week', day::timestamp)) AS first, max(day) AS last FROM dw.f) g, generate_series(first, greatest(g.last, dw.clock('week')), interval '7 days') p
    UNION ALL
    SELECT 'monthly', ROW (p::date, item, (SELECT count(*) FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND date_trunc('month', paid::timestamp) = p),
        (SELECT qty FROM dw.f WHERE f.item IS NOT DISTINCT FROM g.item AND paid < p + interval '1 month' AND paid >= '1926-01-01' ORDER BY paid DESC, id DESC LIMIT 1))::text
    FROM (SELECT item, min(date_trunc('month', paid::timestamp)) AS first, max(date_trunc('month', paid::timestamp)) AS last FROM dw.f WHERE paid BETWEEN '1926-01-01' AND '2126-12-31'
        GROUP BY 1) g, generate_series(first, greatest(g.last, dw.clock('month')), interval '1 month') p
    UNION ALL
    SELECT 'seen', ROW (p::date, (SELECT count(*) FROM dw.f WHERE seen::date <= p AND seen >= '1926-01-01'))::text
    FROM (SELECT min(seen::date) AS first, max(seen::date) AS last FROM dw.f WHERE seen BETWEEN '1926-01-01' AND '2126-12-31') g,
        generate_series(first, greatest(g.last, dw.clock('day')), interval '1 day') p;
CREATE VIEW dw.have AS
    SELECT 'stock' AS snapshot, ROW (period_start, item, moves, total, moved, stock, prices, dearest, value, price)::text AS r FROM dw.stock
    UNION ALL SELECT 'sparse', ROW (period_start, item, moves, stock, price)::text FROM dw.sparse
    UNION ALL SELECT 'weekly', ROW (period_start, moved, stock)::text FROM dw.weekly
    UNION ALL SELECT 'monthly', ROW (period_start, item, n, last)::text FROM dw.monthly
    UNION ALL SELECT 'seen', ROW (period_start, n)::text FROM dw.seen;
CREATE VIEW dw.wrong AS (SELECT 'have', * FROM (TABLE dw.have EXCEPT ALL TABLE dw.want) q) UNION ALL (SELECT 'want', * FROM (TABLE dw.want EXCEPT ALL TABLE dw.have) q);
CREATE VIEW dw.unproven AS SELECT v.* FROM walhouse.model m, walhouse.verify(m.relation) v WHERE v.missing + v.unexpected + v.different > 0;
CREATE VIEW dw.stopped AS SELECT relation, state, error FROM walhouse.model WHERE state <> 'live' ORDER BY model_id;
CREATE PROCEDURE dw.go(at timestamptz) LANGUAGE plpgsql AS $$ BEGIN
    PERFORM handfeed.commit('shop', at); PERFORM handfeed.reach('shop'); COMMIT; CALL walhouse.load('shop'); END $$;

-- an empty fact gives empty snapshots; the first rows come
SELECT handfeed.commit('shop', '2026-03-20 12:00+00');
SELECT handfeed.reach('shop');
CALL walhouse.build('dw.move');
CALL walhouse.build('dw.stock');
CALL walhouse.build('dw.sparse');
CALL walhouse.build('dw.weekly');
CALL walhouse.build('dw.monthly');
CALL walhouse.build('dw.seen');
SELECT count(*) FROM dw.have;
SELECT * FROM dw.wrong;
INSERT INTO shop.moves VALUES (1, 'bolt', '2026-03-18 22:59+00', '2026-03-18', '2026-03-18 12:00', 10, 1.50), (2, 'nut', '2026-03-20 10:00+00', NULL, NULL, 5, NULL);
CALL dw.go('2026-03-21 12:00+00');
SELECT period_start, item, moves, moved, stock, total, value, price, dearest, prices FROM dw.stock ORDER BY item, period_start;
SELECT * FROM dw.wrong;

-- the clock enters two days, with a late row, a row of today and one of the future
INSERT INTO shop.moves VALUES (3, 'bolt', '2026-03-15 23:00+00', '2026-01-31', '2026-03-16 12:00', 2, 1.2), (4, 'bolt', '2026-03-23 10:00+00', '2026-02-01', NULL, -4, 1.5),
    (5, 'nut', '2026-03-27 10:00+00', '2026-05-01', '2026-03-30', 7, 0.1), (6, NULL, '2026-03-22 10:00+00', '2026-03-01', 'infinity', 1, 2.00);
CALL dw.go('2026-03-23 12:00+00');
SELECT period_start, item, moves, moved, stock, total, value, price, dearest, prices FROM dw.stock ORDER BY item, period_start;
SELECT period_start, moved, stock FROM dw.weekly ORDER BY 1;
SELECT period_start, item, n, last FROM dw.monthly ORDER BY item, 1;
SELECT period_start, item, moves, stock, price FROM dw.sparse ORDER BY 2, 1;
SELECT * FROM dw.wrong;
SELECT * FROM dw.unproven;

-- nothing but the clock: each group gets its row, of the future ones there are enough
CALL dw.go('2026-03-25 12:00+00');
SELECT m.relation, l.inserted, l.updated, l.deleted FROM walhouse.load_model l JOIN walhouse.model m USING (model_id)
    WHERE l.load_id = (SELECT max(load_id) FROM walhouse.load) ORDER BY m.model_id;
SELECT * FROM dw.wrong;
-- the row of the future goes, and its days with it; the first row goes; a row moves from one group to another
DELETE FROM shop.moves WHERE id IN (5, 3);
UPDATE shop.moves SET item = 'nut' WHERE id = 4;
CALL dw.go('2026-03-25 12:00+00');
SELECT * FROM dw.wrong;
SELECT item, min(period_start), max(period_start) FROM dw.stock GROUP BY 1 ORDER BY 1;
-- into summer time, at the edges of days
INSERT INTO shop.moves VALUES (7, 'bolt', '2026-03-28 22:59:59.999999+00', NULL, '2026-03-29 02:30', 1, 3), (8, 'bolt', '2026-03-28 23:00+00', NULL, NULL, 1, 4),
    (9, 'bolt', '2026-03-29 21:59:59+00', NULL, NULL, 1, 5), (10, 'bolt', '2026-03-29 22:00+00', NULL, NULL, 1, 6);
CALL dw.go('2026-03-28 22:30+00');
SELECT * FROM dw.wrong;
CALL dw.go('2026-03-28 23:00+00');
SELECT max(period_start) FROM dw.stock WHERE item = 'nut';
CALL dw.go('2026-03-29 22:00+00');
SELECT max(period_start) FROM dw.stock WHERE item = 'nut';
SELECT * FROM dw.wrong;
-- of two rows at one time the greater key is the last; a value of NULL is a last one
UPDATE shop.moves SET at = '2026-03-29 22:00+00' WHERE id = 9;
CALL dw.go('2026-03-30 22:00+00');
SELECT price FROM dw.stock WHERE item = 'bolt' ORDER BY period_start DESC LIMIT 1;
UPDATE shop.moves SET price = NULL, qty = NULL WHERE id = 10;
CALL dw.go('2026-03-30 22:00+00');
SELECT price, stock FROM dw.stock WHERE item = 'bolt' ORDER BY period_start DESC LIMIT 1;
SELECT * FROM dw.wrong;
-- NaN and infinities run through a balance, and leave it
UPDATE shop.moves SET price = 'NaN' WHERE id = 7;
UPDATE shop.moves SET price = 'Infinity' WHERE id = 8;
UPDATE shop.moves SET price = 7.0 WHERE id = 10;
CALL dw.go('2026-03-31 12:00+00');
SELECT * FROM dw.wrong;
SELECT period_start, value FROM dw.stock WHERE item = 'bolt' ORDER BY 1 DESC LIMIT 4;
UPDATE shop.moves SET price = '-Infinity' WHERE id = 7;
CALL dw.go('2026-03-31 12:00+00');
SELECT * FROM dw.wrong;
UPDATE shop.moves SET price = 1 WHERE id IN (7, 8);
CALL dw.go('2026-03-31 12:00+00');
SELECT * FROM dw.wrong;
SELECT * FROM dw.unproven;
-- rows outside the bounds of the fact belong to no period; a group without rows goes
UPDATE shop.moves SET paid = '0001-01-01', seen = '9999-12-31' WHERE id = 8;
DELETE FROM shop.moves WHERE item IS NULL;
CALL dw.go('2026-04-02 12:00+00');
SELECT count(*) FROM dw.stock WHERE item IS NULL;
SELECT * FROM dw.wrong;
SELECT * FROM dw.unproven;
-- a snapshot that waited while the clock went on
ALTER TABLE dw.stock ADD CONSTRAINT cheap CHECK (dearest < 1000);
UPDATE shop.moves SET price = 2000 WHERE id = 1;
CALL dw.go('2026-04-03 12:00+00');
SELECT relation, state FROM dw.stopped;
INSERT INTO shop.moves VALUES (11, 'screw', '2026-03-30', NULL, NULL, 3, 3);
CALL dw.go('2026-04-05 12:00+00');
SELECT * FROM dw.unproven;
UPDATE shop.moves SET price = 2 WHERE id = 1;
DELETE FROM shop.moves WHERE id = 2;
CALL dw.go('2026-04-07 12:00+00');
SELECT * FROM dw.stopped;
SELECT * FROM dw.wrong;
SELECT * FROM dw.unproven;
-- known as it was; built again as it is
SELECT max(load_id) AS earlier FROM walhouse.load \gset
CREATE TABLE dw.was AS SELECT period_start, item, stock, price, total, wh_key, wh_state FROM dw.stock;
TRUNCATE shop.moves;
CALL dw.go('2026-04-08 12:00+00');
SELECT count(*) FROM dw.have;
SELECT period_start, item, stock, price, total, wh_key, wh_state FROM walhouse.as_known(NULL::dw.stock, load => :earlier) EXCEPT ALL TABLE dw.was;
SELECT (SELECT count(*) FROM walhouse.as_known(NULL::dw.stock, load => :earlier)) - (SELECT count(*) FROM dw.was) AS more;
INSERT INTO shop.moves SELECT i, CASE WHEN i % 3 > 0 THEN 'item ' || i % 3 END, '2026-03-01'::timestamptz + i * interval '17 hours', '2026-01-01'::date + i, '2026-03-01'::timestamp + i * interval '5 hours',
    i % 7, CASE WHEN i % 5 > 0 THEN i / 10.0 END FROM generate_series(1, 60) i;
CALL dw.go('2026-04-09 12:00+00');
SELECT * FROM dw.wrong;
CREATE TABLE dw.before AS SELECT period_start, item, stock, price, total, wh_key, wh_state FROM dw.stock;
CALL walhouse.build('dw.stock');
CALL walhouse.build('dw.weekly');
CALL walhouse.build('dw.monthly');
SELECT * FROM dw.wrong;
TABLE dw.before EXCEPT ALL SELECT period_start, item, stock, price, total, wh_key, wh_state FROM dw.stock;
SELECT * FROM dw.unproven;

\set QUIET on
SET client_min_messages = error;
DROP VIEW dw.wrong, dw.have, dw.want, dw.f;
SELECT walhouse.drop_model(relation) FROM (SELECT relation FROM walhouse.model ORDER BY kind = 'fact', model_id) m \g /dev/null
DROP SCHEMA dw CASCADE;
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA handfeed CASCADE;
