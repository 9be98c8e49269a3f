-- partition: sets of partitions: grids, making, the steps of a life, policies. Times are given, so that each run sees the same.
CREATE SCHEMA partition_sets;
-- nobody but the test does what is due
ALTER SYSTEM SET walhouse.worker = off;
SELECT pg_reload_conf();
SET search_path = partition_sets, pg_catalog;
SET timezone = 'America/New_York';
CREATE VIEW parts AS
    SELECT p.parent, p.partition, p.from_value, p.to_value, p.state, p.next_step, to_char(p.due AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS due_utc
    FROM walhouse.partitions p;

-- grids: the partitions made ahead at one moment
CREATE FUNCTION ahead(type text, every text, at timestamptz, more text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS t CASCADE;
    EXECUTE format('CREATE TABLE t (k %s, v text) PARTITION BY RANGE (k)', type);
    EXECUTE format('SELECT walhouse.create_partition_set(%L, %L, lead_count => 2%s)', 't', every, more);
    RETURN '';
END $$;
SELECT ahead('timestamptz', 'day', NULL, $$, zone => 'Europe/Berlin'$$);
CALL walhouse.maintain_partitions('t', '2026-03-28 12:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
CALL walhouse.maintain_partitions('t', '2026-10-25 12:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass AND from_value > '2026-10-24' ORDER BY from_value;
SELECT ahead('timestamp', 'month', NULL, $$, zone => 'Europe/Berlin'$$);
CALL walhouse.maintain_partitions('t', '2026-01-31 23:30+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
SELECT ahead('date', 'day', NULL);
CALL walhouse.maintain_partitions('t', '2028-02-28 12:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
SELECT ahead('date', 'week', NULL);
CALL walhouse.maintain_partitions('t', '2026-01-01 12:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
SELECT ahead('date', 'quarter', NULL);
CALL walhouse.maintain_partitions('t', '2026-01-01 12:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
SELECT ahead('date', '2 years', NULL, $$, origin => '2001-01-01'$$);
CALL walhouse.maintain_partitions('t', '2026-01-01 12:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
SELECT ahead('timestamptz', '6 hours', NULL, $$, zone => 'Europe/Berlin'$$);
CALL walhouse.maintain_partitions('t', '2026-03-28 22:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
SELECT ahead('bigint', 'day', NULL, $$, key => 'epoch_ms'$$);
CALL walhouse.maintain_partitions('t', '2026-03-28 22:00+00');
SELECT partition, from_value, to_value, to_timestamp(from_value::bigint / 1000) AT TIME ZONE 'UTC' AS instant FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
SELECT ahead('integer', 'hour', NULL, $$, key => 'epoch_s'$$);
CALL walhouse.maintain_partitions('t', '2026-03-28 22:10+00');
SELECT partition, from_value, to_value, to_timestamp(from_value::bigint) AT TIME ZONE 'UTC' AS instant FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
SELECT ahead('uuid', 'month', NULL);
CALL walhouse.maintain_partitions('t', '2026-03-28 22:00+00');
SELECT partition, from_value, from_value::uuid = walhouse.uuidv7_floor(lo::timestamptz) AS is_floor
FROM parts CROSS JOIN LATERAL (SELECT replace(substr(partition::text, 4), '_', '-') || '-01 00:00+00' AS lo) l WHERE parent = 't'::regclass ORDER BY from_value;
EXPLAIN (COSTS OFF) SELECT FROM t WHERE k >= walhouse.uuidv7_floor('2026-04-10 00:00+00') AND k < walhouse.uuidv7_floor('2026-04-12 00:00+00');
-- keys without time: from the greatest one on
SELECT ahead('bigint', '1000', NULL);
CALL walhouse.maintain_partitions('t');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value::bigint;
INSERT INTO t VALUES (-5), (1), (1999);
INSERT INTO t VALUES (1), (1999);
CALL walhouse.maintain_partitions('t');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value::bigint;
SELECT covered_to, lead_seconds FROM walhouse.stat_partition_set WHERE parent = 't'::regclass;
SELECT ahead('pg_lsn', '1 GB', NULL, $$, origin => '0/0'$$);
CALL walhouse.maintain_partitions('t');
SELECT partition, from_value, to_value FROM parts WHERE parent = 't'::regclass ORDER BY from_value;
DROP TABLE t;

-- what is refused
CREATE TABLE plain (k date);
CREATE TABLE listed (k text) PARTITION BY LIST (k);
CREATE TABLE two (k date, l date) PARTITION BY RANGE (k, l);
CREATE TABLE texts (k text) PARTITION BY RANGE (k);
CREATE TABLE lazy (k date) PARTITION BY RANGE (k);
CREATE TABLE lazy_rest PARTITION OF lazy DEFAULT;
CREATE TABLE event (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, v text) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('plain', 'day');
SELECT walhouse.create_partition_set('listed', 'day');
SELECT walhouse.create_partition_set('two', 'day');
SELECT walhouse.create_partition_set('texts', 'day');
SELECT walhouse.create_partition_set('lazy', 'day');
SELECT walhouse.create_partition_set(NULL, 'day');
SELECT walhouse.create_partition_set('event', 'fortnight');
SELECT walhouse.create_partition_set('event', '0 days');
SELECT walhouse.create_partition_set('event', '1 month 1 day');
SELECT walhouse.create_partition_set('event', 'month', origin => '2000-01-15');
SELECT walhouse.create_partition_set('event', 'day', zone => 'Mars/Olympus');
SELECT walhouse.create_partition_set('event', 'day', key => 'epoch_s');
SELECT walhouse.create_partition_set('event', 'day', retire_after => '-1 day');
SELECT walhouse.create_partition_set('event', 'day', outside => 'somewhere');
SELECT walhouse.create_partition_set('event', 'day', retire => 'burn');
SELECT walhouse.create_partition_set('event', 'day', outside => 'overflow');
SELECT walhouse.create_partition_set('event', 'day', retire => 'move');
SELECT walhouse.create_partition_set('event', 'day', subpartition => '{"by": "magic"}');
SELECT count(*) FROM walhouse.partition_set WHERE parent::text LIKE 'partition_sets.%' OR parent = 'event'::regclass;
BEGIN;
CALL walhouse.maintain_partitions();
ROLLBACK;

-- a life, step by step: sealed after a day, retired after ten
CREATE TABLE sale (id bigint, at timestamptz NOT NULL, amount numeric, note varchar(20), extra jsonb, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE INDEX ON sale (amount);
SELECT walhouse.create_partition_set('sale', 'day', lead_count => 1, horizon => '1000 years', seal_after => '1 day', retire_after => '10 days') > 0 AS made;
CALL walhouse.maintain_partitions('sale', '2026-01-01 12:00+00');
INSERT INTO sale SELECT i, '2026-01-01 00:00+00'::timestamptz + i * interval '1 hour', i * 1.5, 'note ' || i, '{"b": 1}' FROM generate_series(0, 47) i;
INSERT INTO sale VALUES (1000, '2026-01-02 00:00+00', NULL, NULL, NULL);
SELECT partition, state, next_step, due_utc FROM parts WHERE parent = 'sale'::regclass ORDER BY partition::text;
CALL walhouse.maintain_partitions('sale', '2026-01-03 00:00+00');
SELECT p.partition, p.state, p.next_step, p.rows, p.bytes > 0 AS has_bytes, jsonb_pretty(p.zone_map) AS zone_map
FROM walhouse.partitions p WHERE p.parent = 'sale'::regclass AND p.state = 'sealed' ORDER BY p.partition::text;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SELECT p.relid, p.checksum = (SELECT sum(hashtextextended(s::text, 0)) FROM sale_p2026_01_01 s) AS is_right
FROM walhouse.partition p WHERE p.relid = 'sale_p2026_01_01'::regclass;
SELECT relname, indexrelid::regclass AS index FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE relname = 'sale_p2026_01_01' ORDER BY 2;
-- nothing is due twice
CALL walhouse.maintain_partitions('sale', '2026-01-03 00:00+00');
SELECT step, partition, detail FROM walhouse.partition_event e JOIN walhouse.partition_set s USING (set_id) WHERE s.parent = 'sale'::regclass ORDER BY event_id;
-- what is held stays, until that is taken back
SELECT walhouse.hold_partition('sale_p2026_01_01', 'case 4711');
SELECT walhouse.hold_partition('plain', 'case 4711');
CALL walhouse.maintain_partitions('sale', '2026-01-14 00:00+00');
SELECT partition, state, next_step, due_utc FROM parts WHERE parent = 'sale'::regclass ORDER BY partition::text;
SELECT hold, held_by = current_user::regrole AS by_me FROM walhouse.partitions WHERE partition = 'sale_p2026_01_01'::regclass;
SELECT min(at), count(*) FROM sale;
SELECT walhouse.unhold_partition('sale_p2026_01_01');
CALL walhouse.maintain_partitions('sale', '2026-01-14 00:00+00');
SELECT partition, state, next_step, due_utc FROM parts WHERE parent = 'sale'::regclass ORDER BY partition::text;
-- a policy that changes: kept, or moved
CREATE SCHEMA partition_sets_old;
SELECT walhouse.alter_partition_set('sale', '{"retire": "keep", "seal_after": null}');
CALL walhouse.maintain_partitions('sale', '2026-01-25 00:00+00');
SELECT partition, state, next_step FROM parts WHERE parent = 'sale'::regclass ORDER BY partition::text;
SELECT walhouse.alter_partition_set('sale', '{"retire": "move"}');
SELECT walhouse.alter_partition_set('sale', '{"retire": "move", "retire_schema": "partition_sets_old", "retire_after": "5 days"}');
CALL walhouse.maintain_partitions('sale', '2026-02-01 00:00+00');
SELECT partition, state, next_step FROM parts WHERE parent = 'sale'::regclass ORDER BY partition::text;
SELECT walhouse.alter_partition_set('sale', '{"speed": "high"}');
-- dropped later than it is detached
SELECT walhouse.alter_partition_set('sale', '{"retire": "drop", "retire_after": "5 days", "drop_after": "8 days"}');
CALL walhouse.maintain_partitions('sale', '2026-02-09 00:00+00');
SELECT partition, state, next_step, due_utc FROM parts WHERE parent = 'sale'::regclass AND state NOT IN ('kept', 'moved') ORDER BY partition::text;
-- switched off
SELECT walhouse.alter_partition_set('sale', '{"enabled": false}');
CALL walhouse.maintain_partitions('sale', '2026-03-01 00:00+00');
SELECT partition, state, next_step, due_utc FROM parts WHERE parent = 'sale'::regclass AND state NOT IN ('kept', 'moved') ORDER BY partition::text;
SELECT walhouse.alter_partition_set('sale', '{"enabled": true}');
-- a set is not forgotten together with a hold
SELECT walhouse.hold_partition('sale_p2026_02_04', 'case 4712');
SELECT walhouse.drop_partition_set('sale');
SELECT walhouse.unhold_partition('sale_p2026_02_04');
SELECT walhouse.drop_partition_set('sale');
SELECT walhouse.drop_partition_set('sale');
SELECT count(*) FROM pg_inherits WHERE inhparent = 'sale'::regclass;
DROP TABLE sale;

-- partitions made by hand, also across the grid, are respected; what remains of a bucket gets its own
CREATE TABLE hand (at timestamp NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE hand_a PARTITION OF hand FOR VALUES FROM ('2026-01-01 06:00') TO ('2026-01-01 07:00');
CREATE TABLE hand_b PARTITION OF hand FOR VALUES FROM ('2026-01-01 22:00') TO ('2026-01-02 12:00');
CREATE TABLE hand_p2026_01_03 (not_a_partition int);
SELECT walhouse.create_partition_set('hand', 'day', lead_count => 2, retire_after => '1 year') > 0 AS made;
CALL walhouse.maintain_partitions('hand', '2026-01-01 12:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 'hand'::regclass ORDER BY from_value;
ALTER TABLE hand_b RENAME TO hand_renamed;
DROP TABLE hand_a;
ALTER TABLE hand DETACH PARTITION hand_p2026_01_02;
CALL walhouse.maintain_partitions('hand', '2026-01-02 12:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 'hand'::regclass ORDER BY from_value;
SELECT lead_seconds > 0 AS has_lead, partitions, overdue > 0 AS is_overdue, failing, error FROM walhouse.stat_partition_set WHERE parent = 'hand'::regclass;
-- a default partition that somebody adds stops the set, and no view
CREATE TABLE hand_rest PARTITION OF hand DEFAULT;
CALL walhouse.maintain_partitions('hand', '2026-01-03 12:00+00');
SELECT failing, error FROM walhouse.stat_partition_set WHERE parent = 'hand'::regclass;
DROP TABLE hand_rest;
CALL walhouse.maintain_partitions('hand', '2026-01-03 12:00+00');
SELECT failing, error FROM walhouse.stat_partition_set WHERE parent = 'hand'::regclass;
DROP TABLE hand, hand_p2026_01_02, hand_p2026_01_03;

-- another zone, and a clock that goes back: what is there stays, nothing overlaps, no instant is left out
CREATE TABLE zoned (at timestamptz NOT NULL) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('zoned', 'day', zone => 'Europe/Berlin', lead_count => 1) > 0 AS made;
CALL walhouse.maintain_partitions('zoned', '2026-01-01 12:00+00');
SELECT walhouse.alter_partition_set('zoned', '{"zone": "America/New_York"}');
CALL walhouse.maintain_partitions('zoned', '2026-01-02 12:00+00');
CALL walhouse.maintain_partitions('zoned', '2026-01-01 13:00+00');
SELECT partition, from_value, to_value FROM parts WHERE parent = 'zoned'::regclass ORDER BY from_value;
DROP TABLE zoned;

-- rows that need partitions
CREATE TABLE log (at date, n int, twice int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('log', 'month', lead_count => 0, horizon => '20 years') > 0 AS made;
SELECT walhouse.make_partition('log', to_char(now(), 'YYYY') || '-01-17') = to_regclass('log_p' || to_char(now(), 'YYYY') || '_01') AS is_named;
SELECT count(*) FROM parts WHERE parent = 'log'::regclass;
SELECT walhouse.make_partition('log', to_char(now(), 'YYYY') || '-01-31') = to_regclass('log_p' || to_char(now(), 'YYYY') || '_01') AS is_the_same;
\set VERBOSITY terse
SELECT walhouse.make_partition('log', '2126-01-31');
SELECT walhouse.make_partition('log', 'infinity');
CALL walhouse.insert_rows('partition_sets.log', $$ SELECT now()::date - i * 40 AS at, i AS n FROM generate_series(1, 10) i UNION ALL SELECT '2126-01-01', 11 $$);
SELECT count(*) FROM log;
CALL walhouse.insert_rows('partition_sets.log', $$ SELECT now()::date - i * 40 AS at, i AS n FROM generate_series(1, 10) i $$);
SELECT count(*), sum(twice), count(DISTINCT tableoid) FROM log;
SELECT walhouse.alter_partition_set('log', '{"outside": "overflow"}');
CALL walhouse.insert_rows('partition_sets.log', $$ SELECT d AS at, 1 AS n FROM unnest('{2126-01-01, infinity, -infinity, 1999-01-01, NULL}'::date[]) d UNION ALL SELECT now()::date, 12 $$);
SELECT count(*) FROM log;
SELECT at, n FROM log_overflow ORDER BY 1;
SELECT walhouse.alter_partition_set('log', '{"horizon": "200 years"}');
CALL walhouse.drain_overflow('partition_sets.log');
SELECT at, n, twice, tableoid::regclass FROM log WHERE at IN ('2126-01-01', '1999-01-01') ORDER BY 1;
SELECT at FROM log_overflow ORDER BY 1;
SELECT walhouse.alter_partition_set('log', '{"outside": "create", "horizon": "1 day"}');
CALL walhouse.insert_rows('partition_sets.log', $$ SELECT '0044-03-15 BC'::date AS at, 44 AS n $$);
SELECT at, tableoid::regclass FROM log WHERE n = 44;
CALL walhouse.insert_rows('partition_sets.log', $$ SELECT NULL::date AS at, 44 AS n $$);
CALL walhouse.insert_rows('partition_sets.log', $$ SELECT 'infinity'::date AS at, 44 AS n $$);
\set VERBOSITY default
BEGIN;
CALL walhouse.insert_rows('partition_sets.log', 'SELECT 1');
ROLLBACK;
DROP TABLE log, log_overflow;

-- levels below
CREATE TABLE tenant (at date, tenant text, customer int) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('tenant', 'year', lead_count => 0, lead => '0 days',
    subpartition => '{"by": "list", "column": "tenant", "values": [["a", "b"], "c", [null]], "sub": {"by": "hash", "column": "customer", "count": 2}}') > 0 AS made;
CALL walhouse.maintain_partitions('tenant', '2026-05-01 00:00+00');
SELECT relid, parentrelid, level, isleaf, pg_get_expr(relpartbound, c.oid) FROM pg_partition_tree('tenant') t JOIN pg_class c ON c.oid = t.relid ORDER BY level, relid::text;
INSERT INTO tenant VALUES ('2026-01-01', 'a', 1), ('2026-01-01', 'c', 2), ('2026-01-01', NULL, 3);
SELECT tenant, tableoid::regclass FROM tenant ORDER BY 1;
SELECT walhouse.alter_partition_set('tenant', '{"seal_after": "0", "retire_after": "1 day"}');
CALL walhouse.maintain_partitions('tenant', '2027-01-01 12:00+00');
SELECT partition, state, next_step, rows FROM walhouse.partitions WHERE parent = 'tenant'::regclass ORDER BY partition::text;
CALL walhouse.maintain_partitions('tenant', '2027-01-02 12:00+00');
SELECT relid FROM pg_partition_tree('tenant') WHERE level = 1 ORDER BY 1;
DROP TABLE tenant;

-- a plan shows what comes, with the statements that are run
CREATE TABLE planned (at date) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('planned', 'day', seal_after => '0', retire_after => '3 days', drop_after => '7 days', lead_count => 1) > 0 AS made;
CALL walhouse.maintain_partitions('planned', '2026-01-01 12:00+00');
SELECT walhouse.hold_partition('planned_p2026_01_01', 'a reason');
SELECT step, partition, statement, lock, rows, detail FROM walhouse.partition_plan('planned') WHERE step <> 'make' ORDER BY partition, due;
SELECT count(*), count(DISTINCT statement), bool_and(statement LIKE 'CREATE TABLE partition_sets.planned_p%(LIKE %); ALTER TABLE % ATTACH PARTITION %') AS is_like_and_attach, min(lock)
FROM walhouse.partition_plan('planned', '10 days') WHERE step = 'make';
DROP TABLE planned;

-- others may look and not touch
CREATE ROLE partition_sets_other;
CREATE ROLE partition_sets_owner;
GRANT CREATE, USAGE ON SCHEMA partition_sets TO partition_sets_owner;
GRANT USAGE ON SCHEMA partition_sets TO partition_sets_other;
SET ROLE partition_sets_owner;
CREATE TABLE mine (at date, secret text) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('mine', 'year', lead_count => 0, lead => '1 day', seal_after => '0') > 0 AS made;
CALL walhouse.maintain_partitions('mine', '2026-01-01 12:00+00');
INSERT INTO mine VALUES ('2026-01-01', 'hush');
CALL walhouse.maintain_partitions('mine', '2027-01-01 00:00+00');
SELECT zone_map FROM walhouse.partitions WHERE parent = 'mine'::regclass AND state = 'sealed';
SELECT relname, relowner::regrole FROM pg_class WHERE relname LIKE 'mine%' ORDER BY 1;
RESET ROLE;
SET ROLE partition_sets_other;
SELECT partition, state, zone_map FROM walhouse.partitions WHERE parent = 'mine'::regclass ORDER BY partition::text;
SELECT parent, partitions, sealed, error FROM walhouse.stat_partition_set WHERE parent = 'mine'::regclass;
SELECT zone_map FROM walhouse.partition;
SELECT walhouse.create_partition_set('mine', 'day');
SELECT walhouse.alter_partition_set('mine', '{}');
SELECT walhouse.drop_partition_set('mine');
SELECT walhouse.hold_partition('mine_p2026', 'no');
SELECT walhouse.make_partition('mine', '2030-01-01');
SELECT * FROM walhouse.partition_plan('mine');
CALL walhouse.maintain_partitions('mine');
CALL walhouse.insert_rows('partition_sets.mine', 'SELECT 1');
RESET ROLE;
-- a partition that the set's owner may not vacuum is not sealed
CALL walhouse.maintain_partitions('mine', '2027-01-02 00:00+00');
ALTER TABLE mine_p2027 OWNER TO partition_sets_other;
GRANT SELECT ON mine_p2027 TO partition_sets_owner;
CALL walhouse.maintain_partitions('mine', '2028-01-01 00:00+00');
SELECT partition, state, failures, error FROM walhouse.partitions WHERE partition = 'mine_p2027'::regclass;
ALTER TABLE mine_p2027 OWNER TO partition_sets_owner;
CALL walhouse.maintain_partitions('mine', '2028-01-01 00:00+00');
SELECT partition, state, failures, error FROM walhouse.partitions WHERE partition = 'mine_p2027'::regclass;
-- a dropped table takes its set along
DROP TABLE mine;
SELECT count(*) FROM walhouse.partitions WHERE parent::text LIKE '%mine%';
CALL walhouse.maintain_partitions(at => '2100-01-01');
SELECT count(*) FROM walhouse.partition_set s WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.parent);
SET client_min_messages = warning;
DROP SCHEMA partition_sets, partition_sets_old CASCADE;
DROP ROLE partition_sets_other, partition_sets_owner;
CALL walhouse.maintain_partitions(at => '2100-01-01');
SELECT count(*) FROM walhouse.partition_set;
ALTER SYSTEM RESET walhouse.worker;
SELECT pg_reload_conf();
