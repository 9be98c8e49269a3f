-- Writes by others to the tables of models are refused, and walhouse.allow_writes lets them through.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.item (id int PRIMARY KEY, name text, sold date);
SELECT handfeed.add('shop', 'shop.item') \g /dev/null
INSERT INTO shop.item VALUES (1, 'a', '2026-01-01');
SELECT handfeed.commit('shop', '2026-01-01'), handfeed.reach('shop') \g /dev/null
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.item', 'SELECT id, name FROM shop.item', '{id}') \g /dev/null
SELECT walhouse.create_fact('dw.sale', 'SELECT id, sold FROM shop.item', '{id}', 'sold', '{"item_sk": "dw.item(id)"}', 'year') \g /dev/null
SELECT walhouse.create_date_dimension('dw.day', '2026-01-01', '2026-01-02') \g /dev/null
CALL walhouse.build('dw.item');
CALL walhouse.build('dw.sale');
\set QUIET off

-- Each kind of statement, each kind of model, a partition, through a view, in WITH, and prepared.
INSERT INTO dw.item (id, valid_from, valid_to, is_current, is_inferred, load_id) VALUES (2, '-infinity', 'infinity', true, false, 0);
UPDATE dw.item SET name = 'b';
DELETE FROM dw.item;
TRUNCATE dw.item;
MERGE INTO dw.item d USING shop.item i ON d.id = i.id WHEN MATCHED THEN UPDATE SET name = 'b';
UPDATE dw.sale SET item_sk = -1;
UPDATE dw.sale_p2026 SET item_sk = -1;
TRUNCATE dw.sale_p2026;
DELETE FROM dw.day;
CREATE VIEW dw.names AS SELECT id, name FROM dw.item;
UPDATE dw.names SET name = 'b';
WITH d AS (DELETE FROM dw.item RETURNING 1) SELECT count(*) FROM d;
PREPARE change AS UPDATE dw.item SET name = 'b';
EXECUTE change;
COPY dw.item FROM STDIN;
\.
COPY dw.sale_p2026 FROM STDIN;
\.
-- What does not write is not refused: row locks, as foreign keys take them, EXPLAIN, and other tables.
SELECT name FROM dw.item WHERE id = 1 FOR UPDATE;
CREATE TABLE dw.remark (item_sk bigint REFERENCES dw.item, remark text);
INSERT INTO dw.remark SELECT item_sk, 'sold' FROM dw.sale;
EXPLAIN (COSTS OFF) DELETE FROM dw.day;
-- walhouse itself goes on.
UPDATE shop.item SET name = 'c';
SELECT handfeed.commit('shop', '2026-01-02'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT name, is_current FROM dw.item WHERE id = 1 ORDER BY valid_from;
SHOW walhouse.allow_writes;
-- A session that restores a dump, and one that says so, may write.
BEGIN;
SET LOCAL check_function_bodies = off;
UPDATE dw.item SET name = 'd' WHERE id = 1;
ROLLBACK;
BEGIN;
SET LOCAL walhouse.allow_writes = on;
UPDATE dw.item SET name = 'd' WHERE id = 1;
TRUNCATE dw.sale;
ROLLBACK;
-- A table that becomes a partition of a fact is one of its tables from then on.
CREATE TABLE dw.late (LIKE dw.sale);
INSERT INTO dw.late SELECT 7, '2030-01-01', -1, 0;
ALTER TABLE dw.sale ATTACH PARTITION dw.late FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
DELETE FROM dw.late;
SET walhouse.allow_writes = on;
ALTER TABLE dw.sale DETACH PARTITION dw.late;
RESET walhouse.allow_writes;
DELETE FROM dw.late;
-- The trigger that stands in where walhouse is not preloaded.
CREATE TABLE dw.guarded (id int);
CREATE TRIGGER walhouse_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON dw.guarded
    FOR EACH STATEMENT EXECUTE FUNCTION walhouse.refuse_writes();
INSERT INTO dw.guarded VALUES (1);
TRUNCATE dw.guarded;
SET walhouse.allow_writes = on;
INSERT INTO dw.guarded VALUES (1);
RESET walhouse.allow_writes;

\set QUIET on
DROP TABLE dw.remark, dw.late;
DROP VIEW dw.names;
SELECT walhouse.drop_model('dw.sale'), walhouse.drop_model('dw.item'), walhouse.drop_model('dw.day') \g /dev/null
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
