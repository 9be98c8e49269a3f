-- walhouse.alter_…: a model that is declared otherwise is built beside the one that is there, with what follows it, and takes its place: with
-- its true history, its name, its privileges, and the views of others. What was is kept until it is dropped.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT handfeed.make('shop', 'UTC');
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, city text, zip text);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer int, at date, amount int);
SELECT handfeed.add('shop', 'shop.customers');
SELECT handfeed.add('shop', 'shop.orders');
INSERT INTO shop.customers VALUES (1, 'Ann', 'Bonn', '53111'), (2, 'Bob', 'Ulm', '89073');
INSERT INTO shop.orders VALUES (1, 1, '2026-01-01', 10), (2, 2, '2026-01-02', 20);
SELECT handfeed.commit('shop', '2026-01-10');
UPDATE shop.customers SET city = 'Trier', zip = '54290' WHERE id = 1;
INSERT INTO shop.orders VALUES (3, 1, '2026-01-12', 30);
SELECT handfeed.commit('shop', '2026-01-11');
UPDATE shop.customers SET city = 'Mainz', zip = '55116' WHERE id = 1;
INSERT INTO shop.orders VALUES (4, 1, '2026-01-14', 40);
SELECT handfeed.commit('shop', '2026-01-13');
SELECT handfeed.reach('shop');
CREATE SCHEMA dw;
CREATE ROLE regress_alter_reader;
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name FROM shop.customers', '{id}');
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name FROM shop.customers', '{id}', outriggers => '{"customer_sk": "dw.customer(id)"}');
SELECT walhouse.create_fact('dw.sales', 'SELECT id, customer, at, amount FROM shop.orders', '{id}', 'at',
    '{"customer_sk": "dw.customer(customer)", "payer_sk": {"dimension": "dw.customer(customer)", "null": "error"}}');
SELECT walhouse.create_rollup('dw.daily', 'dw.sales', '{customer_sk}', '{"amount": "sum(amount)"}');
CREATE PROCEDURE dw.build() LANGUAGE plpgsql AS $$
DECLARE
	m regclass;
BEGIN
	FOR m IN SELECT x.relation FROM walhouse.model x JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'shop' AND x.state IN ('new', 'rebuild')
			ORDER BY x.kind <> 'dimension', x.kind <> 'fact', x.model_id LOOP
		CALL walhouse.build(m);
	END LOOP;
	CALL walhouse.load('shop');
END $$;
CREATE VIEW dw.models AS
    SELECT m.model, m.kind, m.state, m.paused IS NOT NULL AS is_paused, a.next, a.swapped IS NOT NULL AS swapped, a.error
    FROM walhouse.stat_model m LEFT JOIN walhouse.stat_alteration a ON a.model = m.model
    WHERE m.model::text LIKE 'dw.%' ORDER BY m.model::text;
CREATE VIEW dw.proof AS
    SELECT v.model, v.expected = v.found AS complete, v.missing, v.unexpected, v.different
    FROM walhouse.model m JOIN walhouse.feed f USING (feed_id), walhouse.verify(m.relation) v WHERE f.name = 'shop' ORDER BY v.model::text;
CALL dw.build();
GRANT USAGE ON SCHEMA dw TO regress_alter_reader;
GRANT SELECT ON dw.customer, dw.sales_as_was TO regress_alter_reader;
GRANT SELECT (id, amount) ON dw.sales TO regress_alter_reader WITH GRANT OPTION;
CREATE VIEW dw.report WITH (security_barrier) AS SELECT s.id, c.name, s.amount FROM dw.sales s JOIN dw.customer c USING (customer_sk);
CREATE VIEW dw.above AS SELECT name, sum(amount) FROM dw.report GROUP BY 1;
SELECT walhouse.spec('shop') AS before \gset

