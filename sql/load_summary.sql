-- Loads as runs: what each did to the source's rows and to versions, in a budget of bytes, and added up by the hour when they are old.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.person (id int PRIMARY KEY, city text, note text);
SELECT handfeed.add('shop', 'shop.person') \g /dev/null
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.person', 'SELECT id, city, note FROM shop.person', '{id}', '{"*": 2, "note": 1}') \g /dev/null
SELECT walhouse.create_dimension('dw.quiet', 'SELECT id, city FROM shop.person', '{id}', '{"*": 1}') \g /dev/null
CALL walhouse.build('dw.person');
CALL walhouse.build('dw.quiet');
CREATE VIEW dw.last AS SELECT m.inserted, m.updated, m.deleted, m.opened, m.closed, l.transactions, l.inserts, l.updates, l.deletes, l.truncates
    FROM walhouse.load_model m JOIN walhouse.load l USING (load_id) WHERE m.model_id = (SELECT model_id FROM walhouse.model WHERE relation = 'dw.person'::regclass)
    ORDER BY load_id DESC LIMIT 1;
\set QUIET off
-- Three versions begin.
INSERT INTO shop.person SELECT i, 'city', '' FROM generate_series(1, 3) i;
SELECT handfeed.commit('shop', '2026-01-01 12:00+00') \g /dev/null
SELECT handfeed.reach('shop'); CALL walhouse.load('shop');
TABLE dw.last;
-- One ends and another begins; one ends; one begins and ends within the load; a note is written over.
UPDATE shop.person SET city = 'other' WHERE id = 1;
DELETE FROM shop.person WHERE id = 2;
INSERT INTO shop.person VALUES (4, 'city', '');
UPDATE shop.person SET note = 'new' WHERE id = 3;
SELECT handfeed.commit('shop', '2026-01-02 12:00+00') \g /dev/null
UPDATE shop.person SET city = 'third' WHERE id = 4;
SELECT handfeed.commit('shop', '2026-01-03 12:00+00') \g /dev/null
SELECT handfeed.reach('shop'); CALL walhouse.load('shop');
TABLE dw.last;

-- The same by statements.
SET walhouse.load_path = sql;
UPDATE shop.person SET city = 'back' WHERE id = 1;
DELETE FROM shop.person WHERE id = 3;
INSERT INTO shop.person VALUES (2, 'city', '');
SELECT handfeed.commit('shop', '2026-01-04 12:00+00') \g /dev/null
UPDATE shop.person SET city = 'third' WHERE id = 2;
SELECT handfeed.commit('shop', '2026-01-05 12:00+00') \g /dev/null
SELECT handfeed.reach('shop'); CALL walhouse.load('shop');
TABLE dw.last;
RESET walhouse.load_path;

