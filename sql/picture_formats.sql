-- Pictures of lineage: the shape in JSON, and what the other formats make of names that they could stumble over. What Graphviz and a browser say of them: 340_lineage_picture.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set hostile :srcdir '/test/lib/hostile_names.sql'
\set QUIET on
SET client_min_messages = warning;
\set ECHO none
\i :handfeed
\i :hostile
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, city text);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, ordered_at timestamptz, amount numeric);
SELECT handfeed.add('shop', 'shop.customers') \g /dev/null
SELECT handfeed.add('shop', 'shop.orders') \g /dev/null
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name, city FROM shop.customers', '{id}', scd => '{"*": 1}') \g /dev/null
SELECT walhouse.create_fact('dw.sales', 'SELECT id, customer_id, ordered_at, amount FROM shop.orders', '{id}', 'ordered_at', '{"customer_sk": "dw.customer(customer_id)"}') \g /dev/null
SELECT walhouse.create_rollup('dw.by_customer', 'dw.sales', '{customer_sk}', '{"total": "sum(amount)"}', 'none') \g /dev/null
SELECT walhouse.create_periodic_snapshot('dw.balance', 'dw.sales', '{customer_id}', '{"open": "balance(amount)"}', 'month') \g /dev/null
CREATE SCHEMA bi;
SELECT walhouse.track_lineage('bi') \g /dev/null
CREATE VIEW bi.revenue AS SELECT customer_city AS city, sum(amount) AS revenue FROM dw.sales_as_is WHERE amount > 0 GROUP BY customer_city;
COMMENT ON VIEW bi.revenue IS 'what comes in';
COMMENT ON COLUMN bi.revenue.city IS 'of the customer, now';
\set QUIET off

-- The shape: of a relation, all that is up and down from it. Definitions are as the version of PostgreSQL prints them.
SELECT g - '{relations,edges}'::text[] AS graph, jsonb_array_length(g -> 'relations') AS relations, jsonb_array_length(g -> 'edges') AS edges FROM walhouse.lineage_graph_json('bi.revenue', 'revenue') g;
SELECT r - 'definition' AS relation, r ->> 'definition' ~ '^ SELECT .* GROUP BY' AS is_defined FROM jsonb_array_elements(walhouse.lineage_graph_json('bi.revenue') -> 'relations') r WHERE r ->> 'id' = 'bi.revenue';
SELECT concat_ws('.', e ->> 'from', e ->> 'from_column') AS source, concat_ws('.', e ->> 'to', e ->> 'to_column') AS reader, e ->> 'kind' AS kind, e ->> 'subtype' AS subtype
FROM jsonb_array_elements(walhouse.lineage_graph_json('bi.revenue', 'revenue') -> 'edges') e;
SELECT r ->> 'id' AS id, r ->> 'stage' AS stage, r ->> 'kind' AS kind, r ->> 'feed' AS feed, r ->> 'is_stale' AS is_stale, jsonb_array_length(r -> 'columns') AS columns
FROM jsonb_array_elements(walhouse.lineage_graph_json('dw.sales') -> 'relations') r;
-- The edges are those of upstream() and downstream(), which tell change logs, too.
SELECT count(*) FROM (
    SELECT node, source_column FROM walhouse.upstream('dw.sales') WHERE node NOT LIKE 'shop\_log.%' AND source_column IS NOT NULL UNION SELECT node, reader_column FROM walhouse.downstream('dw.sales') WHERE reader_column IS NOT NULL
    EXCEPT
    SELECT r ->> 'id', c ->> 'name' FROM jsonb_array_elements(walhouse.lineage_graph_json('dw.sales') -> 'relations') r, jsonb_array_elements(r -> 'columns') c) missing;
SELECT count(*) FROM (
    SELECT r ->> 'id', c ->> 'name' FROM jsonb_array_elements(walhouse.lineage_graph_json('dw.sales') -> 'relations') r, jsonb_array_elements(r -> 'columns') c WHERE r ->> 'id' <> 'dw.sales'
    EXCEPT
    (SELECT node, source_column FROM walhouse.upstream('dw.sales') UNION SELECT node, reader_column FROM walhouse.downstream('dw.sales'))) needless;
