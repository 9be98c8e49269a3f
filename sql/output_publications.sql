-- What publications leave out, and the options that choose tables. That it is what pgoutput does is for test/tap/031.
\pset format unaligned
SET client_min_messages = warning;
CREATE SCHEMA output_publications;
SET search_path = output_publications;
SELECT slot_name FROM pg_create_logical_replication_slot('output_publications', 'walhouse_output');
\set show 'SELECT concat_ws($$ $$, j ->> $$kind$$, j ->> $$table$$, j ->> $$seq$$, $$key $$ || (j ->> $$key$$), $$before $$ || (j ->> $$before$$), $$after $$ || (j ->> $$after$$), $$unchanged $$ || (j ->> $$unchanged$$), $$tables $$ || (SELECT string_agg(x ->> $$table$$, $$, $$) FROM jsonb_array_elements(j -> $$tables$$) x)) AS change FROM '
\set get 'pg_logical_slot_get_changes($$output_publications$$, NULL, NULL, $$format$$, $$json$$'
\set peek 'pg_logical_slot_peek_changes($$output_publications$$, NULL, NULL, $$format$$, $$json$$'
\set done ') x CROSS JOIN LATERAL (SELECT data::jsonb AS j) y WHERE j ->> $$kind$$ IN ($$insert$$, $$update$$, $$delete$$, $$truncate$$, $$rewrite$$);'
\set columns 'SELECT j ->> $$table$$ AS "table", (SELECT string_agg(concat_ws($$ $$, c ->> $$attnum$$, c ->> $$name$$), $$, $$ ORDER BY (c ->> $$attnum$$)::integer) FROM jsonb_array_elements(j -> $$columns$$) c) AS columns, j ->> $$primary_key$$ AS primary_key, j ->> $$identity_key$$ AS identity_key, j #>> $${leaf,table}$$ AS leaf FROM '
\set defined ') x CROSS JOIN LATERAL (SELECT data::jsonb AS j) y WHERE j ->> $$kind$$ = $$relation$$;'

-- column lists: also in old images; a key is told only whole
CREATE TABLE t (gone integer, a integer, b integer, secret text, g integer GENERATED ALWAYS AS (a + 1) STORED, PRIMARY KEY (a, b));
ALTER TABLE t DROP COLUMN gone;
CREATE PUBLICATION output_list FOR TABLE t (b, a);
CREATE PUBLICATION output_list_same FOR TABLE t (a, b);
CREATE PUBLICATION output_list_part FOR TABLE t (a) WITH (publish = 'insert');
CREATE PUBLICATION output_whole FOR TABLE t;
CREATE PUBLICATION output_full FOR TABLE t (a, b, secret);
BEGIN;
INSERT INTO t VALUES (1, 1, 'secret');
UPDATE t SET secret = 'more', b = 2;
UPDATE t SET secret = 'still more';
DELETE FROM t;
COMMIT;
:show :peek, 'publication', 'output_list,output_list_same' :done
:columns :peek, 'publication', 'output_list' :defined
:show :peek, 'publication', 'output_list_part' :done
:columns :peek, 'publication', 'output_list_part' :defined
\set VERBOSITY terse
:show :peek, 'publication', 'output_list, output_whole' :done
\set VERBOSITY default

-- generated columns: sent, not sent, as the publication says; never against a list
:columns :peek, 'publication', 'output_whole' :defined
:columns :peek, 'publication', 'output_whole', 'generated_columns', 'none' :defined
:columns :peek, 'publication', 'output_whole', 'generated_columns', 'publication' :defined
:columns :peek, 'publication', 'output_full' :defined
:columns :get, 'generated_columns', 'none' :defined

-- row filters, by operation; an update that crosses their edge
CREATE TABLE f (id integer PRIMARY KEY, v integer, big text);
ALTER TABLE f ALTER COLUMN big SET STORAGE EXTERNAL;
CREATE PUBLICATION output_even FOR TABLE f WHERE (id % 2 = 0);
CREATE PUBLICATION output_three FOR TABLE f WHERE (id % 3 = 0) WITH (publish = 'insert, update');
CREATE PUBLICATION output_null FOR TABLE f WHERE (v > 10) WITH (publish = 'insert');
INSERT INTO f VALUES (1, 1), (2, 2), (3, NULL), (4, 40);
UPDATE f SET v = 5;
UPDATE f SET id = 6 WHERE id = 1;
UPDATE f SET id = 5 WHERE id = 2;
DELETE FROM f;
TRUNCATE f;
:show :peek, 'publication', 'output_even' :done
:show :peek, 'publication', 'output_even,output_three' :done
:show :get, 'publication', 'output_null' :done

-- an update that becomes an insert takes from the old row what the new one does not have
ALTER TABLE f REPLICA IDENTITY FULL;
INSERT INTO f VALUES (1, 1, repeat('x', 3000));
UPDATE f SET id = 2;
UPDATE f SET id = 3;
SELECT data::jsonb ->> 'kind' AS kind, data::jsonb #> '{after,id}' AS id, length(data::jsonb #>> '{after,big}') AS big,
	length(data::jsonb #>> '{before,big}') AS old_big, data::jsonb -> 'unchanged' AS unchanged
	FROM :get, 'publication', 'output_even') WHERE data ~ '{"kind":"(insert|update|delete)"';