-- A load takes no more than its budget: 250 bytes, and 250 for each model, with the indexes.
CREATE PROCEDURE dw.many(n int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n LOOP
        UPDATE shop.person SET note = i::text WHERE id = 1;
        PERFORM handfeed.commit('shop', timestamptz '2026-02-01' + i * interval '1 s');
    END LOOP;
END $$;
CALL dw.many(600);
CREATE FUNCTION dw.size() RETURNS bigint LANGUAGE sql AS
    $$ SELECT pg_total_relation_size('walhouse.load') + pg_total_relation_size('walhouse.load_model') $$;
-- What other tests have removed leaves no room.
VACUUM FULL walhouse.load;
VACUUM FULL walhouse.load_model;
CREATE TABLE dw.before AS SELECT dw.size() AS bytes, (SELECT max(load_id) FROM walhouse.load) AS load_id;
\o /dev/null
\set ECHO none
\set QUIET on
SELECT format('SELECT handfeed.reach(''shop'', %L)', end_lsn), 'CALL walhouse.load(''shop'')' FROM shop_log.txn WHERE commit_time > '2026-02-01' ORDER BY end_lsn \gexec
\o
\set QUIET off
\set ECHO all
SELECT count(*) AS loads, count(*) FILTER (WHERE models = 2) AS with_two_models FROM (SELECT l.load_id, count(*) AS models FROM walhouse.load l
    JOIN walhouse.load_model m USING (load_id), dw.before b WHERE l.load_id > b.load_id GROUP BY 1) x;
\set ECHO none
SELECT (dw.size() - bytes) / 600 AS bytes_per_load FROM dw.before \gset
\set ECHO all
SELECT :bytes_per_load <= 250 + 2 * 250 AS within_budget, :bytes_per_load > 200 AS is_measured \gset
SELECT :'within_budget' AS within_budget, :'is_measured' AS is_measured;

-- The sums by the hour are those of the loads; the last load of each model stays, and so do its rows.
CREATE TABLE dw.loads AS SELECT * FROM walhouse.load WHERE feed_id = (SELECT feed_id FROM walhouse.feed WHERE name = 'shop');
CREATE TABLE dw.parts AS SELECT m.* FROM walhouse.load_model m JOIN dw.loads USING (load_id);
SELECT walhouse.summarize_loads('shop', '-infinity') AS none;
SELECT walhouse.summarize_loads('shop', 'infinity') = count(*) - 1 AS all_but_the_last FROM dw.loads;
SELECT count(*) AS loads, sum(n) AS rows FROM (SELECT load_id, count(*) AS n FROM walhouse.load JOIN walhouse.load_model USING (load_id) JOIN dw.loads USING (load_id) GROUP BY 1) x;
CREATE FUNCTION dw.differences() RETURNS TABLE (what text, n bigint) LANGUAGE sql AS $$
    WITH gone AS (SELECT * FROM dw.loads o WHERE NOT EXISTS (SELECT FROM walhouse.load l WHERE l.load_id = o.load_id)),
    gone_part AS (SELECT p.* FROM dw.parts p WHERE NOT EXISTS (SELECT FROM walhouse.load_model l WHERE (l.load_id, l.model_id) = (p.load_id, p.model_id))),
    s AS (SELECT s.* FROM walhouse.load_summary s WHERE feed_id = (SELECT feed_id FROM walhouse.feed WHERE name = 'shop'))
    SELECT 'loads', count(*) FROM ((SELECT sum(loads), sum(builds), sum(errors), sum(transactions), sum(inserts), sum(updates), sum(deletes), sum(truncates), min(from_lsn), max(to_lsn),
            min(from_time), max(to_time), min(from_load), max(to_load), round(sum(duration_ms)::numeric, 3), max(max_duration_ms) FROM s WHERE model_id = 0)
        EXCEPT (SELECT count(*), count(*) FILTER (WHERE kind = 'build'), count(error), sum(transactions), sum(inserts), sum(updates), sum(deletes), sum(truncates), min(from_lsn),
            max(to_lsn), min(from_time), max(to_time), min(load_id), max(load_id), round(sum(duration_ms)::numeric, 3), max(duration_ms) FROM gone)) x
    UNION ALL SELECT 'models', count(*) FROM ((SELECT model_id, sum(loads), sum(inserted), sum(updated), sum(deleted), sum(inferred), sum(rejected), sum(opened), sum(closed), min(from_lsn),
            max(to_lsn), min(from_load), max(to_load) FROM s WHERE model_id > 0 GROUP BY 1)
        EXCEPT (SELECT model_id, count(*), sum(inserted), sum(updated), sum(deleted), sum(inferred), sum(rejected), sum(opened), sum(closed), min(from_lsn), max(to_lsn), min(load_id),
            max(load_id) FROM gone_part GROUP BY 1)) x $$;
SELECT * FROM dw.differences();
SELECT model_id > 0 AS of_a_model, sum(loads) AS loads, sum(opened) AS opened, sum(closed) AS closed, sum(inserts) AS inserts FROM walhouse.load_summary
WHERE feed_id = (SELECT feed_id FROM walhouse.feed WHERE name = 'shop') AND (model_id = 0 OR model_id = (SELECT model_id FROM walhouse.model WHERE relation = 'dw.person'::regclass)) GROUP BY 1 ORDER BY 1;
-- The models go on from where they were.
UPDATE shop.person SET city = 'fourth' WHERE id = 4;
SELECT handfeed.commit('shop', '2026-03-01 12:00+00') \g /dev/null
SELECT handfeed.reach('shop'); CALL walhouse.load('shop');
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
SELECT walhouse.summarize_loads('shop', 'infinity') AS the_last_is_none_any_more;
SELECT sum(loads) - (SELECT count(*) FROM dw.loads) AS missing FROM walhouse.load_summary WHERE model_id = 0 AND feed_id = (SELECT feed_id FROM walhouse.feed WHERE name = 'shop');
-- Others may not.
CREATE ROLE walhouse_test_other;
SET ROLE walhouse_test_other;
SELECT walhouse.summarize_loads('shop', 'infinity');
RESET ROLE;
DROP ROLE walhouse_test_other;

SET client_min_messages = warning;
DROP VIEW dw.last;
SELECT walhouse.drop_model('dw.person'), walhouse.drop_model('dw.quiet') \g /dev/null
SELECT count(*) AS summaries_of_models FROM walhouse.load_summary WHERE feed_id = (SELECT feed_id FROM walhouse.feed WHERE name = 'shop') AND model_id > 0;
DELETE FROM walhouse.load_summary WHERE feed_id = (SELECT feed_id FROM walhouse.feed WHERE name = 'shop');
SELECT handfeed.remove('shop');
DROP SCHEMA handfeed, dw CASCADE;
