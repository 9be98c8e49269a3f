-- Lineage that is kept: of models, from the source's columns on, and of schemas that are tracked; what keeps it current; and what is asked of it.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, city text, since date);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, ordered_at timestamptz, status text, amount numeric(12,2), channel text, paid boolean);
SELECT handfeed.add('shop', 'shop.customers') \g /dev/null
SELECT handfeed.add('shop', 'shop.orders') \g /dev/null
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.day', '2026-01-01', '2026-12-31') \g /dev/null
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, upper(name) AS name, city, since FROM shop.customers WHERE id > 0', '{id}', '{"*": 2, "name": 1}', effective => 'since') \g /dev/null
SELECT walhouse.create_junk_dimension('dw.kind', '{status text,channel text}') \g /dev/null
SELECT walhouse.create_mini_dimension('dw.band', 'SELECT id, city FROM shop.customers', '{id}') \g /dev/null
SELECT walhouse.create_fact('dw.sales', 'SELECT o.id, o.customer_id, o.ordered_at, o.amount, o.status, o.channel, o.paid, c.city FROM shop.orders o LEFT JOIN shop.customers c ON c.id = o.customer_id', '{id}', 'ordered_at',
	'{"customer_sk": "dw.customer(customer_id)", "day_sk": "dw.day(ordered_at)", "kind_sk": "dw.kind(status,channel)", "band_sk": "dw.band(customer_id)"}', milestones => '{"paid_at": "paid"}', lags => '{"to_pay": ["ordered_at", "paid_at"]}') \g /dev/null
