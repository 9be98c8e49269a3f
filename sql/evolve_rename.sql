-- walhouse.rename: a model and all that is called after it have another name, and go on; the old name is free.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT handfeed.make('shop', 'UTC');
CREATE TABLE shop.customers (id int PRIMARY KEY, name text);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer int, at date, amount int);
SELECT handfeed.add('shop', 'shop.customers');
SELECT handfeed.add('shop', 'shop.orders');
INSERT INTO shop.customers VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO shop.orders VALUES (1, 1, '2026-01-01', 10), (2, 2, '2026-01-02', 20);
SELECT handfeed.commit('shop', '2026-01-10');
SELECT handfeed.reach('shop');
CREATE SCHEMA dw;
CREATE SCHEMA mart;
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name FROM shop.customers', '{id}');
SELECT walhouse.create_mini_dimension('dw.profile', 'SELECT id, name FROM shop.customers', '{id}');
SELECT walhouse.create_fact('dw.sales', 'SELECT id, customer, at, amount FROM shop.orders', '{id}', 'at',
    '{"customer_sk": "dw.customer(customer)", "profile_sk": "dw.profile(customer)"}');
SELECT walhouse.create_rollup('dw.sales_daily', 'dw.sales', '{}', '{"amount": "sum(amount)", "most": "max(amount)"}');
CREATE VIEW mart.report AS SELECT name, amount FROM dw.sales JOIN dw.customer USING (customer_sk);
CREATE VIEW mart.relations AS
    SELECT c.oid::regclass AS relation, c.relkind FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('dw', 'Data Mart') AND c.relkind NOT IN ('t', 'S') ORDER BY c.oid::regclass::text;
CALL walhouse.build('dw.customer');
CALL walhouse.build('dw.profile_history');
CALL walhouse.build('dw.sales');
CALL walhouse.build('dw.sales_daily');
SELECT * FROM mart.relations;

SELECT walhouse.rename('dw.sales', 'orders');
CREATE SCHEMA "Data Mart";
SELECT walhouse.rename('dw.customer', '"Data Mart"."the client"');
SELECT walhouse.rename('dw.profile', 'dw.portrait');
-- not with an operator that the caller's search_path puts in front of PostgreSQL's
CREATE FUNCTION mart.not_like(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR mart.~~ (FUNCTION = mart.not_like, LEFTARG = text, RIGHTARG = text);
SET search_path = mart, pg_catalog;
SELECT walhouse.rename('dw.sales_daily', 'by_day');
RESET search_path;
SELECT * FROM mart.relations;
SELECT obj_description('dw.orders_query'::regclass), obj_description('dw.by_day_pending'::regclass);
SELECT * FROM mart.report ORDER BY 1;

-- all goes on, with new partitions under the new name; the old one is free
UPDATE shop.customers SET name = 'Anna' WHERE id = 1;
INSERT INTO shop.orders VALUES (3, 1, '2026-02-12', 5);
SELECT handfeed.commit('shop', '2026-02-12');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT relid FROM pg_partition_tree('dw.orders') ORDER BY relid::text;
SELECT walhouse.create_fact('dw.sales', 'SELECT id, customer, at, amount FROM shop.orders', '{id}', 'at',
    '{"customer_sk": "\"Data Mart\".\"the client\"(customer)"}');
SELECT walhouse.create_rollup('dw.sales_daily', 'dw.sales', '{}', '{"most": "max(amount)"}');
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name FROM shop.customers', '{id}');
CALL walhouse.build('dw.customer');
CALL walhouse.build('dw.sales');
CALL walhouse.build('dw.sales_daily');
CALL walhouse.build('"Data Mart"."the client"');
CALL walhouse.build('dw.orders');
CALL walhouse.build('dw.sales');
CALL walhouse.build('dw.by_day');
CALL walhouse.build('dw.sales_daily');
SELECT v.model, v.missing, v.unexpected, v.different FROM walhouse.model m JOIN walhouse.feed f USING (feed_id), walhouse.verify(m.relation) v
WHERE f.name = 'shop' ORDER BY v.model::text;

-- what there is to refuse
SELECT walhouse.rename('dw.orders', 'sales');
SELECT walhouse.rename('dw.orders', 'nowhere.sales');
SELECT walhouse.rename('mart.report', 'x');
CREATE ROLE regress_renamer;
GRANT USAGE ON SCHEMA dw TO regress_renamer;
SET ROLE regress_renamer;
SELECT walhouse.rename('dw.orders', 'x');
RESET ROLE;

\set ECHO none
DROP VIEW mart.report, mart.relations;
REVOKE ALL ON SCHEMA dw FROM regress_renamer;
DROP ROLE regress_renamer;
SELECT walhouse.drop_model(m) FROM unnest('{dw.by_day,dw.sales_daily,dw.sales,dw.orders,"\"Data Mart\".\"the client\"",dw.customer,dw.portrait}'::text[]) m;
SELECT handfeed.remove('shop');
DROP SCHEMA dw, mart, "Data Mart", handfeed CASCADE;
