-- The rules of a dimension's rows, DESIGN section 7, each by its number.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET walhouse.allow_writes = on;
SET datestyle = 'ISO, YMD';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.customer (id numeric PRIMARY KEY, name text, city text, score float8, rate numeric);
SELECT handfeed.add('shop', 'shop.customer') \g /dev/null
CREATE SCHEMA dw;
CREATE FUNCTION dw.at(t timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT handfeed.commit('shop', t); SELECT handfeed.reach('shop') $$;
INSERT INTO shop.customer VALUES (1, 'Ann', 'Ulm', 1, 1.0);
SELECT dw.at('2025-12-31') \g /dev/null
UPDATE walhouse.feed SET horizon = '0/1100';
UPDATE walhouse.feed_table SET sync_lsn = '0/1100';
DELETE FROM shop_log.customer;
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name, city, score, rate FROM shop.customer WHERE city <> ''nowhere'' IS NOT FALSE',
    '{id}', scd => '{"name": 1}') \g /dev/null
CREATE VIEW dw.rows AS SELECT id, name, city, score, rate, valid_from, valid_to, is_current AS cur, is_inferred AS inf FROM dw.customer;
\set QUIET off
CALL walhouse.build('dw.customer');

-- The unknown member, and rule 4: the first version of a key is valid from -infinity.
SELECT customer_sk, id, name, valid_from, valid_to, is_current, is_inferred FROM dw.customer ORDER BY 1;

-- Rule 1: the order is that of commits; the clock never goes back, and boundaries of a key are at least 1 µs apart.
UPDATE shop.customer SET city = 'Bern';
SELECT dw.at('2026-01-02') \g /dev/null
UPDATE shop.customer SET city = 'Graz';
SELECT dw.at('2026-01-01') \g /dev/null
UPDATE shop.customer SET city = 'Linz';
SELECT dw.at('2026-01-02') \g /dev/null
CALL walhouse.load('shop');
SELECT id, city, valid_from, valid_to, cur FROM dw.rows WHERE id = 1 ORDER BY valid_from;
-- A change that changes nothing moves no boundary.
UPDATE shop.customer SET city = 'Linz';
SELECT dw.at('2026-01-03') \g /dev/null
CALL walhouse.load('shop');
UPDATE shop.customer SET city = 'Wels';
SELECT dw.at('2026-01-04') \g /dev/null
CALL walhouse.load('shop');
SELECT id, city, valid_from, valid_to, cur FROM dw.rows WHERE id = 1 ORDER BY valid_from DESC LIMIT 2;

-- Rule 2: changes of one key in one source transaction count as one.
INSERT INTO shop.customer VALUES (2, 'Bob', 'Rome', 1, 1);
UPDATE shop.customer SET city = 'Pisa' WHERE id = 2;
UPDATE shop.customer SET city = 'Bari' WHERE id = 2;
INSERT INTO shop.customer VALUES (3, 'Eve', 'Rome', 1, 1);
DELETE FROM shop.customer WHERE id = 3;
SELECT dw.at('2026-02-01') \g /dev/null
DELETE FROM shop.customer WHERE id = 2;
INSERT INTO shop.customer VALUES (2, 'Bob', 'Bari', 1, 1);
SELECT dw.at('2026-02-02') \g /dev/null
CALL walhouse.load('shop');
SELECT id, city, valid_from, valid_to, cur FROM dw.rows WHERE id IN (2, 3) ORDER BY id, valid_from;

-- Rule 3: equal means equal images: NaN is NaN, NULL is NULL, '' is not NULL, 1.0 is not 1.00, 0 is not -0.
UPDATE shop.customer SET score = 'NaN', rate = NULL, city = '' WHERE id = 2;
SELECT dw.at('2026-03-01') \g /dev/null
UPDATE shop.customer SET score = 'NaN', rate = NULL, city = '' WHERE id = 2;
SELECT dw.at('2026-03-02') \g /dev/null
UPDATE shop.customer SET city = NULL, score = 0, rate = 1.0 WHERE id = 2;
SELECT dw.at('2026-03-03') \g /dev/null
UPDATE shop.customer SET score = '-0' WHERE id = 2;
SELECT dw.at('2026-03-04') \g /dev/null
UPDATE shop.customer SET rate = 1.00 WHERE id = 2;
SELECT dw.at('2026-03-05') \g /dev/null
CALL walhouse.load('shop');
SELECT id, city, score, rate, valid_from FROM dw.rows WHERE id = 2 ORDER BY valid_from;