-- Types at the source are told as PostgreSQL tells them, where this one knows them.
\set QUIET on
UPDATE walhouse.feed_column SET source_type = (ARRAY['pg_catalog.int4', 'pg_catalog._bpchar(7)', 'public.mood', 'pg_catalog.numeric(524294)'])[attnum] WHERE source_relid = 'shop.orders'::regclass;
\set QUIET off
SELECT c ->> 'name' AS name, c ->> 'type' AS type FROM jsonb_array_elements(walhouse.lineage_graph_json('shop.orders') -> 'relations') r, jsonb_array_elements(r -> 'columns') c WHERE r ->> 'stage' = 'source';
-- Without a root, all; a relation of which nothing is known, alone; a column that is none, nothing of it.
SELECT jsonb_array_length(g -> 'relations') > 10 AS many, g -> 'root' AS root, g @> '{"relations": [{"id": "shop: public.orders"}, {"id": "bi.revenue"}]}' AS has FROM walhouse.lineage_graph_json() g;
SELECT g -> 'relations' -> 0 ->> 'id' AS id, jsonb_array_length(g -> 'relations') AS relations, g -> 'edges' AS edges FROM walhouse.lineage_graph_json('pg_class') g;
SELECT g #> '{relations,0,columns}' AS columns FROM walhouse.lineage_graph_json('shop.orders', 'nothing') g;
SELECT walhouse.lineage_graph('png');
-- Change logs stand between sources and mirrors where something reads them.
CREATE VIEW bi.logged AS SELECT lsn, amount, tableoid FROM shop_log.orders;
SELECT walhouse.lineage_graph('mermaid', 'bi.logged', 'amount');
SELECT e ->> 'from' AS source, e ->> 'from_column' AS source_column, e ->> 'to' AS reader, e ->> 'to_column' AS reader_column, e ->> 'subtype' AS subtype
FROM jsonb_array_elements(walhouse.lineage_graph_json('shop_log.orders', 'amount') -> 'edges') e WHERE e ->> 'to' NOT LIKE 'dw%' AND e ->> 'to' <> 'bi.revenue';
SELECT r ->> 'id' AS id, r -> 'columns' AS columns FROM jsonb_array_elements(walhouse.lineage_graph_json('bi.logged', 'tableoid') -> 'relations') r WHERE r ->> 'stage' = 'log';
DROP VIEW bi.logged;
-- Everybody sees what upstream() shows to everybody, and no data.
CREATE ROLE picture_guest;
SELECT md5(walhouse.lineage_graph('html')) AS picture \gset
SET ROLE picture_guest;
SELECT md5(walhouse.lineage_graph('html')) = :'picture' AS same;
SELECT count(*) FROM bi.revenue;
SELECT walhouse.lineage_graph('dot', 'bi.revenue');
RESET ROLE;
DROP ROLE picture_guest;

-- Names.
\pset format unaligned
\pset tuples_only on
SELECT walhouse.lineage_graph('mermaid', '"a.b"."v</table>"');
SELECT walhouse.lineage_graph('dot', '"a.b"."v</table>"');
\pset format aligned
\pset tuples_only off
-- JSON has them as they are.
SELECT count(*) FROM (SELECT c ->> 'name' FROM walhouse.lineage_graph('json', '"a.b"."v</table>"') g, jsonb_array_elements(g::jsonb -> 'relations') r, jsonb_array_elements(r -> 'columns') c
    EXCEPT SELECT attname FROM pg_attribute WHERE attrelid = '"a.b"."v</table>"'::regclass) made_up;
-- In the page the data is one element, whatever is in it, and nothing else may run: the hash is that of the script.
CREATE FUNCTION pg_temp.page() RETURNS text LANGUAGE sql AS $$ SELECT walhouse.lineage_graph('html', '"a.b"."v</table>"') $$;
SELECT count(*) AS scripts FROM regexp_matches(pg_temp.page(), '</script', 'gi');
SELECT (regexp_match(pg_temp.page(), '<script type="application/json" id="data">(.*?)</script>'))[1]::jsonb = walhouse.lineage_graph_json('"a.b"."v</table>"') AS same;
SELECT name, encode(sha256(convert_to((regexp_match(pg_temp.page(), '<' || name || '>(.*?)</' || name || '>'))[1], 'UTF8')), 'base64') = (regexp_match(pg_temp.page(), name || '-src ''sha256-(.*?)'''))[1] AS is_hashed
FROM unnest('{script,style}'::text[]) name ORDER BY name;
SELECT pg_temp.page() ~ 'default-src ''none''' AS nothing_from_outside, pg_temp.page() ~ 'https?://(?!www\.w3\.org/2000/svg)' AS names_others, pg_temp.page() ~ '%(STYLE|SCRIPT)' AS left_over;
-- Databases of any encoding can hold it.
SELECT octet_length(p::text) = length(p::text) AS is_ascii, p::text !~ '[^\x01-\x7f]' AS has_no_others FROM walhouse.lineage_graph_page() p;

\set QUIET on
\set ECHO none
DROP SCHEMA bi, "a.b" CASCADE;
SELECT walhouse.drop_model(m) FROM unnest('{dw.balance,dw.by_customer,dw.sales,dw.customer}'::regclass[]) m \g /dev/null
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
