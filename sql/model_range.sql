-- The rows of a change lie in the heap of a log in any order, where a page had room for the second and not for the first: loads read them without
-- statements all the same.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\setenv PGDATABASE :DBNAME
\setenv PGOPTIONS '-c client_min_messages=debug1'
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
SET walhouse.allow_writes = on;
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.item (id int PRIMARY KEY, at timestamptz, amount int);
SELECT handfeed.add('shop', 'shop.item') \g /dev/null
CREATE SCHEMA dw;
CREATE SCHEMA ranges;
SELECT walhouse.create_dimension('dw.thing', 'SELECT id, amount FROM shop.item', '{id}', '{"*": 2}') \g /dev/null
SELECT walhouse.create_fact('dw.item', 'SELECT id, at, amount FROM shop.item', '{id}', 'at', '{"thing_sk": "dw.thing(id)"}', 'year') \g /dev/null
CALL walhouse.load('shop');
CALL walhouse.build('dw.thing');
CALL walhouse.build('dw.item');
INSERT INTO shop.item SELECT i, '2026-01-01', i FROM generate_series(1, 100) i;
SELECT handfeed.commit('shop', '2026-01-02') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
-- turn writes what came last as it should not lie
CREATE FUNCTION ranges.turn(at timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM handfeed.commit('shop', at);
    PERFORM handfeed.reach('shop');
    CREATE TABLE ranges.log AS SELECT * FROM shop_log.item;
    DELETE FROM shop_log.item;
    INSERT INTO shop_log.item SELECT * FROM ranges.log ORDER BY op DESC, lsn DESC, seq DESC;
    DROP TABLE ranges.log;
    RETURN count(*) FROM shop_log.item a JOIN shop_log.item b USING (lsn, seq) WHERE a.op < b.op AND a.ctid > b.ctid;
END $$;
CREATE VIEW ranges.verdict AS SELECT model::text, expected, missing, unexpected, different FROM walhouse.verify() WHERE model::text LIKE 'dw.%';

-- B and U; B, D and I of a key that changes; a row that comes and goes
UPDATE shop.item SET amount = amount + 1 WHERE id <= 50;
UPDATE shop.item SET id = id + 1000 WHERE id BETWEEN 41 AND 60;
DELETE FROM shop.item WHERE id BETWEEN 21 AND 30;
INSERT INTO shop.item SELECT i, '2026-01-01', i FROM generate_series(201, 210) i;
DELETE FROM shop.item WHERE id > 205 AND id < 1000;
SELECT ranges.turn('2026-01-03');
\! psql -XqAt -c "CALL walhouse.load('shop')" 2>&1 | grep -E '^DEBUG:  (versions of|fact) '
SELECT * FROM ranges.verdict ORDER BY model;

TRUNCATE shop.item;
INSERT INTO shop.item VALUES (1, '2026-01-01', 7);
SELECT ranges.turn('2026-01-04') \g /dev/null
\! psql -XqAt -c "CALL walhouse.load('shop')" 2>&1 | grep -E '^DEBUG:  (versions of|fact) '
SELECT * FROM ranges.verdict ORDER BY model;

-- leave nothing behind
SELECT walhouse.drop_model(m) FROM unnest('{dw.item,dw.thing}'::regclass[]) m \g /dev/null
\set ECHO none
\o /dev/null
SELECT handfeed.remove('shop');
DROP SCHEMA dw, ranges, handfeed CASCADE;
