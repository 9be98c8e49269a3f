-- Markers: tables that were written anew, and partitions that came or went.
\pset format unaligned
SET client_min_messages = warning;
CREATE SCHEMA output_markers;
SET search_path = output_markers;
CREATE TABLE t (id integer PRIMARY KEY, a text, n integer);
CREATE TABLE root (id integer, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE first PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE other (id integer) PARTITION BY LIST (id);
CREATE PUBLICATION output_markers FOR TABLE t (id), root;
CREATE PUBLICATION output_markers_root FOR TABLE root WITH (publish_via_partition_root);
SELECT slot_name FROM pg_create_logical_replication_slot('output_markers', 'walhouse_output');
\set show 'SELECT concat_ws($$ $$, j ->> $$kind$$, j ->> $$id$$, concat_ws($$.$$, j ->> $$schema$$, j ->> $$table$$), j ->> $$seq$$, $$after $$ || (j ->> $$after$$), $$attached $$ || (SELECT string_agg(concat_ws($$.$$, a ->> $$schema$$, a ->> $$table$$), $$, $$ ORDER BY a ->> $$table$$) FROM jsonb_array_elements(j -> $$attached$$) a), $$detached $$ || (SELECT string_agg(concat_ws($$.$$, a ->> $$schema$$, a ->> $$table$$), $$, $$ ORDER BY a ->> $$table$$) FROM jsonb_array_elements(j -> $$detached$$) a), $$changes $$ || (j ->> $$changes$$)) AS entry FROM '
\set get 'pg_logical_slot_get_changes($$output_markers$$, NULL, NULL, $$format$$, $$json$$'
\set peek 'pg_logical_slot_peek_changes($$output_markers$$, NULL, NULL, $$format$$, $$json$$'
\set done ') x CROSS JOIN LATERAL (SELECT data::jsonb AS j) y WHERE j ->> $$kind$$ NOT IN ($$hello$$, $$begin$$);'

-- rewrites: one entry each, of the table itself; not where there are no rows, or no change of them
INSERT INTO t VALUES (1, 'a'), (2, 'b');
ALTER TABLE t ADD COLUMN cheap integer DEFAULT 5;
ALTER TABLE t ADD COLUMN random double precision DEFAULT random() * 0;
BEGIN;
INSERT INTO t VALUES (3, 'c');
ALTER TABLE t ALTER COLUMN a TYPE varchar(20) USING a || '!';
INSERT INTO t VALUES (4, 'd');
ALTER TABLE t ALTER COLUMN n TYPE bigint, ALTER COLUMN a TYPE text COLLATE "C";
COMMIT;
BEGIN;
INSERT INTO t VALUES (5, 'e');
SAVEPOINT a;
ALTER TABLE t ALTER COLUMN n TYPE numeric;
ROLLBACK TO a;
COMMIT;
CREATE TABLE empty (id integer);
ALTER TABLE empty ALTER COLUMN id TYPE bigint;
CREATE MATERIALIZED VIEW matview AS SELECT * FROM t;
REFRESH MATERIALIZED VIEW matview;
CLUSTER t USING t_pkey;
CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS id;
ALTER TABLE unlogged ALTER COLUMN id TYPE bigint;
-- only the columns of the list, and no table that is not published
SELECT count(*) FILTER (WHERE data LIKE '{"kind":"rewrite"%') AS rewrites, count(*) FILTER (WHERE data LIKE '%random%') AS random
	FROM :peek, 'publication', 'output_markers');
SELECT count(*) FROM :peek, 'publication', 'output_markers_root');
SELECT count(*) FILTER (WHERE data LIKE '{"kind":"rewrite"%') AS rewrites FROM :peek, 'exclude_tables', 't');
:show :get, 'exclude_tables', 'nothing' :done

-- partitions: made, attached, detached, dropped, in the transaction that did it, also when it did nothing else
CREATE TABLE second PARTITION OF root FOR VALUES FROM (10) TO (20);
CREATE TABLE third (id integer NOT NULL);
BEGIN;
INSERT INTO third VALUES (20);
ALTER TABLE root ATTACH PARTITION third FOR VALUES FROM (20) TO (30);
INSERT INTO root VALUES (21);
COMMIT;
BEGIN;
ALTER TABLE root DETACH PARTITION first;
SAVEPOINT a;
ALTER TABLE root DETACH PARTITION second;
ROLLBACK TO a;
COMMIT;
ALTER TABLE root DETACH PARTITION second CONCURRENTLY;
DROP TABLE third;
BEGIN;
ALTER TABLE root ATTACH PARTITION first FOR VALUES FROM (0) TO (10);
ALTER TABLE root DETACH PARTITION first;
COMMIT;
BEGIN;
CREATE TABLE fresh (id integer) PARTITION BY LIST (id);
CREATE TABLE fresh_1 PARTITION OF fresh FOR VALUES IN (1);
CREATE TABLE fresh_2 PARTITION OF fresh FOR VALUES IN (2) PARTITION BY LIST (id);
CREATE TABLE fresh_3 PARTITION OF fresh_2 FOR VALUES IN (2);
COMMIT;
ANALYZE fresh, root;
CREATE INDEX ON fresh (id);
CREATE TABLE child () INHERITS (t);
DROP TABLE fresh;
CREATE TEMPORARY TABLE temporary (id integer) PARTITION BY LIST (id);
CREATE TEMPORARY TABLE temporary_1 PARTITION OF temporary FOR VALUES IN (1);
DROP TABLE temporary;
-- only of what is published, or not excluded
SELECT count(*) FROM :peek, 'publication', 'output_markers') WHERE data LIKE '{"kind":"partitions"%';
SELECT count(*) FROM :peek, 'include_tables', 'fresh*') WHERE data LIKE '{"kind":"partitions"%';
:show :get :done

-- told as the root, also where a partition of a partition comes
CREATE TABLE middle PARTITION OF root FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
CREATE TABLE below PARTITION OF middle FOR VALUES FROM (100) TO (150);
:show :peek, 'publication', 'output_markers_root' :done
:show :get :done

SELECT pg_drop_replication_slot('output_markers');
DROP PUBLICATION output_markers;
DROP PUBLICATION output_markers_root;
DROP SCHEMA output_markers CASCADE;
