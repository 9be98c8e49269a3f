-- A dimension is left alone by loads that bring nothing of its tables: its position moves, and its owner's rights are not asked for.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = error;
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.item (id int PRIMARY KEY, name text, maker int);
CREATE INDEX ON shop.item (maker);
CREATE TABLE shop.maker (id int PRIMARY KEY, name text);
CREATE TABLE shop.other (id int PRIMARY KEY);
SELECT handfeed.add('shop', 'shop.item'), handfeed.add('shop', 'shop.maker'), handfeed.add('shop', 'shop.other') \g /dev/null
INSERT INTO shop.item VALUES (1, 'a', 1);
INSERT INTO shop.maker VALUES (1, 'm');
SELECT handfeed.commit('shop', '2026-01-01'), handfeed.reach('shop') \g /dev/null
CREATE ROLE walhouse_test_rester;
GRANT USAGE ON SCHEMA shop, shop_log TO walhouse_test_rester;
GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO walhouse_test_rester;
CREATE SCHEMA rest AUTHORIZATION walhouse_test_rester;
SET ROLE walhouse_test_rester;
SELECT walhouse.create_dimension('rest.item', 'SELECT id, name FROM shop.item', '{id}') \g /dev/null
SELECT walhouse.create_dimension('rest.made', 'SELECT i.id, i.name, m.name AS maker FROM shop.item i JOIN shop.maker m ON m.id = i.maker', '{id}') \g /dev/null
RESET ROLE;
CALL walhouse.build('rest.item');
CALL walhouse.build('rest.made');
\set QUIET off

CREATE VIEW rest.models AS SELECT m.relation, m.state, left(m.error, 30) AS error,
    (SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = m.model_id ORDER BY l.load_id DESC LIMIT 1) =
        (SELECT max(p.position) FROM walhouse.feed_position p WHERE p.feed_id = m.feed_id) AS is_there
FROM walhouse.model m WHERE m.relation::text LIKE 'rest.%' ORDER BY m.model_id;

-- Nothing of either.
REVOKE SELECT ON ALL TABLES IN SCHEMA shop_log FROM walhouse_test_rester;
INSERT INTO shop.other VALUES (1);
SELECT handfeed.commit('shop', '2026-01-02'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM rest.models;
-- Something of one of the tables that one of them reads.
UPDATE shop.maker SET name = 'n';
SELECT handfeed.commit('shop', '2026-01-03'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM rest.models;
GRANT SELECT ON ALL TABLES IN SCHEMA shop_log TO walhouse_test_rester;
SELECT walhouse.resume('rest.made');
CALL walhouse.load('shop');
SELECT * FROM rest.models;
SELECT id, name, maker, is_current FROM rest.made WHERE made_sk > 0 ORDER BY valid_from;
-- A delete that comes with other things.
UPDATE shop.other SET id = 2;
DELETE FROM shop.item;
SELECT handfeed.commit('shop', '2026-01-04'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT id, name, is_current FROM rest.item WHERE item_sk > 0 ORDER BY valid_from;
SELECT missing, unexpected, different FROM walhouse.verify('rest.item');
SELECT missing, unexpected, different FROM walhouse.verify('rest.made');

\set QUIET on
DROP VIEW rest.models;
SELECT walhouse.drop_model('rest.item'), walhouse.drop_model('rest.made') \g /dev/null
SELECT handfeed.remove('shop') \g /dev/null
SET client_min_messages = error;
DROP SCHEMA handfeed, rest CASCADE;
DROP OWNED BY walhouse_test_rester;
DROP ROLE walhouse_test_rester;