-- the plan, which finds errors and changes nothing
CREATE MATERIALIZED VIEW dw.sums AS SELECT sum(amount) FROM dw.sales;
CREATE TEMPORARY VIEW for_now AS SELECT name FROM dw.customer;
CREATE INDEX own ON dw.customer (name);
SELECT step, object, regexp_replace(detail, '[0-9].*B', '…') AS detail FROM walhouse.plan_alter('dw.customer', '{"query": "SELECT id, name, city FROM shop.customers"}');
\set VERBOSITY terse
SELECT step, object FROM walhouse.plan_alter('dw.customer', '{"query": "SELECT id, name, country FROM shop.customers"}');
\set VERBOSITY default
SELECT count(*) FROM walhouse.alteration a JOIN walhouse.model m USING (model_id) WHERE m.relation::text LIKE 'dw.%';
DROP MATERIALIZED VIEW dw.sums;

-- a column with its true history; the change of a type; what was said before goes on until the swap
SELECT walhouse.alter_dimension('dw.customer', query => 'SELECT id, name, city, zip::int AS zip FROM shop.customers', scd => '{"*": 2, "zip": 1}');
SELECT * FROM dw.models;
SELECT walhouse.spec('shop') = :'before'::jsonb AS not_yet;
SELECT walhouse.alter_fact('dw.sales', partition_by => 'year');
INSERT INTO shop.orders VALUES (5, 2, '2026-01-15', 50);
SELECT handfeed.commit('shop', '2026-01-15');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.above ORDER BY 1;
CALL dw.build();
SELECT * FROM dw.models;
DROP VIEW for_now;
SELECT id, name, city, zip, valid_from, is_current FROM dw.customer WHERE customer_sk > 0 ORDER BY id, valid_from;
SELECT pg_typeof(zip) FROM dw.customer LIMIT 1;
SELECT s.id, c.city, s.amount FROM dw.sales s JOIN dw.customer c USING (customer_sk) ORDER BY 1;
SELECT * FROM dw.above ORDER BY 1;
SELECT sum(d.amount), c.city FROM dw.daily d JOIN dw.customer c USING (customer_sk) GROUP BY 2 ORDER BY 1;
SELECT id, name, customer_name FROM dw.person_as_is WHERE person_sk > 0 ORDER BY 1;
SELECT * FROM dw.proof;

-- privileges went along, and the options of views
SELECT has_table_privilege('regress_alter_reader', 'dw.customer', 'SELECT') AS customer, has_table_privilege('regress_alter_reader', 'dw.sales_as_was', 'SELECT') AS was,
    has_column_privilege('regress_alter_reader', 'dw.sales', 'amount', 'SELECT WITH GRANT OPTION') AS amount, has_column_privilege('regress_alter_reader', 'dw.sales', 'at', 'SELECT') AS at;
SELECT reloptions FROM pg_class WHERE oid = 'dw.report'::regclass;

-- all goes on; the old ones stand still until they are dropped
UPDATE shop.customers SET city = 'Köln' WHERE id = 2;
INSERT INTO shop.orders VALUES (6, 2, '2026-02-16', 60);
SELECT handfeed.commit('shop', '2026-02-16');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT max(id) FROM dw.sales;
SELECT max(id) FROM dw.sales__old;
SELECT severity, code, object, remedy FROM walhouse.doctor('0') WHERE feed = 'shop' AND object LIKE 'dw.%' ORDER BY object;
SELECT walhouse.alter_rollup('dw.daily', group_by => '{}');
SELECT walhouse.drop_model(m) FROM unnest('{dw.daily__old,dw.sales__old,dw.customer__old}'::text[]) m;

