-- Queries over several tables: which joins there may be, what is refused and how it is said; keys, indexes, rights; fan-out.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC'), handfeed.make('other', 'UTC') \g /dev/null
CREATE TABLE shop.orders (order_id int PRIMARY KEY, customer_id int, at timestamptz, tags text[]);
CREATE TABLE shop.lines (order_id int, line int, product_id bigint, qty int, PRIMARY KEY (order_id, line));
CREATE TABLE shop.product (id int PRIMARY KEY, name text, boss_id int);
CREATE TABLE shop.phone (phone_id int PRIMARY KEY, customer_id int, number text);
CREATE TABLE shop.note (customer_id int PRIMARY KEY, body text);
CREATE TABLE other.region (id int PRIMARY KEY, name text);
SELECT handfeed.add('shop', ('shop.' || t)::regclass) FROM unnest('{orders,lines,product,phone,note}'::text[]) t \g /dev/null
SELECT handfeed.add('other', 'other.region') \g /dev/null
CREATE SCHEMA dw;
CREATE FUNCTION dw.roll() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
\set QUIET off
\set VERBOSITY default
CREATE FUNCTION pg_temp.try(query text, key text[] DEFAULT '{order_id,line}') RETURNS regclass LANGUAGE sql AS
    $$ SELECT walhouse.create_dimension('dw.try', query, key) $$;

-- Shapes
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l RIGHT JOIN shop.orders o USING (order_id)');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l FULL JOIN shop.orders o USING (order_id)');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN (SELECT 1 AS order_id) o USING (order_id)');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN generate_series(1, 3) g ON g = l.line');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN shop.orders o USING (order_id) LIMIT 1');
SELECT pg_temp.try('SELECT DISTINCT l.order_id, l.line FROM shop.lines l JOIN shop.orders o USING (order_id)');
SELECT pg_temp.try('SELECT l.order_id, max(l.line) AS line FROM shop.lines l JOIN shop.orders o USING (order_id) GROUP BY 1');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN pg_class c ON c.relpages = l.qty');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN other.region r ON r.id = l.qty');

-- Expressions in ON are judged like all others
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN shop.orders o ON o.order_id = l.order_id AND dw.roll() = 1');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN shop.orders o ON o.order_id = l.order_id AND o.at < now()');
SELECT pg_temp.try('SELECT l.order_id, l.line, o AS whole FROM shop.lines l JOIN shop.orders o USING (order_id)');

