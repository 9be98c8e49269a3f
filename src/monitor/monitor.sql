-- monitor: what feeds, tables and models do, for people and for monitoring systems.  Readable by all; errors may quote data, so
-- they are shown to owners and to monitoring (pg_read_all_stats, and so pg_monitor) alone.

CREATE FUNCTION walhouse.stat_workers(OUT feed_id integer, OUT pid integer, OUT state text, OUT activity text,
                                      OUT started timestamptz, OUT next_start timestamptz, OUT failures integer,
                                      OUT error text, OUT error_time timestamptz, OUT source_lsn pg_lsn,
                                      OUT "position" pg_lsn, OUT caught_up boolean, OUT ingests bigint, OUT loads bigint,
                                      OUT builds integer, OUT received_lsn pg_lsn, OUT confirmed_lsn pg_lsn,
                                      OUT open_transactions integer, OUT streamed bigint, OUT spilled bigint,
                                      OUT spilled_bytes bigint, OUT heard timestamptz)
RETURNS SETOF record
LANGUAGE c STRICT VOLATILE PARALLEL RESTRICTED
ROWS 10
AS 'MODULE_PATHNAME', 'walhouse_stat_workers';
COMMENT ON FUNCTION walhouse.stat_workers() IS
    'The workers of this database''s feeds, as shared memory knows them; no row without shared_preload_libraries. Read the view walhouse.stat_feed.';

CREATE FUNCTION walhouse.stat_stages(feed_id integer, OUT loaded_to pg_lsn, OUT waits_since timestamptz, OUT reach timestamptz)
LANGUAGE c STRICT VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'walhouse_stat_stages';
COMMENT ON FUNCTION walhouse.stat_stages(integer) IS
    'What the log of a feed says of its stages, for walhouse.stat_feed: up to where all current models are, the commit time of the first source transaction behind that (NULL: there is none), and that of the first one in the log.';

