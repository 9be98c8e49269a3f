-- The plugin's options: what is wrong is an error; publications choose tables; own writes are dropped.
\pset format unaligned
\set VERBOSITY default
SET client_min_messages = warning;
CREATE SCHEMA output_options;
SET search_path = output_options;
SELECT slot_name FROM pg_create_logical_replication_slot('output_options', 'walhouse_output');
CREATE TABLE t (id integer PRIMARY KEY, a integer);
INSERT INTO t VALUES (1, 1);

\set get 'pg_logical_slot_get_changes($$output_options$$, NULL, NULL, $$format$$, $$json$$'
\set peek 'pg_logical_slot_peek_changes($$output_options$$, NULL, NULL, $$format$$, $$json$$'
\set tables 'SELECT data::jsonb ->> $$kind$$ AS kind, data::jsonb ->> $$table$$ AS "table", data::jsonb -> $$after$$ AS after, data::jsonb -> $$tables$$ AS tables FROM'
\set wanted 'WHERE data ~ $${"kind":"(insert|update|delete|truncate)"$$;'

-- wrong options
SELECT * FROM :peek, 'colour', 'red');
SELECT * FROM :peek, 'format', 'json');
SELECT * FROM pg_logical_slot_peek_changes('output_options', NULL, NULL, 'format', 'xml');
SELECT * FROM pg_logical_slot_peek_changes('output_options', NULL, NULL, 'format', NULL);
SELECT * FROM :peek, 'protocol', '2');
SELECT * FROM :peek, 'own_writes', 'maybe');
SELECT * FROM :peek, 'publication', '');
SELECT * FROM :peek, 'publication', 'a,,b');
SELECT * FROM :peek, 'streaming', 'parallel');
SELECT * FROM :peek, 'two_phase', 'true');
SELECT * FROM :peek, 'tally', '1');
SELECT * FROM :peek, 'origin', '');
SELECT * FROM :peek, 'messages', 'a, ,b');
SELECT * FROM :peek, 'messages', 'a\');
SELECT * FROM :peek, 'include_tables', '');
SELECT * FROM :peek, 'operations', 'insert, upsert');
SELECT * FROM :peek, 'operations', '');
SELECT * FROM :peek, 'framing', 'lines');
SELECT * FROM :peek, 'framing', 'delimited');
SELECT * FROM :peek, 'compression', 'gzip');

-- what is in effect stands in Hello
SELECT data::jsonb -> 'options' AS options FROM :peek) WHERE data ~ '"hello"';
SELECT data::jsonb -> 'options' AS options
	FROM :peek, 'streaming', 'on', 'messages', 'a*, \,', 'operations', 'insert', 'tally', 'on') WHERE data ~ '"hello"';

-- publications that restrict
CREATE TABLE u (id integer PRIMARY KEY, secret text);
CREATE PUBLICATION output_columns FOR TABLE u (id);
CREATE PUBLICATION output_rows FOR TABLE u WHERE (id > 1);
CREATE PUBLICATION output_root FOR TABLE t WITH (publish_via_partition_root = true);
CREATE PUBLICATION output_plain FOR TABLE t;
SELECT count(*) FROM :get);
INSERT INTO t VALUES (2, 2);
\set VERBOSITY terse
SELECT count(*) FROM :peek, 'publication', 'output_columns');
SELECT count(*) FROM :peek, 'publication', 'output_plain,output_rows');
SELECT count(*) FROM :peek, 'publication', 'output_root');
SELECT count(*) FROM :peek, 'publication', 'output_missing');
:tables :get, 'publication', 'output_plain') :wanted

-- what a publication publishes
CREATE TABLE other (id integer PRIMARY KEY);
CREATE SCHEMA output_whole;
CREATE TABLE output_whole.inside (id integer PRIMARY KEY);
CREATE TABLE parts (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2024-02-01') TO ('2024-03-01') PARTITION BY LIST (id);
CREATE TABLE parts_2_1 PARTITION OF parts_2 FOR VALUES IN (1);
CREATE UNLOGGED TABLE unlogged (id integer);
CREATE PUBLICATION "Output, inserts" FOR TABLE t WITH (publish = 'insert, truncate');
CREATE PUBLICATION output_schema FOR TABLES IN SCHEMA output_whole;
CREATE PUBLICATION output_parts FOR TABLE parts;
CREATE PUBLICATION output_all FOR ALL TABLES WITH (publish = 'insert');
BEGIN;
INSERT INTO t VALUES (3, 3);
UPDATE t SET a = 4 WHERE id = 3;
DELETE FROM t WHERE id = 3;
TRUNCATE t, other;
INSERT INTO other VALUES (1);
INSERT INTO output_whole.inside VALUES (1);
INSERT INTO parts VALUES (1, '2024-01-05'), (1, '2024-02-05');
TRUNCATE parts;
INSERT INTO unlogged VALUES (1);
CREATE TEMPORARY TABLE temporary AS SELECT 1;
COMMIT;
:tables :peek, 'publication', '"Output, inserts"') :wanted
:tables :peek, 'publication', 'output_schema, output_plain') :wanted
:tables :peek, 'publication', 'output_parts') :wanted
:tables :peek, 'publication', 'output_all') :wanted
:tables :peek) :wanted

-- the ordinal of a change does not depend on what else is sent
SELECT data::jsonb ->> 'table' AS "table", data::jsonb -> 'seq' AS seq
	FROM :get, 'publication', 'output_parts') :wanted

-- a publication that changes while it is read; each change is judged by the catalog as it was
INSERT INTO other VALUES (2);
ALTER PUBLICATION output_plain ADD TABLE other;
INSERT INTO other VALUES (3);
ALTER PUBLICATION output_plain DROP TABLE t;
INSERT INTO t VALUES (5, 5);
ALTER PUBLICATION output_plain SET (publish = 'delete');
INSERT INTO other VALUES (4);
DELETE FROM other WHERE id = 3;
:tables :get, 'publication', 'output_plain') :wanted

-- own writes: the origin that walhouse sets is dropped, another origin is named
INSERT INTO t VALUES (6, 6);
SELECT pg_replication_origin_create('output_origin') IS NOT NULL AS made;
SELECT pg_replication_origin_session_setup('output_origin');
INSERT INTO t VALUES (7, 7);
SELECT pg_replication_origin_session_reset();
SELECT data::jsonb ->> 'kind' AS kind, data::jsonb ->> 'origin' AS origin FROM :get)
	WHERE data ~ '{"kind":"(begin|insert)"';
SELECT pg_replication_origin_drop('output_origin');

-- changes of catalogs, sequences and materialized views are none
CREATE SEQUENCE counter;
SELECT nextval('counter');
CREATE MATERIALIZED VIEW seen AS SELECT 1 AS one;
REFRESH MATERIALIZED VIEW seen;
COMMENT ON TABLE t IS 'a table';
SELECT count(*) FROM :get);

SELECT pg_drop_replication_slot('output_options');
DROP PUBLICATION output_columns, output_rows, output_root, output_plain, "Output, inserts", output_schema, output_parts, output_all;
DROP SCHEMA output_options, output_whole CASCADE;