-- a rollup alone; a fact with another grid and other dimensions; what follows is altered with it, and no more
SELECT walhouse.alter_rollup('dw.daily', group_by => '{}', measures => '{"amount": "sum(amount)", "n": "count(*)"}');
SELECT walhouse.cancel_alter('dw.daily');
SELECT * FROM dw.models;
SELECT walhouse.alter_rollup('dw.daily', group_by => '{}', measures => '{"amount": "sum(amount)", "n": "count(*)"}');
CALL dw.build();
SELECT period_start, amount, n FROM dw.daily ORDER BY 1;
SELECT walhouse.drop_model('dw.daily__old');
SELECT walhouse.alter_fact('dw.sales', query => 'SELECT id, customer, at, amount * 2 AS amount, amount AS once FROM shop.orders', partition_by => 'year',
    dimensions => '{"customer_sk": "dw.customer(customer)", "client_sk": "dw.customer(customer)"}');
CALL dw.build();
SELECT id, amount, once, client_sk > 0 AS has_client FROM dw.sales ORDER BY 1;
SELECT period_start, amount, n FROM dw.daily ORDER BY 1;
SELECT relid FROM pg_partition_tree('dw.sales') ORDER BY relid::text;
SELECT * FROM dw.proof;
SELECT * FROM dw.above ORDER BY 1;

-- by the specification: several at once; then all is as it says
SELECT walhouse.drop_model(m) FROM unnest('{dw.daily__old,dw.sales__old}'::text[]) m;
SELECT jsonb_set(jsonb_set(walhouse.spec('shop'), '{models,0,arguments,query}', '"SELECT id, name, city FROM shop.customers"'), '{models,0,arguments,scd}', '{"*": 1}') AS wish \gset
SELECT action, model FROM walhouse.apply_spec(:'wish', dry_run => true);
SELECT * FROM dw.models;
SELECT action, model, left(statement, 30) FROM walhouse.apply_spec(:'wish');
SELECT action, model FROM walhouse.apply_spec(:'wish');
CALL dw.build();
SELECT action, model FROM walhouse.apply_spec(:'wish');
SELECT id, name, city FROM dw.customer WHERE customer_sk > 0 ORDER BY 1;
SELECT * FROM dw.proof;
SELECT walhouse.drop_model(m) FROM unnest('{dw.daily__old,dw.sales__old,dw.customer__old}'::text[]) m;

-- a view of others that needs what is not there any more: nothing is swapped, and it is told; without it, it is
SELECT walhouse.drop_model('dw.person');
SELECT walhouse.alter_dimension('dw.customer', query => 'SELECT id, city FROM shop.customers');
CALL dw.build();
SELECT * FROM dw.models;
SELECT severity, code, object, problem FROM walhouse.doctor('0') WHERE code = 'alter_blocked';
DROP VIEW dw.report CASCADE;
UPDATE walhouse.alteration SET next_try = now();
CALL walhouse.load('shop');
SELECT * FROM dw.models;
SELECT id, city FROM dw.customer WHERE customer_sk > 0 ORDER BY 1;
SELECT walhouse.drop_model(m) FROM unnest('{dw.daily__old,dw.sales__old,dw.customer__old}'::text[]) m;

-- what there is to refuse
\set VERBOSITY terse
SELECT walhouse.create_date_dimension('dw.day', '2026-01-01', '2026-01-31');
SELECT walhouse.alter_model('dw.day', '{"to_date": "2026-12-31"}');
SELECT walhouse.alter_model('dw.sales', '{"colour": "red"}');
SELECT walhouse.alter_fact('dw.sales', event_time => 'amount');
SELECT walhouse.cancel_alter('dw.sales');
SET ROLE regress_alter_reader;
SELECT walhouse.alter_dimension('dw.customer', scd => '{"*": 1}');
RESET ROLE;

\set ECHO none
\o /dev/null
DROP OWNED BY regress_alter_reader;
DROP ROLE regress_alter_reader;
DROP VIEW dw.models, dw.proof;
SELECT walhouse.drop_model(m) FROM unnest('{dw.daily,dw.sales,dw.customer,dw.day}'::text[]) m;
SELECT handfeed.remove('shop');
DROP SCHEMA dw, handfeed CASCADE;
