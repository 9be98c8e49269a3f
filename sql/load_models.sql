-- Loads and builds: positions, what walhouse.load says, models that stop alone and come back (P4), builds and rebuilds.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT handfeed.make('shop', 'UTC');
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, divisor int);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer int, at date, amount int);
SELECT handfeed.add('shop', 'shop.customers');
SELECT handfeed.add('shop', 'shop.orders');
INSERT INTO shop.customers VALUES (1, 'Ann', 1), (2, 'Bob', 2);
INSERT INTO shop.orders VALUES (1, 1, '2026-01-01', 10), (2, 2, '2026-01-02', 20);
SELECT handfeed.commit('shop', '2026-01-10');
SELECT handfeed.reach('shop');
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name, 100 / divisor AS share FROM shop.customers', '{id}');
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name FROM shop.customers', '{id}');
SELECT walhouse.create_fact('dw.sales', 'SELECT id, customer, at, amount FROM shop.orders', '{id}', 'at',
    '{"customer_sk": "dw.customer(customer)"}');
SELECT walhouse.create_fact('dw.ratio', 'SELECT id, customer, at, 100 / amount AS ratio FROM shop.orders', '{id}', 'at',
    '{"person_sk": "dw.person(customer)"}');
CREATE VIEW dw.models AS
    SELECT m.relation, m.state, m.error, l.to_lsn AS position, r.attempts, r.waits_for IS NOT NULL AS waits, r.build
    FROM walhouse.model m LEFT JOIN LATERAL (SELECT to_lsn FROM walhouse.load_model l WHERE l.model_id = m.model_id
        ORDER BY load_id DESC LIMIT 1) l ON true LEFT JOIN walhouse.load_retry r ON r.model_id = m.model_id
    WHERE m.relation::text LIKE 'dw.%' ORDER BY m.model_id;
CREATE VIEW dw.proof AS
    SELECT v.model, v.expected, v.found, v.missing, v.unexpected, v.different
    FROM walhouse.model m, walhouse.verify(m.relation) v WHERE m.relation::text LIKE 'dw.%' ORDER BY m.model_id;
CREATE VIEW dw.loads AS
    SELECT d.kind, d.from_lsn, d.to_lsn, d.from_time, d.to_time, d.transactions, d.error, m.relation, l.inserted, l.updated, l.deleted,
        l.inferred, l.rejected
    FROM walhouse.load d LEFT JOIN walhouse.load_model l USING (load_id) LEFT JOIN walhouse.model m USING (model_id)
    WHERE d.feed_id = (SELECT feed_id FROM walhouse.feed WHERE name = 'shop') ORDER BY d.load_id, m.model_id;
SELECT * FROM dw.models;

-- builds; a load with nothing to do writes nothing
CALL walhouse.load('shop');
CALL walhouse.build('dw.customer');
CALL walhouse.build('dw.person');
CALL walhouse.build('dw.sales');
CALL walhouse.build('dw.ratio');
SELECT * FROM dw.models;
CALL walhouse.load('shop');
SELECT * FROM dw.loads;

-- one load brings all to one position
INSERT INTO shop.orders VALUES (3, 9, '2026-03-01', 30), (4, 1, NULL, 1), (7, 1, '2027-01-01', 5);
SELECT handfeed.commit('shop', '2026-01-11');
DELETE FROM shop.orders WHERE id = 1;
SELECT handfeed.commit('shop', '2026-01-12');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.loads WHERE from_lsn = '0/1100' AND kind = 'load';
SELECT * FROM dw.models;

-- P4: a division by zero stops its model alone; it is tried again when its table changes, and catches up
UPDATE shop.orders SET amount = 0 WHERE id = 2;
SELECT handfeed.commit('shop', '2026-01-13');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
SELECT * FROM dw.proof;
UPDATE shop.customers SET name = 'Anna' WHERE id = 1;
SELECT handfeed.commit('shop', '2026-01-14');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
-- order 7 is ahead of the clock: its row waits with its model, and that is no difference
SELECT r.id, p.name, p.is_current FROM dw.ratio r JOIN dw.person p USING (person_sk) WHERE r.id = 7;
SELECT * FROM dw.proof;
UPDATE shop.orders SET amount = 50 WHERE id = 2;
SELECT handfeed.commit('shop', '2026-01-15');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
SELECT r.id, r.ratio, p.name, p.is_current FROM dw.ratio r JOIN dw.person p USING (person_sk) ORDER BY r.id;
SELECT * FROM dw.proof;

