-- Declaring a model: what a query may be, what is refused and how it is said; names, keys, rights; views that change.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.item (id int, region text, name text, price numeric(10,2), at timestamptz, day date, tags text[], PRIMARY KEY (region, id));
SELECT handfeed.add('shop', 'shop.item') \g /dev/null
CREATE SCHEMA dw;
CREATE TABLE dw.plain (id int);
CREATE FUNCTION dw.roll() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION dw.twice(n numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE DOMAIN dw.positive AS numeric CHECK (VALUE > 0);
CREATE COLLATION dw.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
\set QUIET off
\set VERBOSITY default

-- Shapes
CREATE FUNCTION pg_temp.try(query text, key text[] DEFAULT '{region,id}') RETURNS regclass LANGUAGE sql AS
    $$ SELECT walhouse.create_dimension('dw.try', query, key) $$;
SELECT pg_temp.try('SELEC id FROM shop.item');
SELECT pg_temp.try('SELECT 1; SELECT 2');
SELECT pg_temp.try('DELETE FROM shop.item');
SELECT pg_temp.try('WITH a AS (SELECT 1) SELECT id, region FROM shop.item');
SELECT pg_temp.try('SELECT id, region FROM shop.item UNION SELECT id, region FROM shop.item');
SELECT pg_temp.try('VALUES (1, 2)');
SELECT pg_temp.try('SELECT id, region INTO x FROM shop.item');
SELECT pg_temp.try('SELECT DISTINCT id, region FROM shop.item');
SELECT pg_temp.try('SELECT region, count(*) FROM shop.item GROUP BY region');
SELECT pg_temp.try('SELECT 1 AS one FROM shop.item HAVING count(*) > 1');
SELECT pg_temp.try('SELECT id, region FROM shop.item ORDER BY id');
SELECT pg_temp.try('SELECT id, region FROM shop.item LIMIT 3');
SELECT pg_temp.try('SELECT id, region FROM shop.item FOR UPDATE');
SELECT pg_temp.try('SELECT a.id, a.region FROM shop.item a, shop.item b');
SELECT pg_temp.try('SELECT id, region FROM shop.item a RIGHT JOIN shop.item b USING (region, id)');
SELECT pg_temp.try('SELECT id, region FROM shop.item a FULL JOIN shop.item b USING (region, id)');
SELECT pg_temp.try('SELECT id, region FROM (SELECT * FROM shop.item) s');
SELECT pg_temp.try('SELECT id, region FROM shop.item TABLESAMPLE system (1)');
SELECT pg_temp.try('SELECT g FROM generate_series(1, 2) g');
SELECT pg_temp.try('SELECT 1 AS one');
SELECT pg_temp.try('SELECT id FROM dw.plain', '{id}');
SELECT pg_temp.try('SELECT id FROM dw.nothing', '{id}');

-- Expressions
SELECT pg_temp.try('SELECT max(id) AS id, max(region) AS region FROM shop.item');
SELECT pg_temp.try('SELECT id, region, rank() OVER () AS r FROM shop.item');
SELECT pg_temp.try('SELECT id, region, (SELECT 1) AS sub FROM shop.item');
SELECT pg_temp.try('SELECT id, region FROM shop.item WHERE EXISTS (SELECT FROM dw.plain)');
SELECT pg_temp.try('SELECT id, region, unnest(tags) AS tag FROM shop.item');
SELECT pg_temp.try('SELECT id, region, dw.roll() AS r FROM shop.item');
SELECT pg_temp.try('SELECT id, region, random() AS r FROM shop.item');
SELECT pg_temp.try('SELECT id, region, now() - at AS age FROM shop.item');
SELECT pg_temp.try('SELECT id, region FROM shop.item WHERE day < current_date');
SELECT pg_temp.try('SELECT id, region, name::date AS d FROM shop.item');
SELECT pg_temp.try('SELECT id, region, xmin FROM shop.item');
SELECT pg_temp.try('SELECT id, region, item AS whole FROM shop.item');
SELECT pg_temp.try('SELECT id, region, $1 AS p FROM shop.item');

-- Columns
SELECT pg_temp.try('SELECT id, region, price * 2 FROM shop.item');
SELECT pg_temp.try('SELECT id, region, name, lower(name) AS name FROM shop.item');
SELECT pg_temp.try('SELECT id, region, at AS valid_from FROM shop.item');
SELECT pg_temp.try('SELECT id, region, at AS wh_at FROM shop.item');
SELECT pg_temp.try('SELECT id, region, id AS try_sk FROM shop.item');
SELECT pg_temp.try('SELECT id, region, ROW(id, name) AS pair FROM shop.item');
SELECT pg_temp.try('SELECT id, region, price::dw.positive AS price FROM shop.item');
SELECT pg_temp.try('SELECT FROM shop.item');

-- Keys
SELECT pg_temp.try('SELECT id, region FROM shop.item', '{}');
SELECT pg_temp.try('SELECT id, region FROM shop.item', '{id,nix}');
SELECT pg_temp.try('SELECT id, region FROM shop.item', '{id,id}');
SELECT pg_temp.try('SELECT id, region FROM shop.item', '{id,NULL}');
SELECT pg_temp.try('SELECT id, name FROM shop.item', '{id}');
SELECT pg_temp.try('SELECT id, region, name FROM shop.item', '{id,region,name}');
SELECT pg_temp.try('SELECT id + 0 AS id, region FROM shop.item', '{id,region}');
SELECT pg_temp.try('SELECT id, region, ''{}''::json AS j FROM shop.item', '{id,region,j}');
SELECT pg_temp.try('SELECT id, region COLLATE dw.blind AS region FROM shop.item', '{id,region}');

-- Names
SELECT walhouse.create_dimension('nowhere.x', 'SELECT id, region FROM shop.item', '{region,id}');
SELECT walhouse.create_dimension('dw.plain', 'SELECT id, region FROM shop.item', '{region,id}');
SELECT walhouse.create_dimension('a.b.c', 'SELECT id, region FROM shop.item', '{region,id}');
SELECT walhouse.create_dimension(NULL, 'SELECT id, region FROM shop.item', '{region,id}');

-- Types of columns, deletes
SELECT walhouse.create_dimension('dw.try', 'SELECT id, region, name FROM shop.item', '{region,id}', scd => '[2]');
SELECT walhouse.create_dimension('dw.try', 'SELECT id, region, name FROM shop.item', '{region,id}', scd => '{"nix": 2}');
SELECT walhouse.create_dimension('dw.try', 'SELECT id, region, name FROM shop.item', '{region,id}', scd => '{"id": 1}');
SELECT walhouse.create_dimension('dw.try', 'SELECT id, region, name FROM shop.item', '{region,id}', scd => '{"name": 5}');
SELECT walhouse.create_dimension('dw.try', 'SELECT id, region, name FROM shop.item', '{region,id}', scd => '{"name": "two"}');
SELECT walhouse.create_dimension('dw.try', 'SELECT id, region, name FROM shop.item', '{region,id}', on_delete => 'forget');

-- Rights: all that is missing, at once
CREATE ROLE walhouse_test_owner;
GRANT USAGE ON SCHEMA shop TO walhouse_test_owner;
SET ROLE walhouse_test_owner;
SELECT walhouse.create_dimension('dw.try', 'SELECT id, region, name FROM shop.item', '{region,id}');
RESET ROLE;
GRANT USAGE ON SCHEMA shop, shop_log TO walhouse_test_owner;
GRANT USAGE, CREATE ON SCHEMA dw TO walhouse_test_owner;
GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO walhouse_test_owner;
SET ROLE walhouse_test_owner;

-- A good one, whose names are difficult and whose functions are all allowed
SET search_path = shop, dw, public;
SELECT walhouse.create_dimension('dw."Odd one"', $$
    SELECT i.id, i.region, name AS "select", price * 2 + twice(price) AS "Price ""2""", to_char(at, 'YYYY-MM') AS month,
           at::date AS day, date_trunc('month', at) AS m, 'x' AS constant, name COLLATE "C" AS sorted,
           concat(name, '-', id) AS label, jsonb_build_object('p', price) AS j, id::text || region AS both, price
    FROM item AS i WHERE name <> 'none'; $$, '{id,region}', scd => '{"label": 1}');
RESET search_path;
\d dw."Odd one"
SELECT relation, kind, key, options, state FROM walhouse.model;
SELECT obj_description('dw."Odd one"'::regclass), obj_description('dw."Odd one_query"'::regclass);
RESET ROLE;

-- Not built yet; dropped by its owner alone
SELECT * FROM walhouse.verify('dw."Odd one"');
SELECT * FROM walhouse.verify('dw.plain');
SELECT * FROM walhouse.verify();
CREATE ROLE walhouse_test_other;
SET ROLE walhouse_test_other;
SELECT walhouse.drop_model(relation) FROM walhouse.model;
RESET ROLE;
SET ROLE walhouse_test_owner;
SELECT walhouse.drop_model('dw."Odd one"');
RESET ROLE;
SELECT count(*) FROM walhouse.model;
SELECT relname FROM pg_class WHERE relnamespace = 'dw'::regnamespace ORDER BY 1;

-- A view that was replaced, a table that was dropped: the model stops, the feed goes on
SELECT walhouse.create_dimension('dw.a', 'SELECT id, region, name FROM shop.item', '{region,id}');
SELECT walhouse.create_dimension('dw.b', 'SELECT id, region, name FROM shop.item', '{region,id}');
SELECT walhouse.create_dimension('dw.c', 'SELECT id, region, name FROM shop.item', '{region,id}');
CALL walhouse.build('dw.a');
CALL walhouse.build('dw.b');
CALL walhouse.build('dw.c');
SET walhouse.allow_writes = on;
CREATE OR REPLACE VIEW dw.a_query AS SELECT 1 AS id, 'x'::text AS region, 'y'::text AS name;
DROP TABLE dw.b;
RESET walhouse.allow_writes;
INSERT INTO shop.item (id, region) VALUES (1, 'n');
SELECT handfeed.commit('shop', '2026-01-01') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT query, state, regexp_replace(error, '\d+', 'N') AS error FROM walhouse.model ORDER BY model_id;
SELECT id, region FROM dw.c WHERE c_sk > 0;
-- A column of the mirror that is renamed is followed.
SET walhouse.allow_writes = on;
ALTER TABLE shop.item RENAME name TO title;
RESET walhouse.allow_writes;
UPDATE walhouse.feed_column SET mirror_column = 'title' WHERE mirror_column = 'name';
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.c');

SELECT walhouse.drop_model(relation) FROM walhouse.model;
SELECT walhouse.drop_model('dw.plain');
\set QUIET on
DELETE FROM walhouse.feed_column; DELETE FROM walhouse.feed_table; DELETE FROM walhouse.feed_position; DELETE FROM walhouse.load; DELETE FROM walhouse.feed;
DROP SCHEMA shop, shop_log, dw, handfeed CASCADE;
DROP ROLE walhouse_test_owner, walhouse_test_other;
