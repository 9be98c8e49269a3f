-- Versions of a model's definition: one more when its query or a function that it calls is replaced, and none for anything else; each load says with which it ran.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.customer (id int PRIMARY KEY, name text, city text);
CREATE TABLE shop.sale (id int PRIMARY KEY, customer int, at timestamptz, amount numeric);
SELECT handfeed.add('shop', t) FROM unnest('{shop.customer,shop.sale}'::regclass[]) t \g /dev/null
CREATE SCHEMA dw;
CREATE FUNCTION dw.inner_name(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper($1);
CREATE FUNCTION dw.clean(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN dw.inner_name($1);
CREATE FUNCTION dw.other(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
CREATE SCHEMA "The Tools";
CREATE FUNCTION "The Tools"."Trim, ""all"""(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT trim($1)';
CREATE FUNCTION "The Tools".fold(text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, "The Tools" AS $$ SELECT "Trim, ""all""" (lower($1)) $$;
CREATE FUNCTION dw.round_about(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN "The Tools" . Fold($1); END $$;
CREATE FUNCTION dw.idle(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN $1;
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, dw.clean(name) AS name, dw.other(city) AS city FROM shop.customer', '{id}', '{"*": 1}') \g /dev/null
SELECT walhouse.create_fact('dw.sale', 'SELECT id, customer, at, amount FROM shop.sale', '{id}', 'at', '{"customer_sk": "dw.customer(customer)"}') \g /dev/null
SELECT walhouse.create_rollup('dw.by_month', 'dw.sale', '{}', '{"total": "sum(amount)"}', 'month') \g /dev/null
CREATE VIEW dw.versions AS SELECT m.relation, d.definition, d.definition = m.definition AS is_last, d.query ~ 'upper\(' AS with_upper FROM walhouse.model m JOIN walhouse.model_definition d USING (model_id)
    WHERE m.relation::text LIKE 'dw.%';
CREATE PROCEDURE dw.take(city text) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shop.customer VALUES (1, 'Ada', city) ON CONFLICT (id) DO UPDATE SET city = excluded.city;
    PERFORM handfeed.commit('shop', (SELECT COALESCE(max(commit_time), '2026-01-01') + interval '1 h' FROM shop_log.txn));
    PERFORM handfeed.reach('shop');
    COMMIT;
    CALL walhouse.load('shop');
END $$;
\set QUIET off
-- Names in bodies that are text.
SELECT p.proname, n::regprocedure AS named FROM pg_proc p, walhouse.named_functions(p.oid) n WHERE p.pronamespace IN ('dw'::regnamespace, '"The Tools"'::regnamespace) ORDER BY 1, n::regprocedure::text COLLATE "C";
-- With the declaration.
SELECT * FROM dw.versions ORDER BY relation::text;
-- What does not alter the definition.
CALL walhouse.build('dw.customer'); CALL walhouse.build('dw.sale'); CALL walhouse.build('dw.by_month');
CALL dw.take('Ulm');
CREATE OR REPLACE FUNCTION dw.idle(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN lower($1);
CREATE OR REPLACE FUNCTION dw.other(text) RETURNS text LANGUAGE plpgsql IMMUTABLE COST 7 AS $$ BEGIN RETURN $1; END $$;
CREATE INDEX ON dw.customer (city);
ALTER TABLE dw.customer ADD COLUMN own int;
COMMENT ON TABLE dw.customer IS 'hers';
ALTER TABLE dw.sale RENAME TO sales;
CALL dw.take('Kiel');
SELECT walhouse.refresh_lineage() > 0 AS refreshed;
SELECT count(*), max(definition) FROM dw.versions;
-- What does: a function, one that a function calls, the query itself.
CREATE OR REPLACE FUNCTION dw.other(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN lower($1); END $$;
CALL dw.take('Jena');
CREATE OR REPLACE FUNCTION dw.inner_name(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN lower($1);
CALL dw.take('Rome');
SET walhouse.allow_writes = on;
SELECT query AS customer FROM walhouse.model WHERE relation = 'dw.customer'::regclass \gset
CREATE OR REPLACE VIEW :customer AS SELECT id, dw.clean(name) AS name, upper(city) AS city FROM shop.customer;
RESET walhouse.allow_writes;
CALL dw.take('Oslo');
CALL dw.take('Bonn');
SELECT * FROM dw.versions WHERE relation = 'dw.customer'::regclass ORDER BY definition;
SELECT m.relation, string_agg(x.definition::text, ' ' ORDER BY x.load_id) AS loads FROM walhouse.load_model x JOIN walhouse.model m USING (model_id) WHERE m.relation::text LIKE 'dw.%' GROUP BY 1 ORDER BY 1::text;
SELECT details ->> 'definition' AS definition FROM walhouse.explain_row('dw.customer', '{"id": 1}') WHERE item = 'load';
-- What bodies that are text call, by whatever way; what has the name and is another function does not count.
SELECT walhouse.create_dimension('dw.tool', 'SELECT id, dw.round_about(name) AS name FROM shop.customer', '{id}', '{"*": 1}') \g /dev/null
CREATE FUNCTION dw.fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
SELECT max(definition) FROM dw.versions WHERE relation = 'dw.tool'::regclass;
CREATE OR REPLACE FUNCTION "The Tools"."Trim, ""all"""(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ltrim($1)';
SELECT max(definition) FROM dw.versions WHERE relation = 'dw.tool'::regclass;
CREATE OR REPLACE FUNCTION "The Tools".fold(text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, "The Tools" AS $$ SELECT "Trim, ""all""" ($1) $$;
SELECT max(definition) FROM dw.versions WHERE relation = 'dw.tool'::regclass;
SELECT walhouse.drop_model('dw.tool');

-- Back again is another version; what was changed with event triggers switched off is seen when lineage is read anew.
SET session_replication_role = replica;
CREATE OR REPLACE FUNCTION dw.inner_name(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper($1);
RESET session_replication_role;
SELECT max(definition) FROM dw.versions;
SELECT walhouse.refresh_lineage() > 0 AS refreshed;
SELECT max(definition) FROM dw.versions;

-- A build that fails is a load, too.
SELECT walhouse.create_dimension('dw.broken', 'SELECT id, city::int AS city FROM shop.customer', '{id}', '{"*": 1}') \g /dev/null
CALL walhouse.build('dw.broken');
SELECT l.kind, l.from_lsn = l.to_lsn AS nothing_read, l.transactions, l.duration_ms > 0 AS took_time, l.error, (SELECT count(*) FROM walhouse.load_model x WHERE x.load_id = l.load_id) AS models
FROM walhouse.load l WHERE l.error IS NOT NULL;
SELECT state, error FROM walhouse.model WHERE relation = 'dw.broken'::regclass;
CALL dw.take('7');
CALL walhouse.load('shop');
SELECT state, error FROM walhouse.model WHERE relation = 'dw.broken'::regclass;

\set QUIET on
SELECT walhouse.drop_model(m) FROM unnest('{dw.broken,dw.by_month,dw.sales,dw.customer}'::regclass[]) m \g /dev/null
\set QUIET off
SELECT count(*) AS left_behind FROM walhouse.model_definition WHERE model_id NOT IN (SELECT model_id FROM walhouse.model);
SELECT handfeed.remove('shop');
SET client_min_messages = error;
DROP SCHEMA dw, "The Tools", handfeed CASCADE;