CREATE VIEW walhouse.stat_feed AS
    SELECT f.name AS feed,
           f.owner,
           f.state,
           f.enabled,
           CASE WHEN w.state IS NOT NULL THEN w.state WHEN f.enabled THEN 'none' ELSE 'stopped' END AS worker,
           w.pid,
           w.activity,
           s.pid AS stream_pid,
           f.server,
           f.slot,
           p.position,
           p.clock,
           p.stored,
           w.source_lsn,
           CASE WHEN w.caught_up THEN 0 WHEN w.source_lsn IS NOT NULL THEN greatest(w.source_lsn - p.position, 0) END AS lag_bytes,
           CASE WHEN w.caught_up THEN '0'::interval
                WHEN w.pid IS NOT NULL THEN greatest(pg_catalog.clock_timestamp() - p.clock, '0'::interval) END AS commit_lag,
           w.started,
           w.ingests,
           w.loads,
           w.builds,
           w.received_lsn,
           w.confirmed_lsn,
           w.open_transactions,
           w.streamed,
           w.spilled,
           w.spilled_bytes,
           w.failures,
           w.next_start,
           CASE WHEN pg_catalog.pg_has_role(f.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
                THEN COALESCE(f.error, w.error) END AS error,
           COALESCE(f.error_time, w.error_time) AS error_time,
           w.heard,
           CASE WHEN w.heard IS NOT NULL THEN greatest(w.source_lsn - w.received_lsn, 0) END AS received_lag_bytes,
           CASE WHEN w.heard IS NOT NULL THEN greatest(pg_catalog.clock_timestamp() - w.heard, '0'::interval) END AS received_lag,
           CASE WHEN g.waits_since IS NOT NULL THEN greatest(greatest(w.source_lsn, p.position) - g.loaded_to, 0)
                WHEN w.caught_up THEN 0 WHEN w.heard IS NOT NULL THEN greatest(w.source_lsn - p.position, 0) END AS loaded_lag_bytes,
           CASE WHEN g.waits_since IS NOT NULL THEN greatest(pg_catalog.clock_timestamp() - g.waits_since, '0'::interval)
                WHEN w.caught_up THEN '0'::interval
                WHEN w.pid IS NOT NULL THEN greatest(pg_catalog.clock_timestamp() - p.clock, '0'::interval) END AS loaded_lag,
           CASE WHEN w.heard IS NOT NULL THEN greatest(w.source_lsn - w.confirmed_lsn, 0) END AS confirmed_lag_bytes,
           CASE WHEN w.confirmed_lsn IS NOT NULL
                THEN COALESCE((SELECT pg_catalog.clock_timestamp() - pg_catalog.min(n.stored) FROM walhouse.feed_position n
                               WHERE n.feed_id = f.feed_id AND n.position > w.confirmed_lsn), '0'::interval) END AS confirmed_lag,
           f.horizon,
           g.reach,
           (SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(x.relid))::bigint
            FROM walhouse.feed_table t CROSS JOIN LATERAL pg_catalog.pg_partition_tree(t.log) x
            WHERE t.feed_id = f.feed_id) AS log_bytes,
           least(p.position, n.needed_lsn) AS needed_lsn
    FROM walhouse.feed f
         LEFT JOIN LATERAL walhouse.stat_stages(f.feed_id) g ON true
         LEFT JOIN LATERAL (SELECT fp.position, fp.clock, fp.stored FROM walhouse.feed_position fp
                            WHERE fp.feed_id = f.feed_id ORDER BY fp.position DESC LIMIT 1) p ON true
         LEFT JOIN LATERAL (SELECT pg_catalog.min((SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = m.model_id ORDER BY l.load_id DESC LIMIT 1)) AS needed_lsn
                            FROM walhouse.model m WHERE m.feed_id = f.feed_id AND m.state IN ('live', 'stopped')) n ON true
         LEFT JOIN walhouse.stat_workers() w ON w.feed_id = f.feed_id
         LEFT JOIN pg_catalog.pg_locks s
             ON s.locktype = 'object' AND s.granted AND s.objsubid = 1
                AND s.classid = 'walhouse.feed'::regclass::oid AND s.objid = f.feed_id::bigint::oid
                AND s.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                  WHERE d.datname = pg_catalog.current_database());
COMMENT ON VIEW walhouse.stat_feed IS
    'One row for each feed. worker: stopped, starting, running, waiting to restart (at next_start, after failures in a row), stopping, or none (started, but the launcher has not got to it, or walhouse.worker is off). stream_pid: the process that reads the slot, a worker or a session in walhouse.run. position, clock: what is in the mirrors, and the commit time that goes with it. source_lsn: how far the source said its WAL goes; lag_bytes: how much of it is not in yet, 0 when nothing of it concerns the feed; commit_lag: the age of the newest commit that is in while more waits, otherwise 0. received_lsn, confirmed_lsn: the last message, and what the source was told is durable; open_transactions: streamed and not at their end; streamed, spilled, spilled_bytes: transactions that came while they were open, those that went through temporary files, and how much. These, ingests and loads are the worker''s own, and NULL or 0 without one. Lags by stage, in bytes and in time: received (heard: when the source last said anything), in the log (lag_bytes, commit_lag), loaded (for how long the first commit that is not in all current models has been there), confirmed. horizon, reach: from which position, and commit time, on the log is complete; log_bytes: its size, which a query that does not name it does not compute. needed_lsn: from where on a model has yet to load it.';