-- via root: the root's names and numbers, the partition's rows; list and filter are the root's; a TRUNCATE of a partition
-- alone is a Rewrite of it
CREATE TABLE root (id integer, v text, w integer, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE leaf (w integer, gone integer, id integer NOT NULL, v text);
ALTER TABLE leaf DROP COLUMN gone;
ALTER TABLE root ATTACH PARTITION leaf FOR VALUES FROM (0) TO (10);
CREATE TABLE leaf_2 PARTITION OF root FOR VALUES FROM (10) TO (20);
CREATE PUBLICATION output_via FOR TABLE root (id, w) WHERE (id < 15) WITH (publish_via_partition_root);
CREATE PUBLICATION output_leaf FOR TABLE leaf (id, w) WHERE (id > 1);
BEGIN;
INSERT INTO root VALUES (1, 'a', 1), (2, 'b', 2), (16, 'c', 3);
UPDATE root SET id = id + 10 WHERE id = 2;
UPDATE root SET id = 17 WHERE id = 12;
UPDATE root SET id = 9, v = 'd' WHERE id = 1;
TRUNCATE root;
INSERT INTO leaf (id) VALUES (3);
TRUNCATE leaf;
COMMIT;
:show :peek, 'publication', 'output_via' :done
:columns :peek, 'publication', 'output_via' :defined
:show :peek, 'publication', 'output_leaf' :done
:show :get, 'publication', 'output_leaf, output_via' :done

-- include_tables, exclude_tables
CREATE SCHEMA "output.dot";
CREATE TABLE "output.dot".t (id integer);
CREATE TABLE "Upper" (id integer);
CREATE TABLE "a,b *?" (id integer);
CREATE TABLE "größe" (id integer);
BEGIN;
INSERT INTO "Upper" VALUES (1);
INSERT INTO "a,b *?" VALUES (1);
INSERT INTO "größe" VALUES (1);
INSERT INTO "output.dot".t VALUES (1);
INSERT INTO t VALUES (1, 1);
INSERT INTO root VALUES (1);
COMMIT;
\set names 'SELECT string_agg(data::jsonb ->> $$table$$, $$, $$) AS tables FROM '
\set inserts ') WHERE data LIKE $${"kind":"insert"%$$;'
:names :peek, 'include_tables', 't' :inserts
:names :peek, 'include_tables', 'output_publications.t, upper' :inserts
:names :peek, 'include_tables', 'Upper,gr??e' :inserts
:names :peek, 'include_tables', 'gr?e,gr???e' :inserts
:names :peek, 'include_tables', 'output\.dot.*' :inserts
:names :peek, 'include_tables', 'output*.t' :inserts
:names :peek, 'include_tables', 'a\,b \*\?' :inserts
:names :peek, 'include_tables', 'a*' :inserts
:names :peek, 'include_tables', 'root' :inserts
:names :peek, 'include_tables', 'leaf', 'exclude_tables', 'r*t' :inserts
:names :peek, 'exclude_tables', '*p*.*,leaf' :inserts
:names :peek, 'exclude_tables', '*' :inserts
:names :peek, 'exclude_tables', '*r*,leaf,a*' :inserts
:names :peek, 'exclude_tables', 'leaf*', 'publication', 'output_via' :inserts
:names :get, 'include_tables', 'root', 'publication', 'output_via' :inserts
SELECT * FROM :peek, 'include_tables', '');
SELECT * FROM :peek, 'include_tables', 'a,,b');
SELECT * FROM :peek, 'include_tables', 'a.b.c');
SELECT * FROM :peek, 'exclude_tables', '.c');
SELECT * FROM :peek, 'exclude_tables', 'c\');

-- lists that differ are an error once the table has a change, also where all tables are known from the start
CREATE TABLE apart (a integer, b integer);
CREATE TABLE beside (id integer);
CREATE PUBLICATION output_apart FOR TABLE apart (a), beside;
CREATE PUBLICATION output_apart_too FOR TABLE apart (b), beside;
SELECT count(*) >= 0 AS taken FROM :get);
INSERT INTO beside VALUES (1);
:show :peek, 'publication', 'output_apart,output_apart_too', 'ddl', 'on' :done
ALTER TABLE apart ADD COLUMN c integer;
ALTER TABLE beside ADD COLUMN more integer;
SELECT data::jsonb ->> 'kind' AS kind, data::jsonb ->> 'table' AS "table"
	FROM :get, 'publication', 'output_apart,output_apart_too', 'ddl', 'on') WHERE data ~ '"kind":"(insert|relation|altered)"';
INSERT INTO apart VALUES (1);
\set VERBOSITY terse
:show :peek, 'publication', 'output_apart,output_apart_too', 'ddl', 'on' :done
\set VERBOSITY default
SELECT pg_drop_replication_slot('output_publications');
DROP PUBLICATION output_list, output_list_same, output_list_part, output_whole, output_full, output_even, output_three, output_null, output_via,
	output_leaf, output_apart, output_apart_too;
DROP SCHEMA output_publications, "output.dot" CASCADE;
