-- worker: running feeds, by hand and by background workers.

CREATE VIEW walhouse.current_model AS
    WITH ready AS NOT MATERIALIZED (
        SELECT m.model_id, m.feed_id
        FROM walhouse.model m
        WHERE m.state = 'live' AND m.paused IS NULL
          AND NOT EXISTS (SELECT FROM walhouse.feed_table t
                               JOIN pg_catalog.pg_depend d
                                   ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = t.mirror
                                      AND d.classid = 'pg_catalog.pg_rewrite'::regclass
                               JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid
                          WHERE t.feed_id = m.feed_id AND w.ev_class = m.query
                            AND (t.state <> 'ready' OR t.compared_lsn > (SELECT pg_catalog.max(p.position) FROM walhouse.feed_position p
                                                                         WHERE p.feed_id = t.feed_id))))
    SELECT r.model_id, r.feed_id,
           (SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = r.model_id
            ORDER BY l.load_id DESC LIMIT 1) AS position
    FROM ready r
         LEFT JOIN walhouse.fact_reader fr ON fr.model_id = r.model_id
    WHERE NOT EXISTS (SELECT FROM walhouse.fact_dimension fd
                      WHERE fd.model_id IN (r.model_id, fr.fact_id)
                        AND fd.dimension_id NOT IN (SELECT x.model_id FROM ready x))
      AND (fr.fact_id IS NULL OR fr.fact_id IN (SELECT x.model_id FROM ready x));
COMMENT ON VIEW walhouse.current_model IS
    'The models that loads bring to their feed''s position: live, not paused, on tables that are ready, facts whose dimensions are here, too, and rollups whose facts are. position: of their last load; a model stands at the feed''s position also when no source transaction lies between.';
GRANT SELECT ON walhouse.current_model TO PUBLIC;

CREATE PROCEDURE walhouse.run(feed text, up_to pg_lsn DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'walhouse_run';
COMMENT ON PROCEDURE walhouse.run(text, pg_lsn) IS
    'Brings a feed, its mirrors and its models to up_to, an LSN of the source (NULL: as far as the source''s WAL goes at the call), and builds the models that wait for it. Waits for the feed''s worker where that reads the stream. Commits several times: refused in a transaction block. Only the feed''s owner may.';

CREATE PROCEDURE walhouse.set_mirror(feed text, "table" text, "on" boolean)
    LANGUAGE c AS 'MODULE_PATHNAME', 'walhouse_set_mirror';
COMMENT ON PROCEDURE walhouse.set_mirror(text, text, boolean) IS
    'Switches the mirror of a source table, named as at the source, off or on. Off: its rows are given up, and its changes go to the change log alone, with the rows as they were; needs replica identity FULL at the source, and no model that reads it. On: the table is copied again. Brings the feed to the source''s position first. Commits: refused in a transaction block. Only the feed''s owner may.';

CREATE FUNCTION walhouse.start(feed text) RETURNS void
    LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'walhouse_start';
COMMENT ON FUNCTION walhouse.start(text) IS
    'Keeps a feed current by a background worker, from the commit on and after each restart of the server. Needs walhouse in shared_preload_libraries, and an owner of the feed that may log in. Only the feed''s owner may.';

CREATE FUNCTION walhouse.stop(feed text) RETURNS void
    LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'walhouse_stop';
COMMENT ON FUNCTION walhouse.stop(text) IS
    'Ends the worker of a feed, within a second after the commit; the slot stays, and holds back WAL at the source. Only the feed''s owner may.';

CREATE FUNCTION walhouse.wait_for(feed text, lsn pg_lsn, timeout interval DEFAULT '30 s') RETURNS boolean
    LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'walhouse_wait_for';
COMMENT ON FUNCTION walhouse.wait_for(text, pg_lsn, interval) IS
    'Waits until everything that the source committed up to lsn is in the feed''s mirrors and its live models, and returns true; an error (query_canceled) when that takes longer than timeout. Refused in a transaction that has written, or whose snapshot is fixed.';

CREATE PROCEDURE walhouse.maintain_partitions(parent regclass DEFAULT NULL, at timestamptz DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'walhouse_maintain_partitions';
COMMENT ON PROCEDURE walhouse.maintain_partitions(regclass, timestamptz) IS
    'Does what is due for the partition sets of the caller''s roles, all of them or that of parent, which is looked at in any case and whose failed steps are tried again at once, and waits for it; errors of steps become warnings. at: what is due by then, as if it were that time. In a background worker of its own; not needed where walhouse is preloaded, which does so when it is due. Refused in a transaction block.';
