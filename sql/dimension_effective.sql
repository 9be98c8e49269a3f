-- Dimensions whose versions hold since an effective column: what arrives late splits history where it belongs, merges equal
-- neighbours, and takes facts with it.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'Europe/Berlin') \g /dev/null
CREATE TABLE shop.item (id numeric PRIMARY KEY, name text, price numeric, shelf text, label text, maker text, since timestamptz, day date, local timestamp);
CREATE TABLE shop.maker (maker text PRIMARY KEY, title text);
CREATE TABLE shop.sale (sale_id int PRIMARY KEY, item_id numeric, at timestamptz, amount int);
SELECT handfeed.add('shop', 'shop.item'), handfeed.add('shop', 'shop.maker'), handfeed.add('shop', 'shop.sale') \g /dev/null
CREATE SCHEMA dw;
-- What one source transaction does, when it commits; and the versions of a dimension, without what is written by the clock on the wall.
CREATE FUNCTION dw.at(t timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT handfeed.commit('shop', t); SELECT handfeed.reach('shop') $$;
CREATE FUNCTION dw.item(numeric, numeric, timestamptz, committed timestamptz, text DEFAULT 'n') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shop.item (id, name, price, since) VALUES ($1, $5, $2, $3)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, price = excluded.price, since = excluded.since;
    PERFORM dw.at($4);
END $$;
CREATE FUNCTION dw.delete(numeric, committed timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM shop.item WHERE shop.item.id = $1;
    PERFORM dw.at($2);
END $$;
INSERT INTO shop.item (id, name, price, since) VALUES (1, 'a', 10, '2026-01-01'), (2, 'b', 20, NULL), (3, 'c', 30, '-infinity'), (4, 'd', 40, '2027-01-01');
SELECT dw.at('2025-12-31') \g /dev/null
UPDATE walhouse.feed SET horizon = '0/1100';
UPDATE walhouse.feed_table SET sync_lsn = '0/1100';
DELETE FROM shop_log.item;
DELETE FROM shop_log.txn;
\set QUIET off

-- What cannot be an effective column.
\set VERBOSITY default
SELECT walhouse.create_dimension('dw.x', 'SELECT id, price FROM shop.item', '{id}', effective => 'since');
SELECT walhouse.create_dimension('dw.x', 'SELECT id, price FROM shop.item', '{id}', effective => 'price');
SELECT walhouse.create_dimension('dw.x', 'SELECT id, price FROM shop.item', '{id}', effective => 'id');
SELECT walhouse.create_dimension('dw.x', 'SELECT id, since FROM shop.item', '{id}', '{"since": 1}', effective => 'since');
SELECT walhouse.create_dimension('dw.x', 'SELECT id, since FROM shop.item', '{id}', effective => NULL);

-- Rows that history begins with: without a time they hold since ever; the first version of a key does in any case.
SELECT walhouse.create_dimension('dw.item', 'SELECT id, name, price, since FROM shop.item', '{id}', '{"name": 1}', effective => 'since') \g /dev/null
CREATE VIEW dw.versions AS SELECT id, name, price, since, valid_from, valid_to, is_current AS cur FROM dw.item WHERE item_sk > 0 AND NOT is_inferred;
CREATE VIEW dw.right AS SELECT missing, unexpected, different, expected = found AS same FROM walhouse.verify('dw.item');
CALL walhouse.build('dw.item');
TABLE dw.versions ORDER BY id, valid_from;
SELECT id, wh_effective, wh_live FROM dw.item_events ORDER BY 1, 2;

-- In order of time: as by commit time, but at the times that the source gives. What has no time has that of its commit.
SELECT dw.item(1, 11, '2026-03-01', '2026-03-02', 'a') \g /dev/null
SELECT dw.item(1, 12, '2026-05-01', '2026-04-01', 'a') \g /dev/null
SELECT dw.item(2, 21, NULL, '2026-04-02', 'b') \g /dev/null
SELECT dw.item(3, 31, 'infinity', '2026-04-03', 'c') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.versions ORDER BY id, valid_from;

-- Late: between two versions, where the one before ends earlier; before the first, which is the first then; at the exact boundary, where
-- it takes the place of what was there. A version that begins where it did keeps its surrogate key.
SELECT item_sk, valid_from INTO dw.before FROM dw.item WHERE id = 1;
SELECT dw.item(1, 15, '2026-04-01', '2026-05-02', 'a') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.versions ORDER BY id, valid_from LIMIT 4;
SELECT dw.item(1, 5, '2025-06-01', '2026-05-03', 'a') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.versions ORDER BY id, valid_from LIMIT 5;
SELECT dw.item(1, 16, '2026-04-01', '2026-05-04', 'a') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.versions ORDER BY id, valid_from LIMIT 5;
SELECT d.valid_from, d.item_sk = b.item_sk AS kept FROM dw.item d LEFT JOIN dw.before b USING (valid_from) WHERE id = 1 ORDER BY 1;
-- Equal to its neighbour: two versions become one, or one is not split.
SELECT dw.item(1, 11, '2026-04-01', '2026-05-05', 'a') \g /dev/null
SELECT dw.item(1, 10, '2026-02-01', '2026-05-06', 'a') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.versions ORDER BY id, valid_from LIMIT 4;
TABLE dw.right;
-- And yet remembered: something else comes before it, and it opens a version after all.
SELECT dw.item(1, 99, '2026-01-15', '2026-05-07', 'a') \g /dev/null
SELECT dw.item(1, 98, '2026-03-15', '2026-05-08', 'a') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.versions ORDER BY id, valid_from LIMIT 8;
TABLE dw.right;

-- A delete closes at the time of its commit, or where the key's last event is if that is later.
SELECT dw.delete(1, '2026-06-01'), dw.delete(4, '2026-06-01') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.versions WHERE NOT cur ORDER BY valid_to DESC, id LIMIT 1;
-- Key 4 had not begun by then: nothing is left of it.
SELECT * FROM dw.versions WHERE id = 4;
-- What is inserted again with an earlier time is no earlier than the delete; what follows it may be anywhere.
SELECT dw.item(1, 50, '2026-04-15', '2026-06-02', 'a') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.versions WHERE id = 1 AND valid_from >= '2026-05-01' ORDER BY valid_from;
SELECT dw.delete(1, '2026-06-10'), dw.item(1, 51, '2026-06-20', '2026-06-11', 'a'), dw.item(1, 52, '2026-06-05', '2026-06-12', 'a'),
    dw.item(1, 53, '2026-06-15', '2026-06-13', 'a') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.versions WHERE id = 1 AND valid_from >= '2026-05-01' ORDER BY valid_from;
-- The same in one source transaction is one event, and two commits of the same time are one instant.
DELETE FROM shop.item WHERE id = 1;
SELECT dw.item(1, 54, '2026-06-16', '2026-06-14', 'a'), dw.item(2, 22, NULL, '2026-06-14', 'b'), dw.item(2, 23, NULL, '2026-06-14', 'b') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.versions WHERE id IN (1, 2) AND valid_to > '2026-06-15' ORDER BY id, valid_from;
-- Type 1 is the value that is last by time, not by arrival; so is the form of the key.
SELECT dw.item(1, 55, '2026-02-15', '2026-06-15', 'late') \g /dev/null
CALL walhouse.load('shop');
SELECT name, count(*) FROM dw.versions WHERE id = 1 GROUP BY 1;
UPDATE shop.item SET id = 1.0, name = 'now', since = '2026-07-01' WHERE id = 1;
SELECT dw.at('2026-06-16') \g /dev/null
CALL walhouse.load('shop');
SELECT id, name, count(*) FROM dw.versions WHERE id = 1 GROUP BY 1, 2;
-- What leaves a row as it was is nothing: it sets no time where there is none, and brings nothing to before a delete.
SELECT dw.item(6, 1, '2026-03-01', '2026-06-17'), dw.delete(6, '2026-06-18'), dw.item(6, 2, '2026-02-01', '2026-06-19') \g /dev/null
CALL walhouse.load('shop');
UPDATE shop.item SET label = 'unused' WHERE id IN (2, 6);
SELECT dw.at('2026-06-20') \g /dev/null
CALL walhouse.load('shop');
SELECT id, price, valid_from, valid_to FROM dw.versions WHERE id = 6 ORDER BY valid_from;
SELECT id, wh_effective, wh_live FROM dw.item_events WHERE id IN (2, 6) ORDER BY 1, 2;
TABLE dw.right;
SELECT count(*) AS overlaps FROM dw.item a JOIN dw.item b ON a.id = b.id AND a.item_sk < b.item_sk AND a.valid_from < b.valid_to AND b.valid_from < a.valid_to;

-- Built again from the same log the rows are the same; and so they are at earlier loads.
CREATE TABLE dw.kept AS SELECT * FROM dw.versions;
CALL walhouse.build('dw.item');
SELECT count(*) AS differences FROM ((TABLE dw.versions EXCEPT ALL TABLE dw.kept) UNION ALL (TABLE dw.kept EXCEPT ALL TABLE dw.versions)) q;
TABLE dw.right;

-- ---- date and timestamp, in the time zone of the feed: midnight in Berlin, in winter and in summer; 02:30 comes twice in October.
SELECT walhouse.create_dimension('dw.by_day', 'SELECT id, price, day FROM shop.item', '{id}', effective => 'day'),
       walhouse.create_dimension('dw.by_local', 'SELECT id, price, local FROM shop.item', '{id}', effective => 'local') \g /dev/null
CALL walhouse.build('dw.by_day');
CALL walhouse.build('dw.by_local');
INSERT INTO shop.item (id, price, day, local) VALUES (10, 1, '2026-01-10', '2026-01-10 00:00');
SELECT dw.at('2026-07-01') \g /dev/null
UPDATE shop.item SET price = 2, day = '2026-07-10', local = '2026-07-10 12:00' WHERE id = 10;
SELECT dw.at('2026-07-02') \g /dev/null
UPDATE shop.item SET price = 3, day = '2026-05-10', local = '2026-10-25 02:30' WHERE id = 10;
SELECT dw.at('2026-07-03') \g /dev/null
UPDATE shop.item SET price = 4, day = 'infinity', local = '294276-12-31' WHERE id = 10;
SELECT dw.at('2026-07-04') \g /dev/null
UPDATE shop.item SET price = 5, day = '5874897-01-01', local = '-infinity' WHERE id = 10;
SELECT dw.at('2026-07-05') \g /dev/null
CALL walhouse.load('shop');
SELECT price, day, valid_from, valid_to FROM dw.by_day WHERE id = 10 ORDER BY valid_from;
SELECT price, local, valid_from, valid_to FROM dw.by_local WHERE id = 10 ORDER BY valid_from;
SELECT model, missing, unexpected, different, expected = found AS same, m.state FROM walhouse.verify() v JOIN walhouse.model m ON relation = model;

-- ---- Types 0, 3 and 6, in order of time; one version where no column opens any.
SELECT walhouse.create_dimension('dw.typed', 'SELECT id, shelf, label, maker, since FROM shop.item WHERE id >= 20', '{id}',
    '{"shelf": 6, "label": 3, "maker": 0}', effective => 'since'),
       walhouse.create_dimension('dw.single', 'SELECT id, shelf, label, since FROM shop.item WHERE id >= 20', '{id}', '{"*": 1}', 'ignore', effective => 'since') \g /dev/null
CALL walhouse.build('dw.typed');
CALL walhouse.build('dw.single');
CREATE FUNCTION dw.set(text, text, text, timestamptz, committed timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shop.item (id, shelf, label, maker, since) VALUES (20, $1, $2, $3, $4)
    ON CONFLICT (id) DO UPDATE SET shelf = excluded.shelf, label = excluded.label, maker = excluded.maker, since = excluded.since;
    PERFORM dw.at($5);
END $$;
CREATE VIEW dw.typed_versions AS SELECT shelf, shelf_current AS shelf_now, label, label_previous AS label_was, maker, since, valid_from, valid_to FROM dw.typed WHERE id = 20;
SELECT dw.set('s1', 'l1', 'm1', '2026-03-01', '2026-07-10'), dw.set('s2', 'l2', 'm2', '2026-05-01', '2026-07-11') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.typed_versions ORDER BY valid_from;
-- Late, between: the last value is that of May as before, the one before it is now that of April.
SELECT dw.set('s3', 'l3', 'm3', '2026-04-01', '2026-07-12') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.typed_versions ORDER BY valid_from;
-- Late, before the first: type 0 has its value.
SELECT dw.set('s4', 'l4', 'm4', '2026-02-01', '2026-07-13') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.typed_versions ORDER BY valid_from;
-- What took the last value away: the one before is looked for further back.
SELECT dw.set('s5', 'l3', 'm5', '2026-05-01', '2026-07-14') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.typed_versions ORDER BY valid_from;
-- A last event without a change leaves it where it was.
SELECT dw.set('s5', 'l3', 'm6', '2026-06-01', '2026-07-15') \g /dev/null
CALL walhouse.load('shop');
SELECT DISTINCT label, label_was FROM dw.typed_versions;
-- A delete and a re-insert: one sequence.
DELETE FROM shop.item WHERE id = 20;
SELECT dw.at('2026-07-16'), dw.set('s6', 'l6', 'm6', '2026-07-20', '2026-07-17') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.typed_versions ORDER BY valid_from;
-- Where no column opens a version, it has the effective time that it began with.
SELECT shelf, label, since, valid_from, valid_to, is_current FROM dw.single WHERE id = 20;
SELECT model, missing, unexpected, different, expected = found AS same, m.state FROM walhouse.verify() v JOIN walhouse.model m ON relation = model;

-- ---- Deletes that do not close: they have no place in history, and a re-insert is as old as it says.
SELECT walhouse.create_dimension('dw.ignored', 'SELECT id, price, since FROM shop.item WHERE id >= 30', '{id}', on_delete => 'ignore', effective => 'since'),
       walhouse.create_dimension('dw.marked', 'SELECT id, price, since FROM shop.item WHERE id >= 30', '{id}', on_delete => 'tombstone', effective => 'since'),
       walhouse.create_dimension('dw.purged', 'SELECT id, price, since FROM shop.item WHERE id >= 30', '{id}', on_delete => 'purge', effective => 'since') \g /dev/null
CALL walhouse.build('dw.ignored');
CALL walhouse.build('dw.marked');
CALL walhouse.build('dw.purged');
SELECT dw.item(30, 1, '2026-03-01', '2026-07-21'), dw.item(30, 2, '2026-05-01', '2026-07-22'), dw.delete(30, '2026-07-23') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, valid_to FROM dw.ignored WHERE id = 30 ORDER BY 2;
SELECT price, valid_from, valid_to, is_deleted FROM dw.marked WHERE id = 30 ORDER BY 2;
SELECT (SELECT count(*) FROM dw.purged WHERE id = 30) AS versions, (SELECT count(*) FROM dw.purged_events WHERE id = 30) AS events;
SELECT dw.item(30, 3, '2026-04-01', '2026-07-24') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, valid_to FROM dw.ignored WHERE id = 30 ORDER BY 2;
SELECT price, valid_from, valid_to, is_deleted FROM dw.marked WHERE id = 30 ORDER BY 2;
SELECT price, valid_from, valid_to FROM dw.purged WHERE id = 30 ORDER BY 2;
-- The mark stands on the last version, whichever that is.
SELECT dw.item(30, 4, '2026-06-01', '2026-07-25'), dw.delete(30, '2026-07-26') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, valid_to, is_deleted FROM dw.marked WHERE id = 30 ORDER BY 2;
SELECT model, missing, unexpected, different, expected = found AS same, m.state FROM walhouse.verify() v JOIN walhouse.model m ON relation = model;

-- A row that does not meet the condition is deleted, but what has never met it is not: what comes first is as old as it says.
SELECT walhouse.create_dimension('dw.priced', 'SELECT id, price, since FROM shop.item WHERE price > 0 AND id >= 35', '{id}', effective => 'since') \g /dev/null
CALL walhouse.build('dw.priced');
SELECT dw.item(35, 0, '2026-01-01', '2026-07-27'), dw.item(35, 0, '2026-01-02', '2026-07-28'), dw.item(35, 5, '2026-02-01', '2026-07-29'),
    dw.item(35, 6, '2026-01-15', '2026-07-30') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, valid_to FROM dw.priced WHERE id = 35 ORDER BY 2;
SELECT dw.item(35, 0, '2026-01-01', '2026-07-30'), dw.item(35, 0, '2026-01-01', '2026-07-31'), dw.item(35, 7, '2026-02-01', '2026-07-31') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, valid_to FROM dw.priced WHERE id = 35 ORDER BY 2;
SELECT wh_effective, wh_live FROM dw.priced_events WHERE id = 35 ORDER BY 1;

-- An image that the query cannot compute is no event once it is mended.
SELECT walhouse.create_dimension('dw.share', 'SELECT id, 12 / price AS share, since FROM shop.item WHERE id >= 36', '{id}', effective => 'since') \g /dev/null
CALL walhouse.build('dw.share');
SELECT dw.item(36, 0, '2026-01-01', '2026-07-31'), dw.item(37, 2, '2026-01-01', '2026-07-31') \g /dev/null
CALL walhouse.load('shop');
SELECT relation, state, error FROM walhouse.model WHERE state <> 'live';
SELECT dw.item(36, 4, '2026-02-01', '2026-07-31'), dw.item(36, 3, '2026-01-15', '2026-07-31'), walhouse.resume('dw.share') \g /dev/null
CALL walhouse.load('shop');
SELECT id, round(share, 1) AS share, valid_from, valid_to FROM dw.share WHERE id > 0 ORDER BY 1, 3;
-- Over several tables: what changes in another one is a change of the row, at the row's instant.
SELECT walhouse.create_dimension('dw.made', 'SELECT i.id, i.price, i.maker, m.title, i.since FROM shop.item i LEFT JOIN shop.maker m ON m.maker = i.maker WHERE i.id >= 38',
    '{id}', effective => 'since') \g /dev/null
CALL walhouse.build('dw.made');
INSERT INTO shop.item (id, price, maker, since) VALUES (38, 1, 'x', '2026-03-01');
SELECT dw.at('2026-07-31') \g /dev/null
INSERT INTO shop.maker VALUES ('x', 'Xaver'), ('y', 'Yps');
UPDATE shop.item SET price = 2, since = '2026-05-01' WHERE id = 38;
SELECT dw.at('2026-07-31') \g /dev/null
CALL walhouse.load('shop');
UPDATE shop.maker SET title = 'Xaver & Son' WHERE maker = 'x';
SELECT dw.at('2026-07-31') \g /dev/null
UPDATE shop.item SET maker = 'y', since = '2026-04-01' WHERE id = 38;
SELECT dw.at('2026-07-31') \g /dev/null
CALL walhouse.load('shop');
SELECT price, title, since, valid_from, valid_to FROM dw.made WHERE id = 38 ORDER BY 4;
SELECT model, missing, unexpected, different, expected = found AS same, m.state FROM walhouse.verify() v JOIN walhouse.model m ON relation = model WHERE missing + unexpected + different > 0 OR state <> 'live';

-- ---- Facts follow.
SELECT walhouse.create_fact('dw.sale', 'SELECT sale_id, item_id, at, amount FROM shop.sale', '{sale_id}', 'at', '{"item_sk": "dw.item(item_id)"}') \g /dev/null
SELECT indexdef FROM pg_indexes WHERE schemaname = 'dw' AND tablename = 'sale' ORDER BY 1;
CREATE VIEW dw.sold AS SELECT s.sale_id, s.at, d.price, d.valid_from, d.is_inferred AS inf FROM dw.sale s JOIN dw.item d USING (item_sk) WHERE s.item_id >= 40;
-- A member that no source row has brought yet, then its history.
INSERT INTO shop.sale SELECT m, 40, timestamptz '2026-01-15 12:00+00' + m * interval '1 month', m FROM generate_series(0, 11) m;
INSERT INTO shop.sale VALUES (99, NULL, '2026-01-15', 1);
SELECT dw.at('2026-08-01') \g /dev/null
CALL walhouse.build('dw.sale');
SELECT count(*), count(DISTINCT valid_from), bool_and(inf) FROM dw.sold;
SELECT item_sk FROM dw.item WHERE id = 40 \gset
SELECT dw.item(40, 1, '2026-02-01', '2026-08-02'), dw.item(40, 2, '2026-05-01', '2026-08-03') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, min(sale_id), max(sale_id), bool_or(inf) AS inf FROM dw.sold GROUP BY 1, 2 ORDER BY 2;
SELECT bool_and(item_sk = :item_sk) AS in_place FROM dw.item WHERE id = 40 AND valid_from = '-infinity';
-- Late, between and before; those ahead of the clock follow, too.
SELECT dw.item(40, 3, '2026-07-01', '2026-08-04'), dw.item(40, 4, '2026-03-01', '2026-08-05'), dw.item(40, 0, '2026-01-20', '2026-08-06') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, min(sale_id), max(sale_id) FROM dw.sold GROUP BY 1, 2 ORDER BY 2;
SELECT count(*) FROM walhouse.ahead;
-- Two versions become one: rows go back to the one that stays.
SELECT dw.item(40, 2, '2026-07-01', '2026-08-07') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, min(sale_id), max(sale_id) FROM dw.sold GROUP BY 1, 2 ORDER BY 2;
-- A delete ends a version, and takes no row from it.
SELECT dw.delete(40, '2026-08-08') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, min(sale_id), max(sale_id) FROM dw.sold GROUP BY 1, 2 ORDER BY 2;
-- Entries go when the fact has passed them.
SELECT count(*), count(DISTINCT position) = 1 AS of_last_load FROM walhouse.moved;
SELECT missing, unexpected, different, expected = found AS same FROM walhouse.verify('dw.sale');
-- A fact that was stopped meanwhile follows all at once, and until then verify knows what it waits for.
SELECT walhouse.create_fact('dw.ratio', 'SELECT sale_id, item_id, at, 100 / amount AS ratio FROM shop.sale WHERE sale_id >= 5', '{sale_id}', 'at', '{"item_sk": "dw.item(item_id)"}') \g /dev/null
CALL walhouse.build('dw.ratio');
UPDATE shop.sale SET amount = 0 WHERE sale_id = 5;
SELECT dw.at('2026-08-09') \g /dev/null
CALL walhouse.load('shop');
SELECT relation, state FROM walhouse.model WHERE kind = 'fact' ORDER BY 1;
SELECT dw.item(40, 7, '2026-08-20', '2026-08-10') \g /dev/null
CALL walhouse.load('shop');
SELECT dw.item(40, 8, '2026-09-20', '2026-08-11') \g /dev/null
CALL walhouse.load('shop');
SELECT dw.item(40, 7, '2026-09-20', '2026-08-12') \g /dev/null
CALL walhouse.load('shop');
SELECT model, missing, unexpected, different, expected = found AS same FROM walhouse.verify() WHERE model IN ('dw.sale'::regclass, 'dw.ratio'::regclass);
UPDATE shop.sale SET amount = 9 WHERE sale_id = 5;
SELECT dw.at('2026-08-13'), walhouse.resume('dw.ratio') \g /dev/null
CALL walhouse.load('shop');
SELECT d.price, d.valid_from, min(sale_id), max(sale_id) FROM dw.ratio s JOIN dw.item d USING (item_sk) WHERE s.item_id = 40 GROUP BY 1, 2 ORDER BY 2;
SELECT model, missing, unexpected, different, expected = found AS same FROM walhouse.verify() WHERE model IN ('dw.sale'::regclass, 'dw.ratio'::regclass);
-- A member of which nothing is left stays as an inferred one where a fact may refer to it.
INSERT INTO shop.sale VALUES (50, 41, '2026-08-14', 1);
SELECT dw.item(41, 1, '2028-01-01', '2026-08-14'), dw.item(41, 2, '2029-01-01', '2026-08-14') \g /dev/null
CALL walhouse.load('shop');
SELECT sale_id, price, inf FROM dw.sold WHERE sale_id = 50;
SELECT dw.item(41, 3, '2028-01-01', '2026-08-15'), dw.item(41, 3, '2029-01-01', '2026-08-16'), dw.delete(41, '2026-08-17') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, valid_to FROM dw.versions WHERE id = 41 ORDER BY 2;
SELECT dw.item(42, 1, '2028-01-01', '2026-08-18') \g /dev/null
INSERT INTO shop.sale VALUES (51, 42, '2026-08-18', 1);
SELECT dw.at('2026-08-18') \g /dev/null
CALL walhouse.load('shop');
SELECT dw.delete(42, '2026-08-19') \g /dev/null
CALL walhouse.load('shop');
SELECT sale_id, price, valid_from, inf FROM dw.sold WHERE sale_id = 51;
-- Purged: the rows of all its versions point to the one that is left.
SELECT walhouse.create_fact('dw.gone', 'SELECT sale_id, item_id, at FROM shop.sale WHERE sale_id < 12', '{sale_id}', 'at', '{"item_sk": "dw.purged(item_id)"}') \g /dev/null
CALL walhouse.build('dw.gone');
SELECT count(*), count(DISTINCT item_sk) AS versions, bool_or(is_inferred) AS inf FROM dw.gone JOIN dw.purged ON item_sk = purged_sk;
SELECT dw.item(40, 6, '2026-10-05', '2026-08-19') \g /dev/null
CALL walhouse.load('shop');
SELECT price, min(sale_id), max(sale_id) FROM dw.gone JOIN dw.purged ON item_sk = purged_sk GROUP BY 1 ORDER BY 2;
SELECT dw.delete(40, '2026-08-20') \g /dev/null
CALL walhouse.load('shop');
SELECT count(*), count(DISTINCT item_sk) AS versions, bool_and(is_inferred) AS inf FROM dw.gone JOIN dw.purged ON item_sk = purged_sk;
SELECT dw.item(40, 1, '2026-04-01', '2026-08-21'), dw.item(40, 2, '2026-06-01', '2026-08-22') \g /dev/null
CALL walhouse.load('shop');
SELECT price, min(sale_id), max(sale_id) FROM dw.gone JOIN dw.purged ON item_sk = purged_sk GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM walhouse.purged;
SELECT model, missing, unexpected, different, expected = found AS same, m.state FROM walhouse.verify() v JOIN walhouse.model m ON relation = model;

-- ---- As it was known after an earlier load: other versions, and rows that pointed to others.
SELECT max(load_id) AS load FROM walhouse.load_model \gset
SELECT dw.item(40, 9, '2026-05-01', '2026-08-23') \g /dev/null
CALL walhouse.load('shop');
SELECT price, valid_from, valid_to FROM dw.versions WHERE id = 40 ORDER BY 2;
SELECT price, valid_from, valid_to, item_sk IS NULL AS gone FROM walhouse.as_known(NULL::dw.item, load => :load) WHERE id = 40 ORDER BY 2;
SELECT d.price, count(*) FROM walhouse.as_known(NULL::dw.sale, load => :load) s JOIN dw.item d USING (item_sk) WHERE item_id = 40 GROUP BY 1 ORDER BY 1;
SELECT d.price, count(*) FROM dw.sale s JOIN dw.item d USING (item_sk) WHERE item_id = 40 GROUP BY 1 ORDER BY 1;

-- ---- The horizon moves on, between what an instant had and what has taken its place: events from before come from the table.
SELECT position AS middle FROM walhouse.feed_position ORDER BY position DESC LIMIT 1 \gset
SELECT dw.item(43, 1, '2027-01-01', '2026-08-24'), dw.item(44, 1, '2027-01-01', '2026-08-24'), dw.item(44, 2, '2026-01-01', '2026-08-25') \g /dev/null
CALL walhouse.load('shop');
SELECT position AS middle FROM walhouse.feed_position ORDER BY position DESC LIMIT 1 \gset
SELECT dw.delete(43, '2026-08-26'), dw.delete(44, '2026-08-26'), dw.item(43, 2, '2026-05-01', '2026-08-27'), dw.item(40, 10, '2026-05-01', '2026-08-28') \g /dev/null
CALL walhouse.load('shop');
UPDATE walhouse.feed SET horizon = :'middle';
DELETE FROM shop_log.item WHERE lsn <= :'middle';
DELETE FROM shop_log.sale WHERE lsn <= :'middle';
SELECT id, price, valid_from, valid_to FROM dw.versions WHERE id IN (43, 44) ORDER BY 1, 3;
SELECT model, missing, unexpected, different, expected = found AS same, m.state FROM walhouse.verify() v JOIN walhouse.model m ON relation = model;
-- Damage is found, also in a sample, of which little of the log is replayed.
SET walhouse.allow_writes = on;
UPDATE dw.item SET price = 0 WHERE id = 40 AND is_current;
DELETE FROM dw.item WHERE id = 43;
RESET walhouse.allow_writes;
SELECT missing, unexpected, different FROM walhouse.verify('dw.item');
SET walhouse.verify_log_rows = 1;
SELECT missing, unexpected, different FROM walhouse.verify('dw.item', 1000);
CALL walhouse.build('dw.item');
CALL walhouse.build('dw.sale');
CALL walhouse.build('dw.ratio');
SELECT missing, unexpected, different, expected = found AS same FROM walhouse.model, walhouse.verify(relation, 1000) ORDER BY model_id;
SELECT model, missing, unexpected, different, expected = found AS same, m.state FROM walhouse.verify() v JOIN walhouse.model m ON relation = model;

-- The table of events is guarded as the dimension is, and goes with it.
DELETE FROM dw.item_events;
SELECT walhouse.drop_model('dw.item');
DROP VIEW dw.versions, dw.sold, dw.typed_versions, dw.right;
SELECT walhouse.drop_model(m) FROM unnest('{dw.gone,dw.ratio,dw.sale}'::regclass[]) m \g /dev/null
SELECT walhouse.drop_model('dw.item');
SELECT to_regclass('dw.item_events') AS events, (SELECT count(*) FROM walhouse.moved m WHERE NOT EXISTS (SELECT FROM walhouse.model d WHERE d.model_id = dimension_id)) AS left;

\set QUIET on
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
DELETE FROM walhouse.feed_column; DELETE FROM walhouse.feed_table; DELETE FROM walhouse.feed_position; DELETE FROM walhouse.load; DELETE FROM walhouse.feed;
DROP SCHEMA shop, shop_log, dw, handfeed CASCADE;