CREATE VIEW walhouse.stat_table AS
    SELECT f.name AS feed,
           t.source_schema,
           t.source_name,
           t.mirror,
           t.log,
           t.state,
           t.sync_lsn,
           greatest(c.reltuples, 0)::bigint AS rows_estimated,
           pg_catalog.pg_total_relation_size(t.mirror) AS mirror_bytes,
           CASE WHEN pg_catalog.pg_has_role(f.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
                THEN t.error END AS error,
           t.error_time,
           t.mirrored
    FROM walhouse.feed_table t
         JOIN walhouse.feed f USING (feed_id)
         LEFT JOIN pg_catalog.pg_class c ON c.oid = t.mirror;
COMMENT ON VIEW walhouse.stat_table IS
    'One row for each source table of a feed. state: copy (the first copy is not finished), ready, resync (something happened at the source that is not followed, see error; CALL walhouse.resync_table). sync_lsn: changes up to there came by the copy. rows_estimated: of the mirror, by its last ANALYZE. mirrored: false when walhouse.set_mirror has switched the mirror off.';

CREATE VIEW walhouse.progress_snapshot AS
    SELECT s.stream_pid AS pid,
           d.oid AS datid,
           d.datname,
           t.mirror::oid AS relid,
           c.command,
           CASE WHEN c.failures > 0 THEN 'waiting after an error'
                WHEN NOT c.begun THEN 'initializing'
                WHEN c.blocks IS NULL AND NOT c.all_read THEN 'waiting for transactions of the source'
                WHEN c.all_read THEN 'finishing'
                ELSE 'copying' END AS phase,
           c.bytes_processed,
           c.bytes_total,
           c.tuples_processed,
           c.tuples_excluded,
           c.tuples_estimated,
           (SELECT pg_catalog.sum(pg_catalog.upper(r) - pg_catalog.lower(r)) FROM pg_catalog.unnest(c.read) r)::bigint AS blocks_processed,
           c.blocks AS blocks_total,
           c.chunks,
           f.name AS feed,
           t.source_schema,
           t.source_name,
           c.started,
           c.changed,
           c.failures,
           c.next_try,
           CASE WHEN pg_catalog.pg_has_role(f.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
                THEN c.error END AS error
    FROM walhouse.feed_copy c
         JOIN walhouse.feed_table t USING (feed_id, source_relid)
         JOIN walhouse.feed f USING (feed_id)
         JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
         LEFT JOIN walhouse.stat_feed s ON s.feed = f.name;
COMMENT ON VIEW walhouse.progress_snapshot IS
    'One row for each source table that is being copied, in the shape of pg_stat_progress_copy. command: ADD TABLE, or CREATE FEED for a first copy, by create_feed or, where that was cut off, beside the stream. pid: who has the feed''s stream, and copies. bytes_total, tuples_estimated, blocks_total: of the table at the source when the copy began; tuples_processed: rows that the copy brought; tuples_excluded: those that had come, or gone, with the stream before. failures, next_try, error: the copy waits after an error, and goes on by itself.';

CREATE VIEW walhouse.stat_model AS
    SELECT m.relation AS model,
           m.kind,
           f.name AS feed,
           pg_catalog.pg_get_userbyid(c.relowner) AS owner,
           m.state,
           cm.model_id IS NOT NULL AS is_current,
           CASE WHEN m.paused IS NOT NULL THEN 'walhouse.resume()'
                WHEN t.state <> 'ready' THEN pg_catalog.format('table %s, which is in state %s', t.mirror, t.state)
                WHEN t.compared_lsn > fp.position THEN pg_catalog.format('table %s, which the feed reaches at %s', t.mirror, t.compared_lsn)
                WHEN m.state IN ('new', 'rebuild') THEN 'a build'
                WHEN m.state = 'building' THEN 'its build, which is under way'
                WHEN m.state = 'stopped' THEN 'its error to be corrected'
                WHEN cm.model_id IS NOT NULL THEN NULL
                WHEN m.kind IN ('rollup', 'periodic_snapshot') THEN 'its fact'
                ELSE 'a dimension' END AS waits_for,
           l.to_lsn AS position,
           fp.position - l.to_lsn AS lag_bytes,
           n.loads,
           r.started + r.duration_ms * '1 ms'::interval AS last_load,
           l.duration_ms AS last_load_ms,
           n.inserted,
           n.updated,
           n.deleted,
           n.inferred,
           CASE m.kind WHEN 'fact' THEN (SELECT pg_catalog.count(*) FROM walhouse.fact_rejected x
                                         WHERE x.model_id = m.model_id) END AS rejected,
           CASE m.kind WHEN 'fact' THEN (SELECT pg_catalog.count(*) FROM walhouse.ahead x
                                         WHERE x.model_id = m.model_id) END AS ahead,
           CASE WHEN pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
                THEN m.error END AS error,
           m.error_time,
           v.started AS last_verify,
           v.position AS verify_position,
           v.missing + v.unexpected + v.different AS verify_differences,
           m.paused,
           fr.retired_to,
           fr.late_changes
    FROM walhouse.model m
         LEFT JOIN pg_catalog.pg_class c ON c.oid = m.relation
         LEFT JOIN walhouse.feed f ON f.feed_id = m.feed_id
         LEFT JOIN walhouse.current_model cm ON cm.model_id = m.model_id
         LEFT JOIN walhouse.fact_retention fr ON fr.model_id = m.model_id
         LEFT JOIN LATERAL (SELECT p.position FROM walhouse.feed_position p
                            WHERE p.feed_id = m.feed_id ORDER BY p.position DESC LIMIT 1) fp ON true
         LEFT JOIN LATERAL (SELECT lm.load_id, lm.to_lsn, lm.duration_ms FROM walhouse.load_model lm
                            WHERE lm.model_id = m.model_id ORDER BY lm.load_id DESC LIMIT 1) l ON true
         LEFT JOIN walhouse.load r ON r.load_id = l.load_id
         LEFT JOIN LATERAL (SELECT x.started, x.position, x.missing, x.unexpected, x.different
                            FROM walhouse.verification x
                            WHERE x.model_id = m.model_id ORDER BY x.started DESC LIMIT 1) v ON true
         LEFT JOIN LATERAL (SELECT ft.mirror, ft.state, ft.compared_lsn FROM walhouse.feed_table ft
                            WHERE ft.feed_id = m.feed_id
                              AND EXISTS (SELECT FROM pg_catalog.pg_rewrite w
                                               JOIN pg_catalog.pg_depend d
                                                   ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid
                                          WHERE w.ev_class = m.query AND d.refclassid = 'pg_catalog.pg_class'::regclass
                                            AND d.refobjid = ft.mirror)
                            ORDER BY ft.state = 'ready', ft.compared_lsn DESC NULLS LAST, ft.source_relid LIMIT 1) t ON true
         LEFT JOIN LATERAL (SELECT pg_catalog.count(*) AS loads,
                                   COALESCE(pg_catalog.sum(lm.inserted), 0)::bigint AS inserted,
                                   COALESCE(pg_catalog.sum(lm.updated), 0)::bigint AS updated,
                                   COALESCE(pg_catalog.sum(lm.deleted), 0)::bigint AS deleted,
                                   COALESCE(pg_catalog.sum(lm.inferred), 0)::bigint AS inferred
                            FROM walhouse.load_model lm WHERE lm.model_id = m.model_id) n ON true;
COMMENT ON VIEW walhouse.stat_model IS
    'One row for each model. is_current: the model''s state is live, its table is ready, and so is what it needs; all current models of a feed move together. waits_for says what the others need. loads, inserted, updated, deleted and inferred are sums over the load history that is kept (builds too); a query that does not name them does not compute them. rejected and ahead: rows of a fact that no partition can take, and rows whose dimension version is not settled yet. last_verify, verify_position, verify_differences: the last verification of a sample by the feed''s worker, the position that it was made at, and how many rows differed; NULL when it failed (walhouse.verification). retired_to: of a fact whose partitions were retired, the event time from which on it has rows; late_changes: how many changes of retired rows were passed over.';

GRANT SELECT ON walhouse.stat_feed, walhouse.stat_table, walhouse.progress_snapshot, walhouse.stat_model TO PUBLIC;