-- No way from one table to another
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l, shop.product p');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN shop.product p ON p.id < l.product_id');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN shop.product p ON p.id + 0 = l.product_id');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN shop.product p ON p.id = 7');
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN shop.product p ON p.id = l.product_id OR p.name = ''x''');
-- The condition of a LEFT JOIN says nothing about its left side.
SELECT pg_temp.try('SELECT l.order_id, l.line FROM (shop.lines l CROSS JOIN shop.product p) LEFT JOIN shop.note n ON n.customer_id = l.qty AND n.customer_id = p.boss_id');

-- Keys
SELECT pg_temp.try('SELECT l.order_id, l.line FROM shop.lines l JOIN shop.orders o USING (order_id)', '{line}');
SELECT pg_temp.try('SELECT o.order_id, l.line FROM shop.orders o LEFT JOIN shop.lines l USING (order_id)', '{line}');
SELECT pg_temp.try('SELECT o.order_id, o.at FROM shop.orders o LEFT JOIN shop.note n ON n.customer_id = o.customer_id', '{order_id,at}');
SELECT pg_temp.try('SELECT o.order_id + 0 AS order_id FROM shop.orders o LEFT JOIN shop.note n ON n.customer_id = o.customer_id', '{order_id}');

-- Rights, and indexes that only the mirror's owner can make
CREATE ROLE walhouse_test_owner;
GRANT USAGE ON SCHEMA shop, shop_log, dw TO walhouse_test_owner;
GRANT CREATE ON SCHEMA dw TO walhouse_test_owner;
SET ROLE walhouse_test_owner;
SELECT pg_temp.try('SELECT l.order_id, l.line, p.name FROM shop.lines l LEFT JOIN shop.product p ON p.id = l.product_id');
RESET ROLE;
GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO walhouse_test_owner;
SET ROLE walhouse_test_owner;
SELECT pg_temp.try('SELECT l.order_id, l.line, p.name FROM shop.lines l LEFT JOIN shop.product p ON p.id = l.product_id');
RESET ROLE;
SET client_min_messages = notice;
SELECT walhouse.create_fact('dw.sale', 'SELECT o.order_id, l.line, o.at, p.name, b.name AS boss, l.qty
    FROM shop.orders o JOIN shop.lines l USING (order_id) LEFT JOIN (shop.product p LEFT JOIN shop.product b ON b.id = p.boss_id) ON p.id = l.product_id',
    '{order_id,line}', 'at');
SET client_min_messages = warning;
SET ROLE walhouse_test_owner;
SELECT pg_temp.try('SELECT l.order_id, l.line, p.name FROM shop.lines l LEFT JOIN shop.product p ON p.id = l.product_id');
SELECT walhouse.drop_model('dw.try');
RESET ROLE;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'shop' AND indexname NOT LIKE '%pkey' ORDER BY 1;

-- Where nothing proves that a key has one row, loads count; what they find stops the model before anything is written.
SELECT walhouse.create_dimension('dw.caller', 'SELECT o.order_id, p.number FROM shop.orders o LEFT JOIN shop.phone p ON p.customer_id = o.customer_id', '{order_id}');
SELECT walhouse.create_fact('dw.call', 'SELECT o.order_id, p.number, o.at FROM shop.orders o JOIN shop.phone p ON p.customer_id = o.customer_id', '{order_id,number}', 'at');
INSERT INTO shop.orders VALUES (1, 10, '2026-01-01'), (2, 20, '2026-01-02');
INSERT INTO shop.lines VALUES (1, 1, 5, 1), (2, 1, 6, 2);
INSERT INTO shop.product VALUES (5, 'pen', 6), (6, 'ink', NULL);
INSERT INTO shop.phone VALUES (1, 10, '111'), (2, 20, '222');
SELECT handfeed.commit('shop', '2026-01-03'), handfeed.reach('shop') \g /dev/null
SELECT format('CALL walhouse.build(%L)', relation) FROM walhouse.model ORDER BY model_id \gexec
INSERT INTO shop.phone VALUES (3, 10, '111'), (4, 20, '223');
SELECT handfeed.commit('shop', '2026-01-04'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT relation, state, error FROM walhouse.model ORDER BY model_id;
SELECT order_id, number FROM dw.caller WHERE caller_sk > 0 ORDER BY 1, 2;
SELECT order_id, number FROM dw.call ORDER BY 1, 2;
UPDATE shop.phone SET number = NULL WHERE phone_id = 3;
DELETE FROM shop.phone WHERE phone_id = 4;
SELECT handfeed.commit('shop', '2026-01-05'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT relation, state, error FROM walhouse.model ORDER BY model_id;
DELETE FROM shop.phone WHERE phone_id = 3;
UPDATE shop.phone SET number = '112' WHERE phone_id = 1;
SELECT handfeed.commit('shop', '2026-01-06'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT walhouse.resume(relation) FROM walhouse.model WHERE state = 'stopped' \g /dev/null
CALL walhouse.load('shop');
SELECT relation, state, error FROM walhouse.model ORDER BY model_id;
-- Two of them stood in a commit that nobody could key: it left no version.
SELECT order_id, number, valid_from, valid_to FROM dw.caller WHERE caller_sk > 0 ORDER BY 1, 3;
SELECT order_id, number FROM dw.call ORDER BY 1, 2;
SELECT order_id, line, name, boss, qty FROM dw.sale ORDER BY 1, 2;
SELECT model, expected, found, missing, unexpected, different FROM walhouse.verify();

-- A build says so, too.
INSERT INTO shop.phone VALUES (5, 10, '112');
SELECT handfeed.commit('shop', '2026-01-07'), handfeed.reach('shop') \g /dev/null
CALL walhouse.build('dw.call');
CALL walhouse.build('dw.caller');
DELETE FROM shop.phone WHERE phone_id = 5;
SELECT handfeed.commit('shop', '2026-01-08'), handfeed.reach('shop') \g /dev/null
CALL walhouse.build('dw.call');
CALL walhouse.build('dw.caller');

-- Any of the tables can hold a model up, and its horizon is the latest of theirs.
UPDATE walhouse.feed_table SET state = 'resync' WHERE source_name = 'product';
UPDATE shop.lines SET qty = 9;
SELECT handfeed.commit('shop', '2026-01-09'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
CALL walhouse.build('dw.sale');
SELECT order_id, qty FROM dw.sale ORDER BY 1;
UPDATE walhouse.feed_table SET state = 'ready', sync_lsn = (SELECT max(position) FROM walhouse.feed_position) WHERE source_name = 'product';
CALL walhouse.load('shop');
SELECT relation, state FROM walhouse.model ORDER BY model_id;
CALL walhouse.build('dw.sale');
SELECT order_id, qty FROM dw.sale ORDER BY 1;
SELECT horizon = (SELECT sync_lsn FROM walhouse.feed_table WHERE source_name = 'product') AS is_latest, missing, unexpected, different
FROM walhouse.verify('dw.sale');

-- Columns that are renamed are followed in every alias; a table that is dropped takes its models with it.
SET walhouse.allow_writes = on;
ALTER TABLE shop.product RENAME name TO title;
RESET walhouse.allow_writes;
UPDATE walhouse.feed_column SET mirror_column = 'title', log_column = 'name' WHERE source_name = 'name';
UPDATE shop.product SET title = 'pencil' WHERE id = 5;
SELECT handfeed.commit('shop', '2026-01-10'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT order_id, name, boss FROM dw.sale ORDER BY 1;
SET walhouse.allow_writes = on;
CREATE OR REPLACE VIEW dw.sale_query AS SELECT o.order_id, 1 AS line, o.at, ''::text AS name, ''::text AS boss, 1 AS qty FROM shop.orders o, shop.product p;
RESET walhouse.allow_writes;
INSERT INTO shop.orders VALUES (3, 10, '2026-01-01');
SELECT handfeed.commit('shop', '2026-01-11'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT relation, state, regexp_replace(error, '\d+', 'N') AS error FROM walhouse.model ORDER BY model_id;

\set QUIET on
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
SELECT handfeed.remove('shop'), handfeed.remove('other') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
DROP ROLE walhouse_test_owner;
