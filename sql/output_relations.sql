-- Definitions: sent once a session and definition, sent again only when something that matters has changed.
\pset format unaligned
SET client_min_messages = warning;
CREATE SCHEMA output_relations;
SET search_path = output_relations;
SELECT slot_name FROM pg_create_logical_replication_slot('output_relations', 'walhouse_output');
\set show 'SELECT CASE j ->> $$kind$$ WHEN $$relation$$ THEN (SELECT string_agg(concat_ws($$ $$, c ->> $$attnum$$, c ->> $$name$$, c ->> $$type$$, c ->> $$kind$$, CASE WHEN (c ->> $$not_null$$)::boolean THEN $$not null$$ END, CASE WHEN c ? $$generated$$ THEN $$generated$$ END, $$missing=$$ || (c ->> $$missing_default$$)), $$; $$ ORDER BY (c ->> $$attnum$$)::int) FROM jsonb_array_elements(j -> $$columns$$) c) || $$ PRIMARY KEY $$ || (j ->> $$primary_key$$) || $$ IDENTITY $$ || (j ->> $$identity$$) || $$ $$ || (j ->> $$identity_key$$) ELSE j ->> $$after$$ END AS what, concat_ws($$.$$, j ->> $$schema$$, j ->> $$table$$) AS "table", j -> $$id$$ AS id FROM (SELECT data::jsonb AS j FROM pg_logical_slot_get_changes($$output_relations$$, NULL, NULL, $$format$$, $$json$$)) s WHERE j ->> $$kind$$ IN ($$relation$$, $$insert$$);'

CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN small AS positive CHECK (VALUE < 100);
CREATE TYPE pair AS (a integer, b text);

-- what changes a definition
CREATE TABLE t (id integer PRIMARY KEY, a text);
INSERT INTO t VALUES (1, 'one');
ALTER TABLE t ADD COLUMN b integer DEFAULT 5;
INSERT INTO t VALUES (2, 'two');
ALTER TABLE t RENAME COLUMN a TO label;
INSERT INTO t VALUES (3, 'three', 3);
ALTER TABLE t DROP COLUMN label;
INSERT INTO t VALUES (4, 4);
ALTER TABLE t ALTER COLUMN b TYPE numeric(8,2);
INSERT INTO t VALUES (5, 5);
ALTER TABLE t RENAME TO renamed;
INSERT INTO renamed VALUES (6, 6);
CREATE SCHEMA output_relations_2;
ALTER TABLE renamed SET SCHEMA output_relations_2;
INSERT INTO output_relations_2.renamed VALUES (7, 7);
ALTER SCHEMA output_relations_2 RENAME TO output_relations_3;
INSERT INTO output_relations_3.renamed VALUES (8, 8);
ALTER TABLE output_relations_3.renamed REPLICA IDENTITY FULL;
INSERT INTO output_relations_3.renamed VALUES (9, 9);
:show

-- what does not; of an enum only its labels do
CREATE TABLE same (id integer PRIMARY KEY, m mood);
INSERT INTO same VALUES (1, 'ok');
CREATE INDEX ON same (m);
ANALYZE same;
VACUUM same;
INSERT INTO same VALUES (2, 'sad');
ALTER TYPE mood ADD VALUE 'happy';
INSERT INTO same VALUES (3, 'happy');
ALTER TABLE same SET (fillfactor = 50);
COMMENT ON TABLE same IS 'the same';
ALTER TABLE same ADD CHECK (id > 0);
CREATE TABLE another (id integer);
INSERT INTO same VALUES (4, 'happy');
ALTER TYPE mood RENAME VALUE 'happy' TO 'glad';
INSERT INTO same VALUES (5, 'glad');
:show

-- a definition that changes within a transaction, is rolled back, and an enum's value of the same transaction
BEGIN;
INSERT INTO another VALUES (1);
ALTER TABLE another ADD COLUMN x integer;
INSERT INTO another VALUES (2, 2);
SAVEPOINT a;
ALTER TABLE another ADD COLUMN y integer;
INSERT INTO another VALUES (3, 3, 3);
ROLLBACK TO a;
INSERT INTO another VALUES (4, 4);
CREATE TYPE fresh AS ENUM ('new');
CREATE TABLE made (f fresh);
INSERT INTO made VALUES ('new');
COMMIT;
:show

-- columns of all sorts
CREATE TABLE sorts (
	"Order" integer,
	"a ""quoted"" name" text,
	"größe" text,
	"select" boolean,
	a_b integer, "aB" integer, "a b" integer,
	p positive NOT NULL, s small, m mood, ms mood[], c pair, r int4range,
	g integer GENERATED ALWAYS AS (a_b * 2) STORED,
	PRIMARY KEY (s, p));
INSERT INTO sorts VALUES (1, 'x', 'y', true, 1, 2, 3, 4, 5, 'ok', '{ok,sad}', '(1,"a b")', '[1,5)');
:show

-- output functions have the names of what they name qualified, and the settings that they need
SET datestyle = 'German';
SET intervalstyle = 'sql_standard';
SET timezone = 'America/New_York';
SET extra_float_digits = -5;
SET bytea_output = 'escape';
CREATE TABLE pinned (c regclass, a timestamptz[], i interval[], f float8[], b bytea[], d date[]);
INSERT INTO pinned VALUES ('sorts', '{2024-07-01 12:00:00+00}', '{1 mon -2 days}', '{0.1,1e300}', '{"\\x00ff"}', '{2024-02-29}');
:show
SHOW datestyle;
RESET datestyle;
RESET intervalstyle;
RESET timezone;
RESET extra_float_digits;
RESET bytea_output;

SELECT pg_drop_replication_slot('output_relations');
DROP SCHEMA output_relations, output_relations_3 CASCADE;
