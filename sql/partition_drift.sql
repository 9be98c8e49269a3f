-- partition: how partitions differ from their table, and what repairs it; the repairs are run, and nothing differs any more.
CREATE SCHEMA partition_drift;
ALTER SYSTEM SET walhouse.worker = off;
SELECT pg_reload_conf();
CREATE ROLE partition_drift_owner;
CREATE ROLE partition_drift_reader;
CREATE ROLE "partition_drift Writer";
GRANT USAGE, CREATE ON SCHEMA partition_drift TO partition_drift_owner;
SET ROLE partition_drift_owner;
SET search_path = partition_drift, pg_catalog;

-- what walhouse makes is as the table is, also where LIKE leaves something out
CREATE TABLE t (id int NOT NULL, at date NOT NULL, "a b" text, n numeric) PARTITION BY RANGE (at);
CREATE TABLE deep (id int NOT NULL, at date NOT NULL, v text) PARTITION BY RANGE (at);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
ALTER TABLE t REPLICA IDENTITY FULL;
ALTER TABLE t ALTER COLUMN n SET STATISTICS 500;
CREATE INDEX ON t (n);
CREATE STATISTICS t_stat ON id, n FROM t;
GRANT SELECT ON t TO partition_drift_reader;
SELECT walhouse.create_partition_set('t', 'month', lead_count => 1, profile => '{"storage": {"fillfactor": 80, "toast.autovacuum_enabled": false}}') > 0 AS made;
SELECT walhouse.create_partition_set('deep', 'month', lead_count => 0, lead => '1 day', subpartition => '{"by": "hash", "column": "id", "count": 2}',
    profile => '{"storage": {"autovacuum_vacuum_scale_factor": 0.01}}') > 0 AS made;
CALL walhouse.maintain_partitions('t', '2026-01-15 12:00+00');
CALL walhouse.maintain_partitions('deep', '2026-01-15 12:00+00');
CREATE VIEW drift AS
    SELECT d.parent, d.partition, d.kind, d.detail, r.repair, d.lock
    FROM (VALUES ('t'::regclass), ('deep')) s(parent) CROSS JOIN LATERAL walhouse.partition_drift(s.parent) WITH ORDINALITY d (parent, partition, kind, detail, repair, lock, i)
         LEFT JOIN LATERAL unnest(d.repair) WITH ORDINALITY r(repair, i) ON true ORDER BY s.parent::text, d.i, r.i;
SELECT * FROM drift;
SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'partition_drift'::regnamespace AND relkind = 'r' ORDER BY 1;
SELECT parent, drift FROM walhouse.stat_partition_set WHERE parent IN ('t'::regclass, 'deep'::regclass) ORDER BY 1;

-- all that may differ
ALTER TABLE t_p2026_01 ADD CONSTRAINT "by hand" UNIQUE (id, at);
CREATE INDEX "Half" ON t_p2026_01 (lower("a b")) WITH (fillfactor = 70) WHERE n > 0;
CREATE UNIQUE INDEX unique_only ON t_p2026_01 (at, id, n) NULLS NOT DISTINCT;
ALTER TABLE ONLY t ADD CONSTRAINT t_key UNIQUE (id, at);
ALTER TABLE ONLY t ADD CONSTRAINT "t Later" UNIQUE (at, id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE t ALTER COLUMN n SET NOT NULL;
ALTER TABLE ONLY t ADD PRIMARY KEY (at, id, n);
CREATE INDEX t_half ON ONLY t (lower("a b")) WITH (fillfactor = 70) WHERE n > 0;
CREATE INDEX t_covering ON ONLY t USING btree (at DESC NULLS LAST) INCLUDE (n);
CREATE UNIQUE INDEX t_unique ON ONLY t (at, id, n) NULLS NOT DISTINCT;
ALTER INDEX t_p2026_01_n_idx SET (fillfactor = 50);
ALTER TABLE t_p2026_02 ALTER COLUMN n SET STATISTICS 10, ALTER COLUMN id SET STATISTICS 10;
ALTER TABLE t_p2026_02 ALTER COLUMN "a b" SET STORAGE EXTERNAL, ALTER COLUMN "a b" SET COMPRESSION pglz;
CREATE STATISTICS partition_drift.t_more (mcv) ON at, n FROM t;
CREATE STATISTICS partition_drift.t_lower ON lower("a b") FROM t;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER "keeps Still" BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TABLE t_p2026_02 DISABLE TRIGGER "keeps Still";
GRANT SELECT, INSERT ON t TO "partition_drift Writer";
GRANT SELECT, DELETE ON t_p2026_02 TO "partition_drift Writer";
GRANT TRUNCATE ON t_p2026_02 TO PUBLIC;
GRANT UPDATE (id, "a b"), REFERENCES (n) ON t TO "partition_drift Writer" WITH GRANT OPTION;
GRANT UPDATE (id), INSERT ("a b") ON t_p2026_02 TO "partition_drift Writer";
GRANT SELECT (n) ON t TO PUBLIC;
GRANT SELECT (v) ON deep_p2026_01 TO partition_drift_reader;
ALTER TABLE t_p2026_01 SET (fillfactor = 100, toast.autovacuum_enabled = true, autovacuum_enabled = false);
ALTER TABLE t_p2026_02 RESET (fillfactor, toast.autovacuum_enabled);
ALTER TABLE deep_p2026_01_h1 RESET (autovacuum_vacuum_scale_factor);
ALTER TABLE t_p2026_01 DISABLE ROW LEVEL SECURITY, REPLICA IDENTITY DEFAULT;
ALTER TABLE t_p2026_02 FORCE ROW LEVEL SECURITY, SET UNLOGGED;
CREATE UNIQUE INDEX deep_key ON ONLY deep (id, at);
ALTER TABLE deep REPLICA IDENTITY USING INDEX deep_key;
RESET ROLE;
ALTER TABLE t_p2026_01 OWNER TO CURRENT_USER;
SET ROLE partition_drift_owner;
\x on
SELECT * FROM drift;
\x off
SELECT parent, drift FROM walhouse.stat_partition_set WHERE parent IN ('t'::regclass, 'deep'::regclass) ORDER BY 1;

-- an index that was begun concurrently and given up is begun anew
INSERT INTO t VALUES (1, '2026-01-01', 'x', 1);
RESET ROLE;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'partition_drift."Half"'::regclass;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'partition_drift.t_p2026_01_n_idx'::regclass;
SELECT kind, detail, repair, lock FROM drift WHERE repair ~ '"Half"|half' OR detail LIKE '%not valid%';

-- repaired, by whoever may do it, level by level
SELECT repair FROM drift \gexec
SELECT repair FROM drift \gexec
SELECT repair FROM drift \gexec
SELECT * FROM drift;
SELECT indexrelid::regclass AS index, indisvalid AS is_valid FROM pg_index WHERE indrelid IN ('t'::regclass, 'deep'::regclass) ORDER BY 1;
SELECT parent, drift FROM walhouse.stat_partition_set WHERE parent IN ('t'::regclass, 'deep'::regclass) ORDER BY 1;
-- and a partition that is made then has nothing to be repaired
CALL walhouse.maintain_partitions('t', '2026-02-15 12:00+00');
SELECT * FROM drift;
-- what is no set does not differ
SELECT count(*) FROM walhouse.partition_drift('pg_class');
RESET search_path;
DROP SCHEMA partition_drift CASCADE;
DROP ROLE partition_drift_owner, partition_drift_reader, "partition_drift Writer";
ALTER SYSTEM RESET walhouse.worker;
SELECT pg_reload_conf();
