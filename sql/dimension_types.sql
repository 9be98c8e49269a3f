-- Slowly changing dimensions: types 0, 1, 2, 3 and 6 mixed in one dimension, and what deletes do.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.customer (id int PRIMARY KEY, name text, segment text, region text, signup date);
CREATE TABLE shop.sale (id int PRIMARY KEY, customer_id int, sold date);
SELECT handfeed.add('shop', 'shop.customer'), handfeed.add('shop', 'shop.sale') \g /dev/null
CREATE SCHEMA dw;
CREATE FUNCTION dw.at(t timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT handfeed.commit('shop', t); SELECT handfeed.reach('shop') $$;
-- damaged: what verify() makes of a statement that changes the model behind walhouse's back; it is rolled back.
CREATE PROCEDURE dw.damaged(model regclass, statement text) LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    PERFORM set_config('walhouse.allow_writes', 'on', true);
    EXECUTE statement;
    SELECT format('%s missing, %s unexpected, %s different', missing, unexpected, different) INTO found FROM walhouse.verify(model);
    ROLLBACK;
    RAISE WARNING '%', found;
END $$;

-- What a declaration refuses.
SELECT walhouse.create_dimension('dw.bad', 'SELECT id, name, segment FROM shop.customer', '{id}', '{"name": 4}');
SELECT walhouse.create_dimension('dw.bad', 'SELECT id, name, segment AS name_previous FROM shop.customer', '{id}', '{"name": 3}');
SELECT walhouse.create_dimension('dw.bad', 'SELECT id, name, segment AS name_current FROM shop.customer', '{id}', '{"name": 6}');
SELECT walhouse.create_dimension('dw.bad', 'SELECT id, name IS NULL AS is_deleted FROM shop.customer', '{id}', on_delete => 'tombstone');

SELECT walhouse.create_dimension('dw.c_' || d, 'SELECT id, name, segment, region, signup FROM shop.customer', '{id}',
    '{"*": 1, "segment": 6, "region": 3, "signup": 0}', d)
FROM unnest(ARRAY['close', 'tombstone', 'ignore', 'purge']) d;
SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'dw' AND table_name = 'c_tombstone' ORDER BY ordinal_position;
SELECT walhouse.create_fact('dw.sale', 'SELECT id, customer_id, sold FROM shop.sale', '{id}', 'sold',
    '{"close_sk": "dw.c_close(customer_id)", "purge_sk": "dw.c_purge(customer_id)"}', 'year');
-- A fact has an index by which it finds the rows that point to what was purged.
SELECT indexdef FROM pg_indexes WHERE schemaname = 'dw' AND tablename = 'sale' ORDER BY 1;

-- everything: the rows of all four, as one table.
SELECT format('CREATE VIEW dw.everything AS %s', string_agg(format(
    'SELECT %L AS on_delete, id, name, segment AS seg, segment_current AS now, region AS reg, region_previous AS was, signup, valid_from, valid_to, '
    'is_current AS cur, is_inferred AS inf, %s AS del FROM dw.c_%s WHERE id IS NOT NULL',
    d, CASE WHEN d = 'tombstone' THEN 'is_deleted' ELSE 'NULL::boolean' END, d), ' UNION ALL '))
FROM unnest(ARRAY['close', 'tombstone', 'ignore', 'purge']) d \gexec
\set QUIET off
CALL walhouse.build('dw.c_close'); CALL walhouse.build('dw.c_tombstone'); CALL walhouse.build('dw.c_ignore'); CALL walhouse.build('dw.c_purge');
CALL walhouse.build('dw.sale');

-- One member: it comes, its segment changes (6), its name (1) and its signup (0), its region twice (3), and then nothing.
INSERT INTO shop.customer VALUES (1, 'Ann', 'S', 'north', '2026-01-01');
SELECT dw.at('2026-01-01') \g /dev/null
UPDATE shop.customer SET segment = 'M', name = 'Anna';
SELECT dw.at('2026-02-01') \g /dev/null
UPDATE shop.customer SET region = 'east', signup = '2020-01-01';
SELECT dw.at('2026-03-01') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.everything WHERE on_delete = 'close' ORDER BY valid_from;
UPDATE shop.customer SET region = NULL, segment = 'L';
SELECT dw.at('2026-04-01') \g /dev/null
UPDATE shop.customer SET region = region;
SELECT dw.at('2026-05-01') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.everything WHERE on_delete = 'close' ORDER BY valid_from;
-- Until the first delete it is the same whatever deletes do.
SELECT count(*), count(DISTINCT (id, name, seg, now, reg, was, signup, valid_from, valid_to, cur, inf)) FROM dw.everything;

-- There and back in one batch: the value is the same, but the one before the last change is not.
UPDATE shop.customer SET region = 'there';
SELECT dw.at('2026-05-01 01:00') \g /dev/null
UPDATE shop.customer SET region = NULL;
SELECT dw.at('2026-05-01 02:00') \g /dev/null
CALL walhouse.load('shop');
SELECT DISTINCT on_delete, reg, was FROM dw.everything ORDER BY 1;
UPDATE shop.customer SET region = 'east';
SELECT dw.at('2026-05-01 03:00') \g /dev/null
UPDATE shop.customer SET region = NULL;
SELECT dw.at('2026-05-01 04:00') \g /dev/null
CALL walhouse.load('shop');

-- A delete.
INSERT INTO shop.sale VALUES (1, 1, '2026-01-15'), (2, 1, '2026-02-15'), (3, 1, '2026-04-15'), (4, 1, '2030-01-01');
SELECT dw.at('2026-05-02') \g /dev/null
CALL walhouse.load('shop');
SELECT s.id, c.segment, p.segment, p.is_inferred FROM dw.sale s JOIN dw.c_close c ON c_close_sk = close_sk JOIN dw.c_purge p ON c_purge_sk = purge_sk ORDER BY 1;
DELETE FROM shop.customer;
SELECT dw.at('2026-06-01') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.everything ORDER BY on_delete, valid_from;
-- The facts point to what is left.
SELECT s.id, c.segment, p.segment, p.is_inferred FROM dw.sale s JOIN dw.c_close c ON c_close_sk = close_sk JOIN dw.c_purge p ON c_purge_sk = purge_sk ORDER BY 1;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- It comes back, with another segment and another signup; what was purged begins anew.
INSERT INTO shop.customer VALUES (1, 'Ann', 'XL', 'west', '2026-07-01');
SELECT dw.at('2026-07-01') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.everything ORDER BY on_delete, valid_from;
SELECT s.id, p.segment, p.is_inferred FROM dw.sale s JOIN dw.c_purge p ON c_purge_sk = purge_sk ORDER BY 1;
-- Deleted and back again with the same image, in one transaction and in two.
DELETE FROM shop.customer;
INSERT INTO shop.customer VALUES (1, 'Ann', 'XL', 'west', '2026-07-01');
SELECT dw.at('2026-08-01') \g /dev/null
DELETE FROM shop.customer;
SELECT dw.at('2026-08-02') \g /dev/null
INSERT INTO shop.customer VALUES (1, 'Ann', 'XL', 'west', '2026-07-01');
SELECT dw.at('2026-08-03') \g /dev/null
CALL walhouse.load('shop');
SELECT on_delete, count(*), max(valid_from) AS last, bool_or(cur) AS cur, bool_or(del) AS del FROM dw.everything GROUP BY 1 ORDER BY 1;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- The same over two loads: the tombstone comes and goes, and no version begins.
DELETE FROM shop.customer;
SELECT dw.at('2026-08-04') \g /dev/null
CALL walhouse.load('shop');
SELECT count(*), bool_or(cur) AS cur, bool_or(del) AS del FROM dw.everything WHERE on_delete = 'tombstone';
INSERT INTO shop.customer VALUES (1, 'Ann', 'XL', 'west', '2026-07-01');
SELECT dw.at('2026-08-05') \g /dev/null
CALL walhouse.load('shop');
SELECT count(*), bool_or(cur) AS cur, bool_or(del) AS del FROM dw.everything WHERE on_delete = 'tombstone';

-- A row ahead of the clock has followed the purges, and gets the version that begins now.
UPDATE shop.customer SET segment = 'XS';
SELECT dw.at('2026-08-06') \g /dev/null
CALL walhouse.load('shop');
SELECT s.id, c.segment, p.segment FROM dw.sale s JOIN dw.c_close c ON c_close_sk = close_sk JOIN dw.c_purge p ON c_purge_sk = purge_sk ORDER BY 1;
SELECT model, missing, unexpected, different FROM walhouse.verify('dw.sale');

-- A key change is a delete and an insert; TRUNCATE deletes all that was there.
UPDATE shop.customer SET id = 2;
INSERT INTO shop.customer VALUES (3, 'Cid', 'S', 'south', NULL);
SELECT dw.at('2026-09-01') \g /dev/null
UPDATE shop.customer SET segment = 'XXL' WHERE id = 3;
SELECT dw.at('2026-09-02') \g /dev/null
TRUNCATE shop.customer;
INSERT INTO shop.customer VALUES (3, 'Cid', 'XXL', 'south', '2026-09-03');
SELECT dw.at('2026-09-03') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.everything WHERE id > 1 ORDER BY on_delete, id, valid_from;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- verify() sees damage to what types keep.
CALL dw.damaged('dw.c_close', $$UPDATE dw.c_close SET signup = '1999-01-01' WHERE id = 3$$);
CALL dw.damaged('dw.c_close', $$UPDATE dw.c_close SET region_previous = 'x' WHERE id = 1 AND NOT is_current$$);
CALL dw.damaged('dw.c_ignore', $$UPDATE dw.c_ignore SET segment_current = 'x' WHERE id = 1 AND is_current$$);
CALL dw.damaged('dw.c_tombstone', $$UPDATE dw.c_tombstone SET is_deleted = NOT is_deleted WHERE id = 2$$);
CALL dw.damaged('dw.c_purge', $$INSERT INTO dw.c_purge (id, valid_from, valid_to, is_current, is_inferred, load_id) VALUES (2, '2026-01-01', 'infinity', true, false, 0)$$);

-- The horizon moves past deletes: verify() takes what was before from the rows.
UPDATE walhouse.feed SET horizon = (SELECT end_lsn FROM shop_log.txn WHERE clock = '2026-09-01');
DELETE FROM shop_log.customer WHERE lsn <= (SELECT horizon FROM walhouse.feed);
DELETE FROM shop_log.sale WHERE lsn <= (SELECT horizon FROM walhouse.feed);
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
INSERT INTO shop.customer VALUES (1, 'Ann', 'XL', 'west', '2026-10-01'), (2, 'Ann', 'S', 'west', '2026-10-01');
SELECT dw.at('2026-10-01') \g /dev/null
UPDATE shop.customer SET segment = segment || '!';
SELECT dw.at('2026-10-02') \g /dev/null
CALL walhouse.load('shop');
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
-- A build keeps what the log has; facts are built after it.
CALL walhouse.build('dw.c_purge'); CALL walhouse.build('dw.sale');
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

\set QUIET on
DROP VIEW dw.everything;
SELECT walhouse.drop_model('dw.sale') \g /dev/null
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
SELECT count(*) FROM walhouse.purged;
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
