-- What a model stands on: columns, views, partitions, keys, owners, names. What others do to it is refused with a hint, or followed; let
-- through all the same, it stops that one model and those that need it, with a clear error, and the others go on.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set ECHO none
\i :handfeed
\set ECHO all
CREATE ROLE walhouse_test_new;
CREATE FUNCTION public.loud(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper(t)';
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.person (id int PRIMARY KEY, name text, city text);
CREATE TABLE shop.sale (id int PRIMARY KEY, person int, at timestamptz, amount int);
CREATE TABLE shop.thing (id int PRIMARY KEY, name text);
SELECT handfeed.add('shop', ('shop.' || t)::regclass) FROM unnest('{person,sale,thing}'::text[]) t \g /dev/null
INSERT INTO shop.person SELECT i, 'p' || i, 'c' FROM generate_series(1, 5) i;
INSERT INTO shop.sale SELECT i, 1 + i % 5, timestamptz '2026-01-01' + i * interval '10 days', i FROM generate_series(1, 9) i;
INSERT INTO shop.thing SELECT i, 't' || i FROM generate_series(1, 5) i;
SELECT handfeed.commit('shop', '2026-01-01'), handfeed.reach('shop') \g /dev/null
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name, city FROM shop.person', '{id}') \g /dev/null
SELECT walhouse.create_dimension('dw.thing', 'SELECT id, public.loud(name) AS name FROM shop.thing', '{id}') \g /dev/null
SELECT walhouse.create_fact('dw.sale', 'SELECT id, person, at, amount FROM shop.sale', '{id}', 'at', '{"person_sk": "dw.person(person)"}') \g /dev/null
SELECT walhouse.create_fact('dw.joined', 'SELECT s.id, s.at, p.city FROM shop.sale s LEFT JOIN shop.person p ON p.id = s.person', '{id}', 'at') \g /dev/null
SELECT format('CALL walhouse.build(%L)', relation) FROM walhouse.model ORDER BY model_id \gexec
-- A change of every table, and what the models make of it: their states, whether they moved, and what verify() finds.
CREATE SEQUENCE dw.round;
CREATE PROCEDURE dw.work() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('dw.round');
    UPDATE shop.person SET name = 'round ' || lastval() WHERE id <= 2;
    UPDATE shop.sale SET amount = amount + 1 WHERE id <= 3;
    UPDATE shop.thing SET name = 'round ' || lastval() WHERE id = 1;
    PERFORM handfeed.commit('shop', timestamptz '2026-02-01' + lastval() * interval '1 hour');
    PERFORM handfeed.reach('shop');
END $$;
CREATE FUNCTION dw.models() RETURNS TABLE (model text, state text, moved boolean, wrong bigint, error text) LANGUAGE sql SET client_min_messages = error AS $$
    SELECT CASE WHEN m.relation::text ~ '^\d+$' THEN '(dropped)' ELSE m.relation::text END, m.state,
        (SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = m.model_id ORDER BY l.load_id DESC LIMIT 1) = (SELECT max(position) FROM walhouse.feed_position),
        v.missing + v.unexpected + v.different, regexp_replace(m.error, '\d\d\d+|(?<=of model )\d+|\d+(?=\)\.\)$)', 'N', 'g')
    FROM walhouse.model m LEFT JOIN walhouse.verify() v ON v.model = m.relation ORDER BY m.model_id $$;
\set QUIET off
\set VERBOSITY default

-- Refused, with a hint
ALTER TABLE dw.person DROP COLUMN city;
ALTER TABLE dw.person RENAME COLUMN city TO town;
ALTER TABLE dw.person ALTER city TYPE varchar(10);
ALTER TABLE dw.person DROP CONSTRAINT person_pkey CASCADE;
ALTER TABLE dw.person SET UNLOGGED;
ALTER TABLE dw.sale DETACH PARTITION dw.sale_p2026_01;
DROP TABLE dw.sale_p2026_01;
ALTER TABLE dw.sale_p2026_01 DROP COLUMN amount;
SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_index WHERE indrelid = 'dw.thing'::regclass AND NOT indisprimary AND indisunique \gexec
CREATE OR REPLACE VIEW dw.person_query AS SELECT id, name, 'x'::text AS city FROM shop.person;
ALTER VIEW dw.person_query RENAME COLUMN city TO town;
DROP VIEW dw.person_query;
DROP TABLE dw.thing;
DROP TABLE dw.person;
ALTER TABLE shop.person RENAME COLUMN city TO town;
ALTER TABLE shop.person DROP COLUMN city;
ALTER TABLE shop.person ALTER city TYPE varchar(10);
ALTER TABLE shop.person ADD COLUMN mine int;
ALTER TABLE shop.person DROP CONSTRAINT person_pkey;
ALTER TABLE shop.person OWNER TO walhouse_test_new;
DROP TABLE shop.thing;
ALTER TABLE shop_log.person DROP COLUMN city;
ALTER TABLE shop_log.txn RENAME TO other;
ALTER SCHEMA shop_log RENAME TO other;
DROP FUNCTION public.loud(text);
-- by those who may not do it anyway, too
SET ROLE walhouse_test_new;
ALTER TABLE dw.person DROP COLUMN city;
RESET ROLE;
-- and PostgreSQL itself refuses some where walhouse lets it through
SET walhouse.allow_writes = on;
DROP TABLE dw.person;
ALTER TABLE shop.person DROP COLUMN city;
ALTER TABLE shop.person ALTER city TYPE varchar(10);
RESET walhouse.allow_writes;
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();

-- Followed
ALTER TABLE dw.person ADD COLUMN mine text DEFAULT 'my own', ADD CONSTRAINT of_mine CHECK (name <> '');
CREATE INDEX mine ON dw.sale (amount);
DROP INDEX dw.mine;
ALTER TABLE dw.person DROP CONSTRAINT of_mine;
ALTER TABLE dw.sale ALTER amount SET STATISTICS 500;
ALTER TABLE dw.person SET (fillfactor = 70);
CREATE TABLE dw.sale_later PARTITION OF dw.sale FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
ALTER TABLE dw.thing RENAME TO stuff;
ALTER VIEW dw.thing_query RENAME TO stuff_query;
ALTER TABLE dw.joined SET SCHEMA public;
ALTER SCHEMA shop RENAME TO mirrors;
ALTER SCHEMA mirrors RENAME TO shop;
ALTER FUNCTION public.loud(text) RENAME TO louder;
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
SELECT k.id, k.name, k.mine FROM walhouse.as_known(NULL::dw.person, at => now() + interval '1 hour') k WHERE k.id = 1 AND k.is_current;
ALTER TABLE dw.stuff RENAME TO thing;
ALTER TABLE public.joined SET SCHEMA dw;
-- another owner, who lacks a right, and gets it
ALTER TABLE dw.person OWNER TO walhouse_test_new;
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
GRANT USAGE ON SCHEMA shop, shop_log, dw TO walhouse_test_new;
GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO walhouse_test_new;
SELECT walhouse.resume('dw.person') \g /dev/null
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
ALTER TABLE dw.person OWNER TO CURRENT_USER;

-- Let through all the same: each stops its model alone, and what is altered back goes on.
CREATE PROCEDURE dw.let(statement text) LANGUAGE plpgsql SET walhouse.allow_writes = on AS $$ BEGIN EXECUTE statement; END $$;
CALL dw.let('ALTER TABLE dw.person RENAME COLUMN city TO town');
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
CALL dw.let('ALTER TABLE dw.person RENAME COLUMN town TO city');
SELECT walhouse.resume('dw.person') \g /dev/null
CALL dw.let('ALTER TABLE dw.thing DROP COLUMN load_id');
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
CALL dw.let('ALTER TABLE dw.thing ADD COLUMN load_id bigint');
SELECT walhouse.resume('dw.thing') \g /dev/null
ALTER TABLE dw.thing ADD CONSTRAINT never CHECK (name <> 'ROUND 7');
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
ALTER TABLE dw.thing DROP CONSTRAINT never;
SELECT walhouse.resume('dw.thing') \g /dev/null
-- a partition that is gone: the rows are missing, and verify() says how many; a build brings them back
CALL dw.let('ALTER TABLE dw.sale DETACH PARTITION dw.sale_p2026_02');
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
DROP TABLE dw.sale_p2026_02;
CALL walhouse.build('dw.sale');
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
-- a query that was replaced by another one: the rows of before are not what it says, and verify() sees it
CALL dw.let('CREATE OR REPLACE VIEW dw.person_query AS SELECT id, name, city || ''?'' AS city FROM shop.person');
CALL dw.work(); CALL walhouse.load('shop');
SELECT model, state, moved, wrong > 0 AS wrong, error FROM dw.models();
CALL walhouse.build('dw.person');
CALL walhouse.build('dw.sale');
SELECT * FROM dw.models();
-- the column of a log
CALL dw.let('ALTER TABLE shop_log.thing RENAME COLUMN name TO title');
UPDATE shop.thing SET name = 'renamed' WHERE id = 2;
SELECT handfeed.commit('shop', '2026-03-01'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.models();
CALL dw.let('ALTER TABLE shop_log.thing RENAME COLUMN title TO name');
SELECT walhouse.resume('dw.thing') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.models();
-- CASCADE: a function, a dimension, a mirror
-- (after a load that has seen them as they were)
CALL dw.work(); CALL walhouse.load('shop');
DROP FUNCTION public.louder(text) CASCADE;
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
SELECT walhouse.drop_model('dw.thing') \g /dev/null
DROP TABLE dw.person CASCADE;
CALL dw.work(); CALL walhouse.load('shop');
SELECT * FROM dw.models();
SELECT walhouse.create_dimension('dw.thing', 'SELECT id, name FROM shop.thing', '{id}') \g /dev/null
CALL walhouse.build('dw.thing');
DROP TABLE shop.sale CASCADE;
UPDATE shop.thing SET name = 'last';
SELECT handfeed.commit('shop', '2026-04-01'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.models();
-- Everything of a broken star can be dropped.
SELECT walhouse.drop_model(relation) FROM walhouse.model ORDER BY model_id DESC \g /dev/null
SELECT count(*) FROM walhouse.model;

\set QUIET on
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
DROP ROLE walhouse_test_new;
