-- partition: keys near the ends of their types, and partitions that go by hand. What insert_rows and make_partition do depends on the
-- clock; no name shows it.
CREATE SCHEMA partition_edges;
-- nobody but the test does what is due
ALTER SYSTEM SET walhouse.worker = off;
SELECT pg_reload_conf();
SET search_path = partition_edges, pg_catalog;
SET timezone = 'UTC';
\set VERBOSITY terse

-- a horizon that reaches beyond what the key can be: rows within it have a place
CREATE FUNCTION filled(type text, every text, key text, rows text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS t;
    EXECUTE format('CREATE TABLE t (k %s) PARTITION BY RANGE (k)', type);
    PERFORM walhouse.create_partition_set('t', every, key => key, lead_count => 1);
    RETURN rows;
END $$;
SELECT filled('uuid', 'month', NULL, 'SELECT walhouse.uuidv7_floor(now()) AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
SELECT count(*) FROM t;
SELECT filled('uuid', '10 years', NULL, 'SELECT walhouse.uuidv7_floor(now()) AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
SELECT count(*) FROM t;
SELECT walhouse.alter_partition_set('t', '{"outside": "create"}');
CALL walhouse.insert_rows('partition_edges.t', $$ SELECT k::uuid AS k FROM unnest('{00000000-0000-7000-8000-000000000000,ffffffff-ffff-7fff-bfff-ffffffffffff}'::text[]) k $$);
SELECT count(*) FROM t;
SELECT filled('pg_lsn', '1 GB', NULL, $$ SELECT '0/1000000'::pg_lsn AS k $$) AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
CALL walhouse.insert_rows('partition_edges.t', $$ SELECT '1/1000000'::pg_lsn AS k $$);
SELECT k FROM t ORDER BY 1;
SELECT filled('int', '10000000', NULL, 'SELECT 5 AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
CALL walhouse.insert_rows('partition_edges.t', 'SELECT -5 AS k UNION ALL SELECT 2147483647 UNION ALL SELECT -2147483648');
CALL walhouse.maintain_partitions('t');
SELECT k, tableoid::regclass FROM t ORDER BY 1;
SELECT partition, from_value, to_value FROM walhouse.partitions WHERE parent = 't'::regclass ORDER BY partition::text;
SELECT filled('smallint', '100', NULL, 'SELECT 5::smallint AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
CALL walhouse.insert_rows('partition_edges.t', 'SELECT (-5)::smallint AS k UNION ALL SELECT 32767 UNION ALL SELECT -32768');
SELECT k FROM t ORDER BY 1;
SELECT filled('bigint', '11274289152000000', NULL, 'SELECT 7182818284590452353 AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
CALL walhouse.insert_rows('partition_edges.t', 'SELECT -5::bigint AS k UNION ALL SELECT 9223372036854775806');
SELECT count(*) FROM t;
SELECT walhouse.alter_partition_set('t', '{"lead": "9223372036854775807"}');
CALL walhouse.maintain_partitions('t');
SELECT failing, error, covered_to FROM walhouse.stat_partition_set WHERE parent = 't'::regclass;
SELECT filled('bigint', 'quarter', 'epoch_ns', 'SELECT (extract(epoch FROM now()) * 1000000000)::bigint AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
SELECT count(*) FROM t;
SELECT filled('timestamptz', '10 years', NULL, 'SELECT now() AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
SELECT count(*) FROM t;
SELECT filled('date', '1000 years', NULL, 'SELECT now()::date AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
SELECT count(*) FROM t;
-- steps of less than a second have a horizon, too
SELECT filled('bigint', '500 milliseconds', 'epoch_ms', 'SELECT (extract(epoch FROM now()) * 1000)::bigint + 100000 AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
SELECT count(*) FROM t;
SELECT filled('bigint', '500 milliseconds', 'epoch_ns', 'SELECT (extract(epoch FROM now()) * 1000000000)::bigint + 100000000000 AS k') AS rows \gset
CALL walhouse.insert_rows('partition_edges.t', :'rows');
SELECT count(*) FROM t;
-- and what lies before 1970 is not rounded towards it
DROP TABLE t;
CREATE TABLE t (k bigint) PARTITION BY RANGE (k);
SELECT walhouse.create_partition_set('t', '1 hour', key => 'epoch_s', origin => '1969-12-31 23:59:59.5', outside => 'create', lead_count => 0) > 0 AS made;
SELECT walhouse.make_partition('t', '0');
SELECT from_value, to_value FROM walhouse.partitions WHERE parent = 't'::regclass;
-- a set that has all it should have is looked at without a row of the register being locked or written
CALL walhouse.maintain_partitions('t');
CALL walhouse.maintain_partitions('t');
SELECT count(*) > 0 AS partitions, count(*) FILTER (WHERE p.xmax::text <> '0') AS locked
FROM walhouse.partition p JOIN walhouse.partition_set s USING (set_id) WHERE s.parent = 't'::regclass;

-- a partition that ends further than any time stops no set
SELECT filled('date', 'day', NULL, '');
CREATE TABLE t_far PARTITION OF t FOR VALUES FROM ('5800000-01-01') TO ('5874897-12-31');
SELECT walhouse.alter_partition_set('t', '{"seal_after": "1 year", "retire_after": "10 years"}');
CALL walhouse.maintain_partitions('t', '2026-01-01 12:00+00');
SELECT partition, next_step, due FROM walhouse.partitions WHERE parent = 't'::regclass ORDER BY partition::text;
SELECT filled('timestamptz', 'day', NULL, '');
CREATE TABLE t_far PARTITION OF t FOR VALUES FROM ('294270-01-01') TO ('294276-12-31 23:59:59.999999');
SELECT walhouse.alter_partition_set('t', '{"seal_after": "1 year", "retire_after": "10 years"}');
CALL walhouse.maintain_partitions('t', '2026-01-01 12:00+00');
SELECT partition, next_step, due FROM walhouse.partitions WHERE parent = 't'::regclass ORDER BY partition::text;
DROP TABLE t;

-- no time
CALL walhouse.maintain_partitions(at => '-infinity');

-- rows of a partition whose detaching was cut off have no place yet; the query is not run for ever
CREATE TABLE cut (at date NOT NULL) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('cut', 'month', outside => 'create', lead_count => 0) > 0 AS made;
SELECT walhouse.make_partition('cut', '2026-01-01');
CREATE SEQUENCE runs;
SET allow_system_table_mods = on;
UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'cut_p2026_01'::regclass;
CALL walhouse.insert_rows('partition_edges.cut', $$ SELECT '2026-01-05'::date AS at FROM (SELECT nextval('partition_edges.runs')) n $$);
SELECT last_value < 10 AS is_few FROM runs;
CREATE TABLE cut_overflow (at date);
INSERT INTO cut_overflow VALUES ('2026-01-05'), ('2026-02-05');
UPDATE walhouse.partition_set SET overflow = 'cut_overflow' WHERE parent = 'cut'::regclass;
CALL walhouse.drain_overflow('partition_edges.cut');
SELECT * FROM cut_overflow;
UPDATE pg_inherits SET inhdetachpending = false WHERE inhrelid = 'cut_p2026_01'::regclass;
RESET allow_system_table_mods;
-- a type that has a partition's name is in its way, too
CREATE TYPE cut_p2026_03 AS ENUM ('mine');
SELECT walhouse.make_partition('cut', '2026-03-01');
DROP TABLE cut, cut_overflow;

-- a partition that somebody takes out by hand is theirs, also where its own step comes before the set is looked at
CREATE TABLE sale (at date NOT NULL, v int) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('sale', 'month', lead_count => 0, lead => '1 year', retire_after => '45 days') > 0 AS made;
CALL walhouse.maintain_partitions('sale', '2026-01-01 12:00+00');
INSERT INTO sale VALUES ('2026-01-05', 1), ('2026-02-05', 2);
ALTER TABLE sale DETACH PARTITION sale_p2026_01;
UPDATE walhouse.partition_step t SET due = '2027-01-01' FROM walhouse.partition_set s WHERE s.parent = 'sale'::regclass AND t.set_id = s.set_id AND t.step = 'make';
CALL walhouse.maintain_partitions(at => '2026-03-20 00:00+00');
SELECT * FROM sale_p2026_01;
SELECT p.partition, p.state FROM walhouse.partitions p WHERE p.parent = 'sale'::regclass AND p.from_value < '2026-03' ORDER BY p.from_value;
-- and one that is dropped is forgotten by whatever step was next
SELECT walhouse.alter_partition_set('sale', '{"seal_after": "1 day", "retire_after": null}');
DROP TABLE sale_p2026_02;
UPDATE walhouse.partition_step t SET due = '2027-01-01' FROM walhouse.partition_set s WHERE s.parent = 'sale'::regclass AND t.set_id = s.set_id AND t.step = 'make';
CALL walhouse.maintain_partitions(at => '2026-03-20 00:00+00');
SELECT failing, error FROM walhouse.stat_partition_set WHERE parent = 'sale'::regclass;
SELECT count(*) FROM walhouse.partition p JOIN walhouse.partition_set s USING (set_id) WHERE s.parent = 'sale'::regclass AND p.from_value = '2026-02-01';

SET client_min_messages = warning;
DROP SCHEMA partition_edges CASCADE;
CALL walhouse.maintain_partitions(at => '2100-01-01');
ALTER SYSTEM RESET walhouse.worker;
SELECT pg_reload_conf();
