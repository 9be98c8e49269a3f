-- What Relation says beyond columns: user-defined types, defaults, leaf and root; and when these make a new definition.
\pset format unaligned
SET client_min_messages = warning;
CREATE SCHEMA output_definitions;
SET search_path = output_definitions;
SELECT slot_name FROM pg_create_logical_replication_slot('output_definitions', 'walhouse_output');
\set get '(SELECT data::jsonb AS j FROM pg_logical_slot_get_changes($$output_definitions$$, NULL, NULL, $$format$$, $$json$$)) s'
\set types 'SELECT j -> $$id$$ AS id, j ->> $$table$$ AS "table", t ->> $$kind$$ AS kind, t ->> $$name$$ AS name, t -> $$labels$$ AS labels, (SELECT string_agg(concat_ws($$ $$, a ->> $$attnum$$, a ->> $$name$$, a ->> $$type$$), $$; $$ ORDER BY (a ->> $$attnum$$)::integer) FROM jsonb_array_elements(t -> $$attributes$$) a) AS attributes, (t ->> $$base_type_oid$$)::regtype AS base, t -> $$not_null$$ AS not_null, (t ->> $$subtype_oid$$)::regtype AS subtype, (t ->> $$element_type_oid$$)::regtype AS element FROM ' :get ' CROSS JOIN LATERAL jsonb_array_elements(j -> $$types$$) t WHERE j ->> $$kind$$ = $$relation$$ ORDER BY (j -> $$id$$)::integer, t ->> $$name$$ COLLATE "C";'
\set ids 'SELECT j -> $$id$$ AS id, concat_ws($$.$$, j ->> $$schema$$, j ->> $$table$$) AS "table", j -> $$after$$ AS after, (j -> $$root$$) - $$relid$$ AS root, (j -> $$leaf$$) - $$relid$$ AS leaf FROM ' :get ' WHERE j ->> $$kind$$ IN ($$relation$$, $$insert$$);'

-- types, and those that they are made of, each once
CREATE TYPE mood AS ENUM ('sad', 'glad');
ALTER TYPE mood ADD VALUE 'so so' BEFORE 'glad';
CREATE DOMAIN price AS numeric(10,2) NOT NULL;
CREATE DOMAIN low AS price CHECK (VALUE < 10);
CREATE TYPE part AS (mood mood, moods mood[], price low, gone text, label varchar(7));
ALTER TYPE part DROP ATTRIBUTE gone;
CREATE TYPE span AS RANGE (subtype = price);
CREATE TABLE own (id integer PRIMARY KEY);
CREATE TABLE t (id integer PRIMARY KEY, part part, parts part[], span span, spans span_multirange, own own, n int4range, texts text[]);
INSERT INTO t (id) VALUES (1);
:types

-- what of a type makes a new definition, and what does not
CREATE TABLE u (id integer PRIMARY KEY, moods mood[], part part, price low DEFAULT 5);
INSERT INTO u (id) VALUES (1);
ALTER TYPE mood ADD VALUE 'over the moon';
INSERT INTO u (id) VALUES (2);
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';
INSERT INTO u (id) VALUES (3);
ALTER TYPE part ADD ATTRIBUTE more integer;
INSERT INTO u (id) VALUES (4);
ALTER TYPE part RENAME ATTRIBUTE label TO tag;
INSERT INTO u (id) VALUES (5);
ALTER DOMAIN price DROP NOT NULL;
INSERT INTO u (id) VALUES (6);
ALTER DOMAIN price RENAME TO worth;
INSERT INTO u (id) VALUES (7);
ALTER DOMAIN worth SET DEFAULT 5;
CREATE TYPE unrelated AS ENUM ('a');
ALTER TYPE unrelated ADD VALUE 'b';
CREATE TABLE also_unrelated (LIKE u);
INSERT INTO u (id) VALUES (8);
:types

-- a definition that comes back has its old id
BEGIN;
INSERT INTO u (id) VALUES (10);
SAVEPOINT a;
ALTER TABLE u RENAME COLUMN price TO cost;
INSERT INTO u (id) VALUES (11);
ROLLBACK TO a;
INSERT INTO u (id) VALUES (12);
ALTER TABLE u RENAME COLUMN price TO cost;
INSERT INTO u (id) VALUES (13);
COMMIT;
ALTER TABLE u RENAME COLUMN cost TO price;
INSERT INTO u (id) VALUES (14);
:ids

-- defaults
CREATE TABLE d (id serial PRIMARY KEY, own integer GENERATED ALWAYS AS IDENTITY, made integer GENERATED ALWAYS AS (7) STORED,
	mood mood DEFAULT 'blue', words text DEFAULT 'a ''b''', worth worth, n numeric(5,1) DEFAULT 1.5 NOT NULL, at timestamptz DEFAULT '2024-01-01 00:00+00');
INSERT INTO d DEFAULT VALUES;
ALTER TABLE d ALTER words DROP DEFAULT;
INSERT INTO d DEFAULT VALUES;
SELECT j -> 'id' AS id, c ->> 'name' AS name, c ->> 'default' AS "default"
	FROM :get CROSS JOIN LATERAL jsonb_array_elements(j -> 'columns') c
	WHERE j ->> 'kind' = 'relation' ORDER BY (j -> 'id')::integer, (c -> 'attnum')::integer;

-- root and leaf
CREATE TABLE root (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE middle (v text, id integer NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE leaf (id integer NOT NULL, v text);
ALTER TABLE middle ATTACH PARTITION leaf FOR VALUES FROM (0) TO (10);
INSERT INTO leaf VALUES (1);
INSERT INTO middle VALUES ('x', 2);
ALTER TABLE root ATTACH PARTITION middle FOR VALUES FROM (0) TO (10);
INSERT INTO root VALUES (3);
ALTER TABLE root RENAME TO stem;
INSERT INTO stem VALUES (4);
ALTER TABLE stem DETACH PARTITION middle;
INSERT INTO leaf VALUES (5);
:ids

SELECT pg_drop_replication_slot('output_definitions');
DROP SCHEMA output_definitions CASCADE;
