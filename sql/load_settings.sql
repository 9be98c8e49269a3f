-- What a session has set changes nothing of what loads write: whatever a value's text depends on is pinned.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = error;
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.item (id int PRIMARY KEY, raw bytea, name text, price float8, took interval, at timestamptz);
SELECT handfeed.add('shop', 'shop.item') \g /dev/null
CREATE SCHEMA pinned;
SELECT walhouse.create_dimension('pinned.item', $$ SELECT id, raw::text AS raw, quote_ident(name) AS quoted, '{NULL,a}'::text[] AS words,
    concat(price) AS price, concat(took) AS took, concat(at) AS at, at AT TIME ZONE 'EST' AS there FROM shop.item $$, '{id}'),
    walhouse.create_fact('pinned.fact', $$ SELECT id, raw::text AS raw, quote_ident(name) AS quoted, at FROM shop.item $$, '{id}', 'at') \g /dev/null
CALL walhouse.build('pinned.item');
CALL walhouse.build('pinned.fact');
\set QUIET off

-- One load with the usual settings, one with others, by each path.
SET walhouse.allow_writes = on;
INSERT INTO shop.item VALUES (1, '\x0102', 'a', 0.1::float8 + 0.2, '26:00', '2026-01-01 12:00+00');
SELECT handfeed.commit('shop', '2026-01-02'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SET bytea_output = escape;
SET quote_all_identifiers = on;
SET array_nulls = off;
SET extra_float_digits = -3;
SET intervalstyle = iso_8601;
SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Kolkata';
SET timezone_abbreviations = 'Australia';
INSERT INTO shop.item SELECT 2, raw, name, price, took, at FROM shop.item;
SELECT handfeed.commit('shop', '2026-01-03'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SET walhouse.load_path = sql;
INSERT INTO shop.item SELECT 3, raw, name, price, took, at FROM shop.item WHERE id = 1;
SELECT handfeed.commit('shop', '2026-01-04'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT model, found, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
RESET ALL;
SELECT relation, state, error FROM walhouse.model ORDER BY model_id;
SELECT model, found, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
SELECT raw, quoted, words, price, took, at, there, count(*) FROM pinned.item WHERE id IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2;

\set ECHO none
\set QUIET on
SET client_min_messages = error;
\o /dev/null
SELECT walhouse.drop_model('pinned.fact'), walhouse.drop_model('pinned.item');
SELECT handfeed.remove('shop');
\o
DROP SCHEMA pinned, handfeed CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
