-- doctor: what is wrong, since when, and what mends it. Reads what everybody may read; errors, which may quote data, come from the
-- views, which show them to owners and to monitoring alone.

CREATE FUNCTION walhouse.library(OUT version text, OUT preloaded boolean)
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'walhouse_library';
COMMENT ON FUNCTION walhouse.library() IS
    'The library that this session runs: its version, which must be that of the extension, and whether the server has preloaded it.';

CREATE FUNCTION walhouse.doctor_source(feed text, OUT severity text, OUT code text, OUT feed_name text, OUT object text, OUT problem text,
                                       OUT since timestamptz, OUT remedy text)
RETURNS SETOF record
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'walhouse_doctor_source';
COMMENT ON FUNCTION walhouse.doctor_source(text) IS
    'What is wrong with a feed at its source, in the form of walhouse.doctor: the slot (gone, lost, or when it will be at the rate at which WAL is written), wal_level, the list of output plugins, the role, the publication and what it lacks, replica identities, rights. Connects with the owner''s user mapping and changes nothing. For the feed''s owner.';

CREATE FUNCTION walhouse.doctor(patience interval DEFAULT '10 minutes', OUT severity text, OUT code text, OUT feed text, OUT object text,
                                OUT problem text, OUT since timestamptz, OUT remedy text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
BEGIN ATOMIC
    WITH library AS MATERIALIZED (
        SELECT l.version, l.preloaded,
               (SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name = 'shared_preload_libraries') AS preload,
               (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'walhouse') AS extension
        FROM walhouse.library() l),
    feed AS MATERIALIZED (
        SELECT s.feed, s.owner, s.state, s.enabled, s.worker, s.pid, s.stream_pid, s.clock, s.stored, s.lag_bytes, s.commit_lag, s.error,
               s.error_time, s.loaded_lag, pg_catalog.clock_timestamp() - patience AS before FROM walhouse.stat_feed s),
    model AS MATERIALIZED (
        SELECT m.model, m.feed, m.kind, m.state, m.is_current, m.waits_for, m.position, m.last_load, m.rejected, m.error, m.error_time,
               m.last_verify, m.verify_differences, c.created, c.paused, c.model_id, c.feed_id, f.enabled, f.worker, f.stream_pid, f.before
        FROM walhouse.stat_model m JOIN walhouse.model c ON c.relation = m.model LEFT JOIN feed f ON f.feed = m.feed),
    found AS (
        -- The library and the launcher.
        SELECT 'error' AS severity, 'version' AS code, NULL::pg_catalog.text AS feed, 'walhouse' AS object,
               pg_catalog.format('The library is of version %s, and the extension of version %s.', l.version, l.extension) AS problem,
               NULL::pg_catalog.timestamptz AS since, 'ALTER EXTENSION walhouse UPDATE; -- or restart the server, if it runs an older library' AS remedy
        FROM library l WHERE l.version <> l.extension
        UNION ALL
        SELECT CASE WHEN EXISTS (SELECT FROM feed f WHERE f.enabled) THEN 'error' ELSE 'warning' END, 'not_preloaded', NULL, 'walhouse',
               'The server has not preloaded walhouse: no worker runs, and partitions of models are not protected.', NULL,
               CASE WHEN l.preload IS NULL THEN '-- add walhouse to shared_preload_libraries, and restart the server'
                    ELSE pg_catalog.format('ALTER SYSTEM SET shared_preload_libraries = %s; -- and restart the server',
                                           pg_catalog.concat_ws(', ', NULLIF(l.preload, ''), 'walhouse')) END
        FROM library l WHERE NOT l.preloaded AND EXISTS (SELECT FROM feed)
        UNION ALL
        SELECT 'error', 'worker_off', NULL, 'walhouse.worker', 'The setting walhouse.worker is off: no feed is kept current.', NULL,
               'ALTER SYSTEM SET walhouse.worker = on; SELECT pg_reload_conf();'
        WHERE pg_catalog.current_setting('walhouse.worker', true) = 'off' AND EXISTS (SELECT FROM feed f WHERE f.enabled)
        UNION ALL
        SELECT 'warning', 'loads_kept', NULL, 'walhouse.load',
               pg_catalog.format('About %s loads are kept one by one, because walhouse.load_retention is -1.', c.reltuples::pg_catalog.int8), NULL,
               $sql$ALTER SYSTEM SET walhouse.load_retention = '7d'; SELECT pg_reload_conf();$sql$
        FROM pg_catalog.pg_class c
        WHERE c.oid = 'walhouse.load'::pg_catalog.regclass AND c.reltuples >= 100000
          AND pg_catalog.current_setting('walhouse.load_retention', true) = '-1'
        -- Feeds.
        UNION ALL
        SELECT 'error', 'feed_unfinished', f.feed, f.feed, pg_catalog.format('The feed is in state %s, and nobody is at it.', f.state), f.error_time,
               pg_catalog.format('CALL walhouse.drop_feed(%L);', f.feed)
        FROM feed f WHERE f.state <> 'ready' AND f.stream_pid IS NULL
        UNION ALL
        SELECT 'warning', 'feed_stopped', f.feed, f.feed, 'The feed is stopped, and its slot holds back WAL at the source.', f.stored,
               pg_catalog.format('SELECT walhouse.start(%L);', f.feed)
        FROM feed f WHERE f.state = 'ready' AND NOT f.enabled AND f.stream_pid IS NULL AND COALESCE(f.stored < f.before, true)
        UNION ALL
        SELECT 'error', 'feed_failing', f.feed, f.feed,
               COALESCE(f.error, 'The feed''s worker has failed; its error is shown to the feed''s owner and to pg_read_all_stats.'), f.error_time,
               pg_catalog.format('SELECT * FROM walhouse.doctor_source(%L); -- says what is wrong at the source', f.feed)
        FROM feed f WHERE f.state = 'ready' AND f.error_time IS NOT NULL
        UNION ALL
        SELECT 'error', 'no_worker', f.feed, f.feed, 'The feed is started, and no worker runs for it.', f.stored,
               'ALTER SYSTEM SET max_worker_processes = ...; -- a higher number, and restart the server; the server''s log says whether that is why'
        FROM feed f, library l
        WHERE f.worker IN ('none', 'starting') AND l.preloaded AND f.error_time IS NULL AND COALESCE(f.stored < f.before, true)
          AND pg_catalog.current_setting('walhouse.worker', true) = 'on'
        UNION ALL
        SELECT 'error', 'owner_login', f.feed, f.owner::pg_catalog.text, 'The feed''s owner may not log in, so no worker can run for it.', NULL,
               pg_catalog.format('ALTER ROLE %s LOGIN;', f.owner)
        FROM feed f JOIN pg_catalog.pg_roles r ON r.oid = f.owner WHERE f.enabled AND NOT r.rolcanlogin
        UNION ALL
        SELECT 'error', 'worker_waits', f.feed, f.feed,
               pg_catalog.format('The feed''s worker waits for a lock on %s that process %s has.', COALESCE(l.relation::pg_catalog.regclass::pg_catalog.text, l.locktype),
                                 pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(f.pid), ', ')), l.waitstart,
               pg_catalog.format('SELECT pg_terminate_backend(%s);', (pg_catalog.pg_blocking_pids(f.pid))[1])
        FROM feed f JOIN pg_catalog.pg_locks l ON l.pid = f.pid AND NOT l.granted AND l.waitstart < f.before
        UNION ALL
        SELECT 'warning', 'feed_behind', f.feed, f.feed,
               pg_catalog.format('%s of WAL are not in yet; the newest commit that is in is %s old.', pg_catalog.pg_size_pretty(f.lag_bytes),
                                 pg_catalog.date_trunc('second', f.commit_lag)), f.clock,
               pg_catalog.format('SELECT activity, lag_bytes, commit_lag FROM walhouse.stat_feed WHERE feed = %L; -- does it come nearer?', f.feed)
        FROM feed f WHERE f.commit_lag > patience AND f.error_time IS NULL
        UNION ALL
        SELECT 'notice', 'log_grows', l.name, l.name,
               pg_catalog.format('The feed''s change logs have about %s, and no retention: they grow for ever.', pg_catalog.pg_size_pretty(l.bytes)), NULL,
               pg_catalog.format('SELECT walhouse.set_log_retention(%L, ''90 days'', keep_history => true);', l.name)
        FROM (SELECT f.name, pg_catalog.sum(c.relpages::pg_catalog.int8) * pg_catalog.current_setting('block_size')::pg_catalog.int8 AS bytes
              FROM walhouse.feed f JOIN walhouse.feed_table t USING (feed_id) CROSS JOIN LATERAL pg_catalog.pg_partition_tree(t.log) x
                   JOIN pg_catalog.pg_class c ON c.oid = x.relid AND c.relpages > 0
              WHERE f.log_age IS NULL AND f.log_bytes IS NULL GROUP BY f.name) l
        WHERE l.bytes >= 1073741824
        -- Tables.
        UNION ALL
        SELECT CASE t.state WHEN 'resync' THEN 'error' ELSE 'warning' END, CASE t.state WHEN 'resync' THEN 'table_held' ELSE 'table_not_copied' END,
               t.feed, pg_catalog.format('%I.%I', t.source_schema, t.source_name),
               CASE t.state WHEN 'resync' THEN COALESCE(t.error, 'The table is not followed; why is shown to the feed''s owner and to pg_read_all_stats.')
                            ELSE 'The first copy of the table is not finished.' END, t.error_time,
               CASE t.state WHEN 'resync' THEN pg_catalog.format('CALL walhouse.resync_table(%L, %L);', t.feed,
                                                                 pg_catalog.format('%I.%I', t.source_schema, t.source_name))
                            ELSE pg_catalog.format('CALL walhouse.run(%L); -- or SELECT walhouse.start(%1$L)', t.feed) END
        FROM walhouse.stat_table t JOIN feed f ON f.feed = t.feed
        WHERE t.state = 'resync' OR (t.state = 'copy' AND f.stream_pid IS NULL AND f.state = 'ready')
        UNION ALL
        SELECT 'error', 'copy_failing', p.feed, pg_catalog.format('%I.%I', p.source_schema, p.source_name),
               COALESCE(p.error, 'The copy of the table has failed; why is shown to the feed''s owner and to pg_read_all_stats.'), p.changed,
               pg_catalog.format('CALL walhouse.remove_table(%L, %L); -- gives it up; it is tried again once what the error names is mended', p.feed,
                                 pg_catalog.format('%I.%I', p.source_schema, p.source_name))
        FROM walhouse.progress_snapshot p WHERE p.failures > 0
        -- Models.
        UNION ALL
        SELECT 'error', 'model_stopped', m.feed, m.model::pg_catalog.text,
               COALESCE(m.error, 'The model has stopped; its error is shown to its owner and to pg_read_all_stats.'), m.error_time,
               CASE WHEN c.oid IS NULL THEN pg_catalog.format('SELECT walhouse.drop_model(%s);', m.model::pg_catalog.oid)
                    ELSE pg_catalog.format('SELECT walhouse.resume(%L); -- once what the error names is mended', m.model) END
        FROM model m LEFT JOIN pg_catalog.pg_class c ON c.oid = m.model WHERE m.state = 'stopped'
        UNION ALL
        SELECT 'warning', 'model_not_built', m.feed, m.model::pg_catalog.text, pg_catalog.format('The model waits for %s.', m.waits_for),
               COALESCE(m.last_load, m.created),
               CASE WHEN m.enabled THEN pg_catalog.format('SELECT waits_for, error FROM walhouse.stat_model WHERE model = %L::regclass; -- what it needs', m.model)
                    ELSE pg_catalog.format('CALL walhouse.run(%L); -- or SELECT walhouse.start(%1$L)', m.feed) END
        FROM model m WHERE m.state IN ('new', 'rebuild', 'building') AND m.paused IS NULL AND COALESCE(m.last_load, m.created) < m.before
        UNION ALL
        SELECT 'notice', 'model_paused', m.feed, m.model::pg_catalog.text, 'The model is paused, and what needs it waits with it.', m.paused,
               pg_catalog.format('SELECT walhouse.resume(%L);', m.model)
        FROM model m WHERE m.paused < m.before
          AND NOT EXISTS (SELECT FROM walhouse.alteration a WHERE a.model_id = m.model_id AND a.swapped IS NOT NULL)
        UNION ALL
        SELECT 'error', 'alter_blocked', m.feed, m.model::pg_catalog.text,
               COALESCE((SELECT x.error FROM walhouse.stat_alteration x WHERE x.next_id = a.next_id), 'The altered model could not take its place; why is shown to its owner and to pg_read_all_stats.'),
               a.error_time, pg_catalog.format('SELECT walhouse.cancel_alter(%L); -- or mend what the error says: it is tried again', m.model)
        FROM model m JOIN walhouse.alteration a ON a.next_id = a.alteration_id AND a.model_id = m.model_id
        WHERE a.swapped IS NULL AND a.error_time IS NOT NULL
        UNION ALL
        SELECT 'notice', 'old_model_kept', m.feed, m.model::pg_catalog.text, 'What a model was before it was altered is kept.', a.swapped,
               pg_catalog.format('SELECT walhouse.drop_model(%L);', m.model)
        FROM model m JOIN walhouse.alteration a ON a.model_id = m.model_id WHERE a.swapped < m.before
        UNION ALL
        SELECT 'warning', 'model_behind', m.feed, m.model::pg_catalog.text,
               'Source transactions are in the feed''s mirrors and not in the model.', b.since,
               CASE WHEN m.enabled THEN pg_catalog.format('SELECT activity, error FROM walhouse.stat_feed WHERE feed = %L; -- what its worker does', m.feed)
                    ELSE pg_catalog.format('CALL walhouse.load(%L);', m.feed) END
        FROM model m
             CROSS JOIN LATERAL (SELECT pg_catalog.min(p.stored) AS since FROM walhouse.feed_position p
                                 WHERE p.feed_id = m.feed_id AND p.position > m.position
                                   AND p.clock > (SELECT n.clock FROM walhouse.feed_position n WHERE n.feed_id = m.feed_id AND n.position <= m.position
                                                  ORDER BY n.position DESC LIMIT 1)) b
        WHERE m.is_current AND b.since < m.before
        UNION ALL
        SELECT 'warning', 'rows_rejected', m.feed, m.model::pg_catalog.text, pg_catalog.format('The fact cannot hold %s rows that its query gives.', m.rejected),
               NULL, pg_catalog.format('SELECT key, reason FROM walhouse.rejected WHERE model = %L::regclass; -- mend them at the source', m.model)
        FROM model m WHERE m.rejected > 0
        -- Proof.
        UNION ALL
        SELECT 'error', 'verify_differs', m.feed, m.model::pg_catalog.text,
               pg_catalog.format('A verification of a sample found %s rows that differ.', m.verify_differences), m.last_verify,
               pg_catalog.format('SELECT * FROM walhouse.verify(%L); CALL walhouse.build(%1$L); -- looks at all of it, and builds it again', m.model)
        FROM model m WHERE m.verify_differences > 0
        UNION ALL
        SELECT 'warning', 'verify_failed', m.feed, m.model::pg_catalog.text, 'The last verification of a sample failed.', m.last_verify,
               pg_catalog.format('SELECT * FROM walhouse.verify(%L, 100); -- says why', m.model)
        FROM model m WHERE m.last_verify IS NOT NULL AND m.verify_differences IS NULL
        UNION ALL
        SELECT 'warning', 'verify_overdue', m.feed, m.model::pg_catalog.text,
               'The model was not verified for three times walhouse.verify_interval.', COALESCE(m.last_verify, m.created),
               pg_catalog.format('SELECT * FROM walhouse.verify(%L, 100);', m.model)
        FROM model m CROSS JOIN LATERAL (SELECT s.setting::pg_catalog.int4 * '3 s'::pg_catalog.interval AS interval FROM pg_catalog.pg_settings s
                                         WHERE s.name = 'walhouse.verify_interval' AND s.setting <> '0') v
        WHERE m.worker = 'running' AND m.is_current AND COALESCE(m.last_verify, m.created) < m.before - v.interval
        -- Partition sets.
        UNION ALL
        SELECT 'error', 'partition_failing', NULL, s.parent::pg_catalog.text,
               COALESCE(s.error, pg_catalog.format('%s steps have failed; the error is shown to the table''s owner and to pg_read_all_stats.', s.failing)),
               s.error_time, pg_catalog.format('CALL walhouse.maintain_partitions(%L); -- tries again at once', s.parent)
        FROM walhouse.stat_partition_set s WHERE s.enabled AND s.failing > 0
        UNION ALL
        SELECT 'warning', 'partition_overdue', NULL, s.parent::pg_catalog.text, pg_catalog.format('%s steps are overdue.', s.overdue), s.next_due,
               pg_catalog.format('CALL walhouse.maintain_partitions(%L);', s.parent)
        FROM walhouse.stat_partition_set s WHERE s.enabled AND s.failing = 0 AND s.next_due < pg_catalog.clock_timestamp() - patience)
    SELECT p.severity, p.code, p.feed, p.object, p.problem, p.since, p.remedy
    FROM found p
    ORDER BY pg_catalog.array_position('{error,warning,notice}'::pg_catalog.text[], p.severity), p.feed, p.code, p.object;
END;
COMMENT ON FUNCTION walhouse.doctor(interval) IS
    'Every known problem of this warehouse: severity (error: something stands still; warning: something will, or is not as it should be), code, feed, object, what it is, since when (NULL: not known), and the SQL that mends it or says more. No row: all is well as far as this side knows; walhouse.doctor_source asks a source. patience: for how long a feed or a model may be behind, stopped or unbuilt before it is told. Reads only, for everybody; errors are shown to owners and to pg_read_all_stats (and so pg_monitor).';
