-- Models that are paused: loads and builds leave them, and what needs them, where they are; the others go on; what they missed comes later.
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
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name FROM shop.customers', '{id}');
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name FROM shop.customers', '{id}');
SELECT walhouse.create_fact('dw.sales', 'SELECT id, customer, at, amount FROM shop.orders', '{id}', 'at',
    '{"customer_sk": "dw.customer(customer)"}');
SELECT walhouse.create_rollup('dw.daily', 'dw.sales', '{}', '{"amount": "sum(amount)"}');
SELECT walhouse.create_date_dimension('dw.day', '2026-01-01', '2026-01-31');
CREATE VIEW dw.models AS
    SELECT model, state, is_current, waits_for, paused IS NOT NULL AS is_paused, lag_bytes > 0 AS is_behind FROM walhouse.stat_model
    WHERE kind <> 'date' AND model::text LIKE 'dw.%' ORDER BY model::text;

-- before the first build: neither built by hand nor found by who builds
SELECT walhouse.pause('dw.person');
CALL walhouse.build('dw.person');
CALL walhouse.build('dw.customer');
CALL walhouse.build('dw.sales');
CALL walhouse.build('dw.daily');
SELECT walhouse.resume('dw.person');
CALL walhouse.build('dw.person');
SELECT * FROM dw.models;

-- a dimension that is paused, and what needs it, wait; the others go on
SELECT walhouse.pause('dw.customer');
UPDATE shop.customers SET name = 'Anna' WHERE id = 1;
INSERT INTO shop.orders VALUES (3, 1, '2026-01-12', 5);
SELECT handfeed.commit('shop', '2026-01-12');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
SELECT name FROM dw.customer WHERE id = 1 AND is_current;
SELECT name FROM dw.person WHERE id = 1 AND is_current;
SELECT count(*) FROM dw.sales;
SELECT severity, code, object, remedy FROM walhouse.doctor('0') WHERE feed = 'shop' AND code LIKE 'model%';
SELECT walhouse.resume('dw.customer');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
SELECT name FROM dw.customer WHERE id = 1 AND is_current;
SELECT count(*) FROM dw.sales;

-- a rollup that is paused keeps what it misses
SELECT walhouse.pause('dw.daily');
INSERT INTO shop.orders VALUES (4, 2, '2026-01-12', 7);
SELECT handfeed.commit('shop', '2026-01-13');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT sum(amount) FROM dw.daily;
SELECT sum(amount) FROM dw.sales;
SELECT walhouse.resume('dw.daily');
CALL walhouse.load('shop');
SELECT sum(amount) FROM dw.daily;

-- a rebuild is done by who builds next; what was built again has what stands on it built again, also while that is paused
SELECT walhouse.pause('dw.sales');
SELECT walhouse.rebuild('dw.customer');
SELECT * FROM dw.models;
CALL walhouse.build('dw.customer');
SELECT * FROM dw.models;
SELECT walhouse.resume('dw.sales');
CALL walhouse.build('dw.sales');
CALL walhouse.build('dw.daily');
SELECT * FROM dw.models;
SELECT v.model, v.missing, v.unexpected, v.different FROM walhouse.model m, walhouse.verify(m.relation) v
WHERE m.relation::text LIKE 'dw.%' ORDER BY v.model::text;

-- what there is to refuse
SELECT walhouse.resume('dw.sales');
SELECT walhouse.pause('dw.day');
CREATE ROLE regress_pauser;
SET ROLE regress_pauser;
SELECT walhouse.pause('dw.sales');
SELECT walhouse.rebuild('dw.sales');
RESET ROLE;
DROP ROLE regress_pauser;

\set ECHO none
DROP VIEW dw.models;
SELECT walhouse.drop_model(m) FROM unnest('{dw.daily,dw.sales,dw.customer,dw.person,dw.day}'::text[]) m;
SELECT handfeed.remove('shop');
DROP SCHEMA dw, handfeed CASCADE;