-- Rule 5: type 1 is overwritten on all versions, in one write with a close; so is the form of the key.
UPDATE shop.customer SET name = 'Anna', city = 'Rom' WHERE id = 1;
UPDATE shop.customer SET id = 2.0, name = 'Bobby' WHERE id = 2;
SELECT dw.at('2026-04-01') \g /dev/null
CALL walhouse.load('shop');
SELECT id, name, count(*), count(*) FILTER (WHERE cur) AS current FROM dw.rows WHERE id < 3 GROUP BY 1, 2 ORDER BY 1;

-- Rule 6: a delete closes, a re-insert opens, with the same values too. A row that leaves the query's condition is deleted.
DELETE FROM shop.customer WHERE id = 1;
SELECT dw.at('2026-05-01') \g /dev/null
CALL walhouse.load('shop');
SELECT id, name, city, valid_from, valid_to, cur FROM dw.rows WHERE id = 1 ORDER BY valid_from DESC LIMIT 1;
INSERT INTO shop.customer VALUES (1, 'Anne', 'Rom', 1, 1.0);
SELECT dw.at('2026-05-01') \g /dev/null
UPDATE shop.customer SET city = 'nowhere' WHERE id = 1;
SELECT dw.at('2026-05-02') \g /dev/null
UPDATE shop.customer SET city = 'Nice' WHERE id = 1;
SELECT dw.at('2026-05-03') \g /dev/null
CALL walhouse.load('shop');
SELECT id, name, city, valid_from, valid_to, cur FROM dw.rows WHERE id = 1 ORDER BY valid_from DESC LIMIT 4;
-- TRUNCATE deletes what was there before it, and nothing after it. A key change is a delete and an insert.
INSERT INTO shop.customer VALUES (5, 'Tim', 'Oslo', 1, 1);
TRUNCATE shop.customer;
INSERT INTO shop.customer VALUES (1, 'Anne', 'Nice', 1, 1.0), (6, 'Tom', 'Oslo', 1, 1);
SELECT dw.at('2026-06-01') \g /dev/null
UPDATE shop.customer SET id = 7 WHERE id = 6;
SELECT dw.at('2026-06-02') \g /dev/null
CALL walhouse.load('shop');
SELECT id, name, city, valid_from, valid_to, cur FROM dw.rows WHERE id <> 1 AND valid_to >= '2026-06-01' ORDER BY id, valid_from;

-- Rule 7: an inferred member becomes the first version in place, with its surrogate key.
INSERT INTO dw.customer (customer_sk, id, valid_from, valid_to, is_current, is_inferred, load_id)
    VALUES (900, 8, '-infinity', 'infinity', true, true, 0), (901, 9, '-infinity', 'infinity', true, true, 0);
INSERT INTO shop.customer VALUES (8, 'Ida', 'Kiel', 1, 1);
SELECT dw.at('2026-07-01') \g /dev/null
UPDATE shop.customer SET city = 'Bonn', name = 'Ina' WHERE id = 8;
SELECT dw.at('2026-07-02') \g /dev/null
CALL walhouse.load('shop');
SELECT customer_sk >= 900 AS kept, id, name, city, valid_from, valid_to, is_current AS cur, is_inferred AS inf FROM dw.customer WHERE id IN (8, 9) ORDER BY id, valid_from;

-- Rule 8: indexes on columns that never change alone, so that a close is a heap-only update.
SELECT indexdef FROM pg_indexes WHERE schemaname = 'dw' AND tablename = 'customer' ORDER BY 1;
TRUNCATE shop.customer;
SELECT dw.at('2026-07-03') \g /dev/null
CALL walhouse.load('shop');
INSERT INTO shop.customer SELECT g, 'n', 'a', 1, 1 FROM generate_series(1, 60) g;
SELECT dw.at('2026-08-01') \g /dev/null
CALL walhouse.load('shop');
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relid = 'dw.customer'::regclass \gset before_
UPDATE shop.customer SET city = 'b' WHERE id <= 5;
SELECT dw.at('2026-08-02') \g /dev/null
CALL walhouse.load('shop');
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT n_tup_upd - :before_updates AS updates, n_tup_hot_upd - :before_hot = n_tup_upd - :before_updates AS all_hot
FROM pg_stat_user_tables WHERE relid = 'dw.customer'::regclass;