SELECT walhouse.create_rollup('dw.by_city', 'dw.sales', '{city,customer_sk}', '{"n": "count(*)", "total": "sum(amount)"}', 'month') \g /dev/null
SELECT walhouse.create_periodic_snapshot('dw.balance', 'dw.sales', '{city}', '{"open": "balance(amount)", "newest": "last(status)"}', 'month') \g /dev/null
CREATE SCHEMA kept;
-- edges: those of a relation, a line for each column, * for its rows.
CREATE FUNCTION kept.edges(relation regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat(coalesce(nullif("column", ''), '*'), ': ', string_agg(concat(source, '.' || nullif(source_column, ''), ' ', lower(subtype)), ', ' ORDER BY source::text, source_column, subtype))
	FROM walhouse.lineage_edge e WHERE e.relation = edges.relation GROUP BY "column" ORDER BY "column" = '', "column" $$;
\set QUIET off
\pset tuples_only on

-- Models: what their queries give, and what their kinds add.
SELECT kept.edges('dw.customer');
SELECT kept.edges('dw.sales');
SELECT kept.edges('dw.kind');
SELECT kept.edges('dw.band');
SELECT kept.edges('dw.by_city');
SELECT kept.edges('dw.balance');
SELECT count(*) FROM walhouse.lineage_edge WHERE relation = 'dw.sales_as_was'::regclass;
-- Asked for a model, column_lineage() says the same.
SELECT coalesce("column", '*') || ': ' || concat(source, '.' || source_column, ' ', lower(subtype)) FROM walhouse.column_lineage('dw.by_city'::regclass);
SELECT count(*) FROM walhouse.lineage_relation r JOIN walhouse.model m USING (relation) WHERE NOT r.is_stale;

-- A tracked schema, by those who own it.
\set QUIET on
CREATE SCHEMA bi;
CREATE VIEW bi.cities AS SELECT city, sum(total) AS total FROM dw.by_city GROUP BY city;
CREATE ROLE lineage_guest;
GRANT USAGE ON SCHEMA bi, kept TO lineage_guest;
SET ROLE lineage_guest;
\set QUIET off
SELECT walhouse.track_lineage('bi');
SELECT walhouse.untrack_lineage('bi');
SELECT walhouse.refresh_lineage();
\set QUIET on
RESET ROLE;
\set QUIET off
SELECT walhouse.track_lineage('bi');
\set QUIET on
SET ROLE lineage_guest;
\set QUIET off
SELECT count(*) FROM walhouse.upstream('bi.cities');
\set QUIET on
RESET ROLE;
\set QUIET off
SELECT kept.edges('bi.cities');
CREATE VIEW bi.top AS SELECT city FROM bi.cities WHERE total > 100 ORDER BY total DESC LIMIT 3;
CREATE VIEW bi.names AS SELECT customer_name AS name, amount FROM dw.sales_as_was WHERE day_is_weekend;
CREATE MATERIALIZED VIEW bi.stored AS SELECT name, count(*) AS n FROM bi.names GROUP BY name;
\pset tuples_only off

-- All the way, up and down.
SELECT distance, node, source_column, subtype FROM walhouse.upstream('bi.top', 'city') WHERE kind = 'DIRECT';
SELECT distance, node, source_column, subtype FROM walhouse.upstream('bi.stored', 'name');
SELECT distance, node, source, source_column, kind, subtype FROM walhouse.upstream('dw.sales', 'amount');
SELECT distance, node, reader, reader_column, kind, subtype FROM walhouse.source_downstream('shop', 'orders', 'amount');
SELECT distance, node, reader_column, subtype FROM walhouse.source_downstream('shop', 'public.customers', 'name');
SELECT distance, node, reader_column, subtype FROM walhouse.downstream('dw.by_city', 'total');
SELECT string_agg(DISTINCT node COLLATE "C", ' ') AS nodes FROM walhouse.downstream('dw.sales');
SELECT count(*) FROM walhouse.source_downstream('shop', 'orders', 'nothing');
-- What a change of the source would do.
SELECT * FROM walhouse.impact('ALTER TABLE public.orders DROP COLUMN amount, ADD COLUMN x int, ALTER status SET NOT NULL');
SELECT action, object, effect, distance, node, reader_column FROM walhouse.impact('ALTER TABLE orders ALTER amount TYPE bigint');
SELECT action, object, effect, distance, node, reader_column FROM walhouse.impact('ALTER TABLE orders ALTER id TYPE bigint, ALTER status TYPE varchar(10), ALTER customer_id TYPE no_such_type');
SELECT action, object, effect, distance, node FROM walhouse.impact('ALTER TABLE customers DROP id; DROP TABLE customers') WHERE distance > 3;
SELECT action, object, effect, distance, node, reader_column FROM walhouse.impact('ALTER TABLE orders RENAME amount TO x');
-- And of a relation here.
SELECT * FROM walhouse.impact('ALTER TABLE dw.by_city DROP COLUMN total');
SET search_path = bi;
SELECT * FROM walhouse.impact('DROP VIEW cities');
RESET search_path;
SELECT * FROM walhouse.impact('ALTER TABLE no_such_table DROP COLUMN x');
SELECT * FROM walhouse.impact('DELETE FROM orders');
SELECT * FROM walhouse.impact('DROP ROLE x');
SELECT * FROM walhouse.impact('ALTER TABLE');

-- What keeps it current: views that change, columns that are renamed, what they read.
\pset tuples_only on
CREATE OR REPLACE VIEW bi.cities AS SELECT city, max(total) AS total, 1 AS one FROM dw.by_city GROUP BY city HAVING count(*) > 1;
SELECT kept.edges('bi.cities');
ALTER VIEW bi.cities RENAME COLUMN total TO most;
SELECT kept.edges('bi.top');
ALTER VIEW bi.cities RENAME TO towns;
SELECT kept.edges('bi.top');
BEGIN;
SET LOCAL walhouse.allow_writes = on;
ALTER TABLE shop.customers RENAME COLUMN city TO town;
SELECT kept.edges('dw.customer');
ROLLBACK;
SELECT kept.edges('dw.band_history');
-- Policies, functions with trees for bodies, generated columns.
\set QUIET on
CREATE TABLE kept.t (a int, b int, c int);
CREATE TABLE kept.u (x int);
CREATE FUNCTION kept.f(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT max(x) FROM kept.u WHERE x > i; END;
CREATE FUNCTION kept.g(i int) RETURNS int LANGUAGE sql RETURN kept.f(i);
CREATE FUNCTION kept.h(i int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN i; END';
CREATE VIEW bi.v AS SELECT a, kept.g(b) AS g, kept.h(c) AS h FROM kept.t;
\set QUIET off
SELECT kept.edges('bi.v');
SELECT opaque FROM walhouse.lineage_relation WHERE relation = 'bi.v'::regclass;
ALTER TABLE kept.u RENAME x TO y;
SELECT kept.edges('bi.v');
CREATE OR REPLACE FUNCTION kept.f(i int) RETURNS int LANGUAGE sql RETURN 1;
SELECT kept.edges('bi.v');
CREATE POLICY p ON kept.t USING (c > (SELECT min(y) FROM kept.u));
ALTER TABLE kept.t ENABLE ROW LEVEL SECURITY;
SELECT kept.edges('bi.v');
ALTER TABLE kept.u RENAME y TO z;
SELECT kept.edges('bi.v');
DROP POLICY p ON kept.t;
SELECT kept.edges('bi.v');
CREATE TABLE bi.made (a int, b int GENERATED ALWAYS AS (a + 1) STORED);
SELECT kept.edges('bi.made');
ALTER TABLE bi.made DROP COLUMN b;
SELECT kept.edges('bi.made');
-- Out of the schema, into it, and gone.
ALTER VIEW bi.v SET SCHEMA kept;
SELECT count(*) FROM walhouse.lineage_edge WHERE relation = 'kept.v'::regclass;
ALTER VIEW kept.v SET SCHEMA bi;
SELECT kept.edges('bi.v');
SELECT 'bi.v'::regclass::oid AS v \gset
DROP VIEW bi.v;
SELECT count(*) FROM walhouse.lineage_edge WHERE relation = :v;
BEGIN;
DROP TABLE dw.by_city, dw.by_city_pending CASCADE;
SELECT count(*) FROM walhouse.lineage_relation WHERE relation::text IN ('bi.towns', 'bi.top', 'dw.by_city');
ROLLBACK;

-- Kept hop by hop and joined, lineage is what a walk through all views at once finds.
\set QUIET on
CREATE VIEW bi.d1 AS SELECT o.id, c.name || o.status AS x, coalesce(o.amount, 1) AS y, o.ordered_at FROM shop.orders o LEFT JOIN shop.customers c ON c.id = o.customer_id WHERE o.paid;
CREATE VIEW bi.d2 AS SELECT x, sum(y) AS s, max(id) FILTER (WHERE y > 1) AS m, (SELECT count(*) FROM bi.d1 i WHERE i.y > d.id) AS n FROM bi.d1 d GROUP BY x, id HAVING min(ordered_at) IS NOT NULL;
CREATE VIEW bi.d3 AS SELECT a.x, b.s + a.m AS z, rank() OVER (PARTITION BY a.n ORDER BY b.x) AS r FROM bi.d2 a FULL JOIN bi.d2 b ON a.s = b.s UNION SELECT name, id, 1 FROM shop.customers;
CREATE VIEW bi.d4 AS SELECT CASE WHEN EXISTS (SELECT FROM bi.d3 e WHERE e.r > f.r) THEN x END AS c, ARRAY(SELECT z FROM bi.d3 ORDER BY x) AS l FROM bi.d3 f WHERE x IN (SELECT x FROM bi.d2 WHERE m > 3) ORDER BY z LIMIT 3;
CREATE VIEW bi.d5 AS WITH RECURSIVE t AS (SELECT c, l FROM bi.d4 UNION ALL SELECT t.c || d1.x, t.l FROM t JOIN bi.d1 ON t.c = d1.x) SELECT t.*, d2.n FROM t, LATERAL (SELECT n FROM bi.d2 WHERE d2.x = t.c LIMIT 1) d2;
CREATE FUNCTION kept.joined(v regclass) RETURNS TABLE (name text, source regclass, source_column text, subtype text) LANGUAGE sql AS $$
	SELECT a.attname, p.relation, p.column_name, p.subtype
	FROM (SELECT attname::text FROM pg_attribute WHERE attrelid = v AND attnum > 0 UNION ALL SELECT '') a,
		LATERAL walhouse.lineage_path(false, ARRAY[v], ARRAY[a.attname], ARRAY[CASE WHEN a.attname = '' THEN 'ROWS' ELSE 'IDENTITY' END], 0) p
	WHERE NOT EXISTS (SELECT FROM walhouse.lineage_edge e WHERE e.relation = p.relation) AND p.column_name <> '' $$;
\set QUIET off
SELECT v, count(*) AS paths, count(*) FILTER (WHERE only_one) AS different
FROM unnest('{bi.d1,bi.d2,bi.d3,bi.d4,bi.d5}'::regclass[]) v, LATERAL (SELECT j.source IS NULL OR l.source IS NULL AS only_one FROM kept.joined(v) j FULL JOIN
	(SELECT coalesce("column", '') AS name, source, source_column, subtype FROM walhouse.column_lineage(v) WHERE source_column IS NOT NULL) l USING (name, source, source_column, subtype)) x
GROUP BY v ORDER BY v::text;

-- What was not followed is seen, and can be read anew.
\set QUIET on
SET session_replication_role = replica;
CREATE OR REPLACE VIEW bi.top AS SELECT city FROM bi.towns WHERE most > 200;
CREATE VIEW bi.unseen AS SELECT * FROM bi.top;
ALTER VIEW bi.names RENAME COLUMN amount TO money;
RESET session_replication_role;
\set QUIET off
SELECT relation, reason FROM walhouse.stat_lineage WHERE is_stale ORDER BY relation::text;
SELECT walhouse.refresh_lineage() > 15;
SELECT relation, reason FROM walhouse.stat_lineage WHERE is_stale;
SELECT kept.edges('bi.unseen');
-- DDL goes on where lineage cannot be kept; what is known of before stays, marked.
BEGIN;
ALTER TABLE walhouse.lineage_edge ADD CONSTRAINT broken CHECK (subtype <> 'AGGREGATION') NOT VALID;
CREATE OR REPLACE VIEW bi.towns AS SELECT city, max(total) AS most, 2 AS one FROM dw.by_city GROUP BY city;
SELECT relation, reason FROM walhouse.stat_lineage WHERE is_stale;
SELECT kept.edges('bi.towns');
ROLLBACK;
-- A schema is tracked under whatever name it has.
ALTER SCHEMA bi RENAME TO "B I";
CREATE VIEW "B I".renamed AS SELECT city FROM "B I".towns;
SELECT kept.edges('"B I".renamed');
DROP VIEW "B I".renamed;
ALTER SCHEMA "B I" RENAME TO bi;
SELECT relation, reason FROM walhouse.stat_lineage WHERE is_stale;
SELECT walhouse.untrack_lineage('bi');
SELECT count(*) FROM walhouse.lineage_relation WHERE relation::text LIKE 'bi.%';
SELECT count(*) FROM walhouse.lineage_relation WHERE relation::text LIKE 'dw.%' AND NOT is_stale;

\set QUIET on
\pset tuples_only off
DROP SCHEMA bi, kept CASCADE;
SELECT walhouse.drop_model(m) FROM unnest('{dw.balance,dw.by_city,dw.sales,dw.band,dw.kind,dw.customer,dw.day}'::regclass[]) m \g /dev/null
\set QUIET off
SELECT count(*) FROM walhouse.lineage_edge;
SELECT count(*) FROM walhouse.lineage_relation;
SELECT count(*) FROM walhouse.lineage_schema;
\set QUIET on
DROP SCHEMA dw CASCADE;
DROP ROLE lineage_guest;
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA handfeed CASCADE;
\set QUIET off
