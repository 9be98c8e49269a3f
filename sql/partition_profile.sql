-- partition: how sealed partitions are kept: indexes, fillfactor, tablespaces and, once they are moved, the access method.
CREATE SCHEMA partition_profile;
ALTER SYSTEM SET walhouse.worker = off;
SELECT pg_reload_conf();
SET search_path = partition_profile, pg_catalog;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE partition_profile_cold LOCATION '';
CREATE ACCESS METHOD partition_profile_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE VIEW indexes AS
    SELECT c.relname AS partition, x.relname AS index, a.amname AS method, pg_get_indexdef(i.indexrelid, 1, true) AS first,
           i.indisvalid AS is_valid, coalesce(t.spcname, '-') AS tablespace
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am a ON a.oid = x.relam
         LEFT JOIN pg_tablespace t ON t.oid = x.reltablespace
    WHERE c.relnamespace IN ('partition_profile'::regnamespace, to_regnamespace('partition_profile_old')) AND c.relkind = 'r';

-- what is refused
CREATE TABLE event (id bigint, at timestamptz NOT NULL, kind text, n int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE VIEW parts AS
    SELECT p.partition, p.state, p.next_step, to_char(p.due AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS due_utc, p.error
    FROM walhouse.partitions p WHERE p.parent = 'event'::regclass;
\set VERBOSITY terse
SELECT walhouse.create_partition_set('event', 'day', profile => '{"colour": "blue"}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"indexes": {"brin": ["at"]}}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"indexes": [{"brin": ["nothing"]}]}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"indexes": [{"magic": ["at"]}]}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"indexes": [{"brin": "at"}]}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"indexes": [{"brin": [null]}]}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"indexes": ["brin (at); DROP TABLE event"]}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"fillfactor": 5}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"fillfactor": "high"}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"after": "-1 day"}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"after": 7}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"storage": ["fillfactor"]}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"storage": {"fillfactor": 5}}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"storage": {"autovacuum_enabled": null}}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"storage": {"fillfactor); DROP TABLE event; --": 1}}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"storage": {"toast.fillfactor": 70}}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"index_tablespace": "nowhere"}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"tablespace": "partition_profile_cold"}');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"access_method": "btree"}', retire => 'move', retire_schema => 'partition_profile');
SELECT walhouse.create_partition_set('event', 'day', profile => '{"open_indexes": [{"btree": ["kind"]}]}', subpartition => '{"by": "hash", "column": "id", "count": 2}');
\set VERBOSITY default

-- btree while rows come, BRIN afterwards
SELECT walhouse.create_partition_set('event', 'day', lead_count => 1, horizon => '1000 years', seal_after => '1 day', retire_after => '10 days',
    profile => '{"open_indexes": [{"btree": ["at"]}, {"hash": ["kind"]}], "indexes": [{"brin": ["at", "n"]}, {"hash": ["kind"]}], "fillfactor": 100, "after": "2 days",
        "storage": {"fillfactor": 70, "autovacuum_enabled": true, "toast.autovacuum_vacuum_threshold": 10}}') > 0 AS made;
CALL walhouse.maintain_partitions('event', '2026-01-01 12:00+00');
SELECT * FROM indexes ORDER BY 1, 2;
SELECT c.relname, c.reloptions, t.reloptions AS toast FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.relnamespace = 'partition_profile'::regnamespace ORDER BY 1;
INSERT INTO event SELECT i, '2026-01-01 00:00+00'::timestamptz + i * interval '1 hour', 'k' || i % 3, i FROM generate_series(0, 23) i;
CREATE INDEX by_hand ON event_p2026_01_01 (n) WHERE n > 5;
CREATE INDEX by_hand_too ON event_p2026_01_01 (kind);
CALL walhouse.maintain_partitions('event', '2026-01-03 00:00+00');
SELECT * FROM parts ORDER BY partition::text;
SELECT step, partition, statement, lock FROM walhouse.partition_plan('event', '1 day') WHERE partition = 'partition_profile.event_p2026_01_01';
CALL walhouse.maintain_partitions('event', '2026-01-04 00:00+00');
SELECT * FROM parts WHERE state = 'profiled' ORDER BY partition::text;
SELECT * FROM indexes WHERE partition = 'event_p2026_01_01' ORDER BY 2;
SELECT reloptions FROM pg_class WHERE oid = 'event_p2026_01_01'::regclass;
SELECT partition, kind, detail FROM walhouse.partition_drift('event') WHERE kind = 'storage parameter';
ALTER TABLE event_p2026_01_01 SET (fillfactor = 70);
SELECT partition, kind, detail FROM walhouse.partition_drift('event') WHERE kind = 'storage parameter';
ALTER TABLE event_p2026_01_01 SET (fillfactor = 100);
SELECT count(*) FROM event WHERE at < '2026-01-02';
-- nothing is done twice
CREATE TABLE before AS SELECT oid, relfilenode FROM pg_class WHERE relnamespace = 'partition_profile'::regnamespace AND relname LIKE 'event_p2026_01_01%';
SELECT walhouse.alter_partition_set('event', '{"profile": {"indexes": [{"brin": ["at", "n"]}, {"hash": ["kind"]}], "fillfactor": 100, "after": "2 days"}}');
SELECT * FROM parts WHERE partition = 'event_p2026_01_01'::regclass;
CALL walhouse.maintain_partitions('event', '2026-01-04 00:00+00');
SELECT * FROM parts WHERE partition = 'event_p2026_01_01'::regclass;
SELECT count(*) FROM before b JOIN pg_class c USING (oid, relfilenode);
SELECT step, count(*) FROM walhouse.partition_event e JOIN walhouse.partition_set s USING (set_id) WHERE s.parent = 'event'::regclass AND e.partition LIKE '%2026_01_01' GROUP BY 1 ORDER BY 1;
-- another profile is taken over; what an index that was cut off has left is made anew; all indexes, also the parent's, to another tablespace
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'event_p2026_01_01_at_n_idx'::regclass;
SELECT walhouse.alter_partition_set('event', '{"profile": {"indexes": [{"brin": ["at", "n"]}], "fillfactor": 90, "index_tablespace": "partition_profile_cold"}}');
CALL walhouse.maintain_partitions('event', '2026-01-04 00:00+00');
SELECT * FROM parts ORDER BY partition::text;
SELECT * FROM indexes WHERE partition = 'event_p2026_01_01' ORDER BY 2;
SELECT reloptions FROM pg_class WHERE oid = 'event_p2026_01_01'::regclass;
SELECT indisvalid FROM pg_index WHERE indexrelid = 'event_pkey'::regclass;
-- one that is held is profiled; what is to go sooner is not
SELECT walhouse.hold_partition('event_p2026_01_03', 'a case');
SELECT walhouse.alter_partition_set('event', '{"retire_after": "3 days", "profile": {"indexes": [{"brin": ["n"]}], "after": "4 days"}}');
CALL walhouse.maintain_partitions('event', '2026-01-05 12:00+00');
SELECT * FROM parts ORDER BY partition::text;
CALL walhouse.maintain_partitions('event', '2026-01-09 12:00+00');
SELECT * FROM parts ORDER BY partition::text;
SELECT walhouse.unhold_partition('event_p2026_01_03');

-- a table's own tablespace and access method, when it is no partition any more
CREATE SCHEMA partition_profile_old;
SELECT walhouse.alter_partition_set('event', '{"retire": "move", "retire_schema": "partition_profile_old", "retire_after": "2 days",
    "profile": {"tablespace": "partition_profile_cold", "access_method": "partition_profile_heap"}}');
INSERT INTO event VALUES (1, '2026-01-10 01:00+00', 'kept', 1);
SELECT step, partition, statement, lock FROM walhouse.partition_plan('event', '100 years') WHERE partition = 'partition_profile.event_p2026_01_10';
CALL walhouse.maintain_partitions('event', '2026-01-13 00:00+00');
SELECT c.relname, a.amname, t.spcname FROM pg_class c JOIN pg_am a ON a.oid = c.relam LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
WHERE c.relnamespace = 'partition_profile_old'::regnamespace AND c.relkind = 'r' AND c.relname = 'event_p2026_01_10';
SELECT * FROM partition_profile_old.event_p2026_01_10;

-- levels below: each leaf
CREATE TABLE deep (at date, tenant int) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('deep', 'year', lead_count => 0, lead => '0 days', seal_after => '0', subpartition => '{"by": "hash", "column": "tenant", "count": 2}',
    profile => '{"indexes": [{"brin": ["at"]}]}') > 0 AS made;
CALL walhouse.maintain_partitions('deep', '2026-05-01 00:00+00');
CALL walhouse.maintain_partitions('deep', '2027-05-01 00:00+00');
SELECT partition, state FROM walhouse.partitions WHERE parent = 'deep'::regclass ORDER BY partition::text;
SELECT * FROM indexes WHERE partition LIKE 'deep%' ORDER BY 1, 2;

-- as the owner, with no more rights than the owner has
CREATE ROLE partition_profile_owner;
GRANT CREATE, USAGE ON SCHEMA partition_profile TO partition_profile_owner;
SET ROLE partition_profile_owner;
CREATE TABLE mine (at date, n int) PARTITION BY RANGE (at);
SELECT walhouse.create_partition_set('mine', 'year', profile => '{"index_tablespace": "partition_profile_cold"}');
SELECT walhouse.create_partition_set('mine', 'year', lead_count => 0, lead => '0 days', seal_after => '0', profile => '{"indexes": [{"brin": ["at"]}]}') > 0 AS made;
CALL walhouse.maintain_partitions('mine', '2026-05-01 00:00+00');
RESET ROLE;
REVOKE CREATE ON SCHEMA partition_profile FROM partition_profile_owner;
SET ROLE partition_profile_owner;
CALL walhouse.maintain_partitions('mine', '2027-05-01 00:00+00');
RESET ROLE;
SELECT partition, state, next_step, error FROM walhouse.partitions WHERE parent = 'mine'::regclass ORDER BY partition::text;
GRANT CREATE ON SCHEMA partition_profile TO partition_profile_owner;
CALL walhouse.maintain_partitions('mine', '2027-05-01 00:00+00');
SELECT partition, state, next_step, error FROM walhouse.partitions WHERE parent = 'mine'::regclass ORDER BY partition::text;
SELECT DISTINCT relowner::regrole FROM pg_class WHERE relname LIKE 'mine%';

SET client_min_messages = warning;
DROP SCHEMA partition_profile, partition_profile_old CASCADE;
REVOKE ALL ON SCHEMA public FROM partition_profile_owner;
DROP ROLE partition_profile_owner;
DROP ACCESS METHOD partition_profile_heap;
DROP TABLESPACE partition_profile_cold;
CALL walhouse.maintain_partitions(at => '2100-01-01');
ALTER SYSTEM RESET walhouse.worker;
SELECT pg_reload_conf();