-- The whole history recomputed; and damage is found.
SELECT missing, unexpected, different, expected = found AS same FROM walhouse.verify('dw.customer');
-- The horizon moves on: what was before it is taken from the rows themselves.
UPDATE walhouse.feed SET horizon = (SELECT end_lsn FROM shop_log.txn WHERE clock >= '2026-05-02' ORDER BY 1 LIMIT 1);
DELETE FROM shop_log.customer WHERE lsn <= (SELECT horizon FROM walhouse.feed);
SELECT missing, unexpected, different, expected = found AS same FROM walhouse.verify('dw.customer');
UPDATE dw.customer SET city = 'Paris' WHERE id = 8 AND is_current;
DELETE FROM dw.customer WHERE id = 7;
INSERT INTO dw.customer (id, valid_from, valid_to, is_current, is_inferred, load_id) VALUES (77, '-infinity', 'infinity', true, false, 0);
SELECT expected - found AS fewer, missing, unexpected, different FROM walhouse.verify('dw.customer');
-- A build makes it right again, from the new horizon on; the unknown member stays.
CALL walhouse.build('dw.customer');
SELECT missing, unexpected, different, expected = found AS same FROM walhouse.verify('dw.customer');
SELECT count(*) FROM dw.customer WHERE customer_sk = -1;

-- An image that the query cannot compute stops the model while it is the last one, and is passed over when it was mended.
SELECT walhouse.create_dimension('dw.ratio', 'SELECT id, 12 / rate AS ratio, city FROM shop.customer', '{id}');
CALL walhouse.build('dw.ratio');
UPDATE shop.customer SET rate = 0, city = 'c' WHERE id = 1;
UPDATE shop.customer SET rate = 3, city = 'd' WHERE id = 2;
SELECT dw.at('2026-09-01') \g /dev/null
CALL walhouse.load('shop');
SELECT relation, state, error FROM walhouse.model ORDER BY model_id;
UPDATE shop.customer SET rate = 4, city = 'e' WHERE id = 1;
SELECT dw.at('2026-09-02') \g /dev/null
SELECT walhouse.resume('dw.ratio');
CALL walhouse.load('shop');
SELECT relation, state, error FROM walhouse.model ORDER BY model_id;
SELECT id, round(ratio, 2) AS ratio, city, valid_from, valid_to FROM dw.ratio WHERE id < 3 ORDER BY 1, valid_from;
SELECT missing, unexpected, different, expected = found AS same FROM walhouse.verify('dw.ratio');
CALL walhouse.build('dw.ratio');
SELECT missing, unexpected, different, expected = found AS same FROM walhouse.verify('dw.ratio');
-- What the query's condition leaves out is not computed, so it is no such image: the member ends when it leaves.
SELECT walhouse.create_dimension('dw.rated', 'SELECT id, 12 / rate AS ratio FROM shop.customer WHERE city <> ''gone''', '{id}');
CALL walhouse.build('dw.rated');
UPDATE shop.customer SET rate = 0 WHERE id = 3;
SELECT dw.at('2026-09-03') \g /dev/null
UPDATE shop.customer SET rate = 2 WHERE id = 3;
SELECT dw.at('2026-09-04') \g /dev/null
UPDATE shop.customer SET rate = 0, city = 'gone' WHERE id = 3;
SELECT dw.at('2026-09-05') \g /dev/null
UPDATE shop.customer SET rate = 1 WHERE id = 3;
SELECT dw.at('2026-09-06') \g /dev/null
CALL walhouse.load('shop');
SELECT round(ratio, 2) AS ratio, valid_from, valid_to FROM dw.rated WHERE id = 3 ORDER BY valid_from;
SELECT missing, unexpected, different, expected = found AS same FROM walhouse.verify('dw.rated');

\set QUIET on
DROP VIEW dw.rows;
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
DELETE FROM walhouse.feed_column; DELETE FROM walhouse.feed_table; DELETE FROM walhouse.feed_position; DELETE FROM walhouse.load; DELETE FROM walhouse.feed;
DROP SCHEMA shop, shop_log, dw, handfeed CASCADE;