-- a fact stops with its dimension and says so
CREATE FUNCTION shop.half(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n / 2';
SET walhouse.allow_writes = on;
CREATE OR REPLACE VIEW dw.customer_query AS SELECT id, name, 100 / divisor + shop.half(0) AS share FROM shop.customers;
RESET walhouse.allow_writes;
CREATE OR REPLACE FUNCTION shop.half(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n / (n - n)';
UPDATE shop.customers SET name = 'Anne' WHERE id = 1;
SELECT handfeed.commit('shop', '2026-01-16');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
INSERT INTO shop.orders VALUES (5, 1, '2026-08-01', 1);
SELECT handfeed.commit('shop', '2026-01-17');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT id FROM dw.sales ORDER BY id;
SELECT id FROM dw.ratio ORDER BY id;
CREATE OR REPLACE FUNCTION shop.half(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n / 2';
CALL walhouse.load('shop');
SELECT * FROM dw.models;
SELECT walhouse.resume('dw.customer');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
SELECT * FROM dw.proof;
SELECT walhouse.resume('dw.customer');

-- a dimension that is built again has its facts built again
CALL walhouse.build('dw.customer');
SELECT * FROM dw.models;
INSERT INTO shop.orders VALUES (6, 1, '2026-04-01', 1);
SELECT handfeed.commit('shop', '2026-01-18');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
CALL walhouse.build('dw.sales');
SELECT * FROM dw.models;
SELECT * FROM dw.proof;

-- a build that fails stops its model; the table's next change has it built again
UPDATE shop.orders SET amount = 0 WHERE id = 6;
SELECT handfeed.commit('shop', '2026-01-19');
SELECT handfeed.reach('shop');
SELECT walhouse.create_fact('dw.new', 'SELECT id, at, 100 / amount AS ratio FROM shop.orders', '{id}', 'at');
CALL walhouse.build('dw.new');
SELECT * FROM dw.models;
UPDATE shop.orders SET amount = 1 WHERE id = 6;
SELECT handfeed.commit('shop', '2026-01-19');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
CALL walhouse.build('dw.new');
SELECT * FROM dw.models;
SELECT * FROM dw.proof;

-- a table that must be copied again holds its models back, and the facts that need them
UPDATE walhouse.feed_table SET state = 'resync' WHERE mirror = 'shop.customers'::regclass;
UPDATE shop.orders SET amount = 2 WHERE id = 6;
SELECT handfeed.commit('shop', '2026-01-20');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
CALL walhouse.build('dw.customer');
UPDATE walhouse.feed_table SET state = 'ready' WHERE mirror = 'shop.customers'::regclass;
CALL walhouse.load('shop');
SELECT * FROM dw.models;
SELECT * FROM dw.proof;

-- a table that was copied again has its models built again: its log does not have what the copy brought
UPDATE walhouse.feed_table SET sync_lsn = '0/1D00' WHERE mirror = 'shop.customers'::regclass;
UPDATE shop.orders SET amount = 3 WHERE id = 6;
SELECT handfeed.commit('shop', '2026-01-20');
SELECT handfeed.commit('shop', '2026-01-20');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.models;
CALL walhouse.build('dw.customer');
CALL walhouse.build('dw.person');
CALL walhouse.build('dw.sales');
CALL walhouse.build('dw.ratio');
SELECT * FROM dw.models;
SELECT * FROM dw.proof;

-- of several stopped models that are due, each is tried: one that fails again does not keep the next from coming back
SELECT walhouse.create_dimension('dw.one', 'SELECT id, 100 / amount AS part FROM shop.orders', '{id}');
SELECT walhouse.create_dimension('dw.two', 'SELECT id, 100 / (amount - 1) AS part FROM shop.orders', '{id}');
UPDATE shop.orders SET amount = 4 WHERE amount IN (0, 1);
SELECT handfeed.commit('shop', '2026-02-20');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
CALL walhouse.build('dw.one');
CALL walhouse.build('dw.two');
UPDATE shop.orders SET amount = id - 2 WHERE id IN (2, 3);
SELECT handfeed.commit('shop', '2026-02-21');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT relation, state, error FROM dw.models WHERE relation::text IN ('dw.one', 'dw.two');
UPDATE shop.orders SET amount = 30 WHERE id = 3;
SELECT handfeed.commit('shop', '2026-02-22');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT relation, state, error, attempts FROM dw.models WHERE relation::text IN ('dw.one', 'dw.two');
UPDATE shop.orders SET amount = 20 WHERE id = 2;
SELECT handfeed.commit('shop', '2026-02-23');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT relation, state, error FROM dw.models WHERE relation::text IN ('dw.one', 'dw.two');
SELECT * FROM dw.proof;

-- what stopped and is to be built again says no longer why it stopped
UPDATE shop.orders SET amount = 0 WHERE id = 6;
SELECT handfeed.commit('shop', '2026-02-24'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT relation, state, error FROM dw.models WHERE relation::text = 'dw.ratio';
CALL walhouse.build('dw.person');
SELECT relation, state, error FROM dw.models WHERE relation::text = 'dw.ratio';
UPDATE shop.orders SET amount = 1 WHERE id = 6;
SELECT handfeed.commit('shop', '2026-02-25'), handfeed.reach('shop') \g /dev/null
CALL walhouse.build('dw.ratio');
SELECT relation, state, error FROM dw.models WHERE relation::text = 'dw.ratio';

-- who may, and where
CREATE ROLE regress_walhouse_stranger;
SET ROLE regress_walhouse_stranger;
CALL walhouse.load('shop');
CALL walhouse.build('dw.sales');
SELECT walhouse.resume('dw.sales');
RESET ROLE;
DROP ROLE regress_walhouse_stranger;
BEGIN;
CALL walhouse.build('dw.sales');
ROLLBACK;
CALL walhouse.load('nobody');
CALL walhouse.build('shop.orders');

\set ECHO none
DROP VIEW dw.models, dw.proof, dw.loads;
SELECT walhouse.drop_model(m) FROM unnest('{dw.sales,dw.ratio,dw.new,dw.one,dw.two,dw.customer,dw.person}'::text[]) m;
SELECT handfeed.remove('shop');
DROP SCHEMA dw, handfeed CASCADE;
