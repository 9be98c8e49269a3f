-- lineage: from which columns a query's columns come.

CREATE FUNCTION walhouse.column_lineage(query text, expand_views boolean DEFAULT true, OUT target regclass, OUT "position" integer,
    OUT "column" text, OUT source regclass, OUT source_column text, OUT kind text, OUT subtype text)
RETURNS SETOF record LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_column_lineage_query';
COMMENT ON FUNCTION walhouse.column_lineage(text, boolean) IS
    'The sources of every column that a statement gives (target NULL) or writes (target: into which relation), read off the tree of PostgreSQL''s own parser; nothing is executed. query: one SELECT, VALUES, INSERT, UPDATE, DELETE or MERGE, or a statement that holds one, analysed with the caller''s search_path and rights. expand_views: look into views, down to tables. Where column is NULL, the source decides which rows there are, or their order, and bears on all of them; where source_column is NULL, only the source''s rows count. kind: DIRECT (subtype IDENTITY, TRANSFORMATION, AGGREGATION) or INDIRECT (JOIN, FILTER, GROUP_BY, SORT, WINDOW, CONDITIONAL, ROWS).';

CREATE FUNCTION walhouse.column_lineage(relation regclass, expand_views boolean DEFAULT true, OUT target regclass, OUT "position" integer,
    OUT "column" text, OUT source regclass, OUT source_column text, OUT kind text, OUT subtype text)
RETURNS SETOF record LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_column_lineage_relation';
COMMENT ON FUNCTION walhouse.column_lineage(regclass, boolean) IS
    'The same of a view or a materialized view; of a table, what its generated columns come from. It needs what reading a view''s definition needs, which PostgreSQL shows to everybody.';

-- What is kept: one hop of each relation.

CREATE TABLE walhouse.lineage_schema (
    schema  name NOT NULL,
    CONSTRAINT lineage_schema_pkey PRIMARY KEY (schema)
);
COMMENT ON TABLE walhouse.lineage_schema IS
    'Schemas whose views and materialized views have their lineage kept: walhouse.track_lineage(). By name: pg_upgrade refuses a database with a column of type regnamespace.';
GRANT SELECT ON walhouse.lineage_schema TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('walhouse.lineage_schema', '');

CREATE TABLE walhouse.lineage_relation (
    relation    regclass NOT NULL,
    is_stale    boolean NOT NULL DEFAULT false,
    error       text,
    opaque      text[] NOT NULL DEFAULT '{}',
    definition  text,
    analysed    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT lineage_relation_pkey PRIMARY KEY (relation)
);
COMMENT ON TABLE walhouse.lineage_relation IS
    'Relations whose lineage is kept: models, views beside them, and those of tracked schemas. is_stale: its definition could not be read again after a change, for the reason in error, and its edges are those of before. opaque: functions that it uses and that may read what is not seen. definition: a hash of what was read.';
GRANT SELECT ON walhouse.lineage_relation TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('walhouse.lineage_relation', '');

CREATE TABLE walhouse.lineage_edge (
    relation       regclass NOT NULL,
    "column"       text NOT NULL,
    source         regclass NOT NULL,
    source_column  text NOT NULL,
    subtype        text NOT NULL,
    CONSTRAINT lineage_edge_pkey PRIMARY KEY (relation, "column", source, source_column, subtype)
);
COMMENT ON TABLE walhouse.lineage_edge IS
    'What a relation reads itself, views not looked into: its column, and the source''s. An empty column stands for the rows: the source bears on all columns; an empty source_column: the source''s rows are counted on. subtype: as of walhouse.column_lineage().';
CREATE INDEX lineage_edge_source_idx ON walhouse.lineage_edge (source, source_column);
GRANT SELECT ON walhouse.lineage_edge TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('walhouse.lineage_edge', '');

CREATE VIEW walhouse.lineage_to_keep AS
    SELECT m.relation, c.relnamespace AS schema, m.query AS view
    FROM walhouse.model m JOIN pg_catalog.pg_class c ON c.oid = m.relation
    UNION
    SELECT v.view, c.relnamespace, v.view
    FROM walhouse.model_view v JOIN pg_catalog.pg_class c ON c.oid = v.view
    WHERE c.relkind = 'v'
    UNION
    SELECT c.oid, c.relnamespace, CASE WHEN c.relkind IN ('v', 'm') THEN c.oid END
    FROM walhouse.lineage_schema s JOIN pg_catalog.pg_namespace n ON n.nspname = s.schema JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
    WHERE (c.relkind IN ('v', 'm') AND NOT EXISTS (SELECT FROM walhouse.model m WHERE m.query = c.oid))
       OR (c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM pg_catalog.pg_attribute a
                                               WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped));
COMMENT ON VIEW walhouse.lineage_to_keep IS
    'Relations whose lineage is kept, or should be: models, views beside them, and of tracked schemas the views, materialized views, and tables with generated columns. The view of a model''s query counts as the model; view: the one that is read.';
GRANT SELECT ON walhouse.lineage_to_keep TO PUBLIC;

-- What kinds of models add to their queries. Columns are named as in lineage_edge.
CREATE VIEW walhouse.model_lineage AS
    WITH model AS (
        SELECT m.model_id, m.relation, m.kind, m.key, m.query, m.options, m.options ->> 'sk' AS sk
        FROM walhouse.model m
    ), dimension_column AS (
        -- Columns of a dimension that open versions.
        SELECT m.relation, a.attname::text AS name
        FROM model m JOIN pg_catalog.pg_attribute a ON a.attrelid = m.query AND a.attnum > 0 AND NOT a.attisdropped
        WHERE m.kind = 'dimension' AND a.attname <> ALL (m.key)
          AND COALESCE(m.options #>> ARRAY['scd', a.attname::text], m.options #>> '{scd,*}', '2') IN ('2', '6')
    ), role AS (
        SELECT f.relation, d.column_name::text, d.key, d.not_applicable_if, d.error_if, f.options ->> 'event_time' AS event_time,
               m.relation AS dimension, m.sk, m.kind,
               CASE m.kind WHEN 'mini' THEN (SELECT h.key FROM walhouse.dimension_reference r JOIN model h ON h.model_id = r.dimension_id
                                             WHERE r.model_id = m.model_id AND r.purpose = 'history') ELSE m.key END AS dimension_key,
               CASE m.kind WHEN 'mini' THEN (SELECT h.relation FROM walhouse.dimension_reference r JOIN model h ON h.model_id = r.dimension_id
                                             WHERE r.model_id = m.model_id AND r.purpose = 'history') ELSE m.relation END AS looked_up
        FROM walhouse.fact_dimension d JOIN model f ON f.model_id = d.model_id JOIN model m ON m.model_id = d.dimension_id
    ), rollup AS (
        SELECT m.relation, f.relation AS fact, m.options
        FROM model m JOIN walhouse.fact_reader r ON r.model_id = m.model_id JOIN model f ON f.model_id = r.fact_id
    )
    -- A surrogate key stands for the key; the times of a version come from what opens versions.
    SELECT relation, sk AS "column", relation AS source, k AS source_column, 'TRANSFORMATION' AS subtype
    FROM model, pg_catalog.unnest(key) k WHERE sk IS NOT NULL
    UNION ALL
    SELECT c.relation, v.name, c.relation, c.name, 'CONDITIONAL'
    FROM dimension_column c, (VALUES ('valid_from'), ('valid_to'), ('is_current')) v (name)
    UNION ALL
    SELECT relation, v.name, relation, options ->> 'effective', 'TRANSFORMATION'
    FROM model, (VALUES ('valid_from'), ('valid_to'), ('is_current')) v (name)
    WHERE kind = 'dimension' AND options ->> 'effective' <> 'commit'
    UNION ALL
    -- A fact looks surrogate keys up, by key and as of the event time.
    SELECT relation, column_name, dimension, sk, 'IDENTITY' FROM role
    UNION ALL
    SELECT relation, column_name, relation, k, 'JOIN' FROM role, pg_catalog.unnest(key) k
    UNION ALL
    SELECT relation, column_name, looked_up, k, 'JOIN' FROM role, pg_catalog.unnest(dimension_key) k
    UNION ALL
    SELECT r.relation, r.column_name, v.source, v.name, 'JOIN'
    FROM role r, LATERAL (VALUES (r.relation, r.event_time), (r.looked_up, 'valid_from')) v (source, name)
    WHERE r.kind IN ('dimension', 'mini') AND v.name IS NOT NULL
    UNION ALL
    SELECT relation, column_name, relation, c::text, 'CONDITIONAL'
    FROM role, LATERAL (VALUES (not_applicable_if), (error_if)) v (c) WHERE c IS NOT NULL
    UNION ALL
    SELECT m.relation, o.key, m.relation, o.value, 'CONDITIONAL'
    FROM model m, LATERAL pg_catalog.jsonb_each_text(m.options -> 'milestones') o WHERE m.kind = 'fact'
    UNION ALL
    SELECT m.relation, o.key, m.relation, t, 'TRANSFORMATION'
    FROM model m, LATERAL pg_catalog.jsonb_each(m.options -> 'lags') o, LATERAL pg_catalog.jsonb_array_elements_text(o.value) t WHERE m.kind = 'fact'
    UNION ALL
    -- Members of junk dimensions are what facts have met, those of mini-dimensions what their history has.
    SELECT r.dimension, p.name, r.relation, p.source_name, 'IDENTITY'
    FROM role r, LATERAL ROWS FROM (pg_catalog.unnest(r.dimension_key), pg_catalog.unnest(r.key)) p (name, source_name) WHERE r.kind = 'junk'
    UNION ALL
    SELECT m.relation, k, h.relation, k, 'IDENTITY'
    FROM model m JOIN walhouse.dimension_reference r ON r.model_id = m.model_id AND r.purpose = 'history' JOIN model h ON h.model_id = r.dimension_id,
         LATERAL pg_catalog.unnest(m.key) k WHERE m.kind = 'mini'
    UNION ALL
    -- Rollups and periodic snapshots.
    SELECT relation, '', fact, '', 'ROWS' FROM rollup
    UNION ALL
    SELECT r.relation, v.name, r.fact, r.options ->> 'bucket_column', v.subtype
    FROM rollup r, (VALUES ('period_start', 'TRANSFORMATION'), ('', 'GROUP_BY')) v (name, subtype) WHERE r.options ->> 'bucket' <> 'none'
    UNION ALL
    SELECT r.relation, v.name, r.fact, g, v.subtype
    FROM rollup r, LATERAL pg_catalog.jsonb_array_elements_text(r.options -> 'group_by') g, LATERAL (VALUES (g, 'IDENTITY'), ('', 'GROUP_BY')) v (name, subtype)
    UNION ALL
    SELECT r.relation, m ->> 'name', r.fact, v.name, v.subtype
    FROM rollup r, LATERAL pg_catalog.jsonb_array_elements(r.options -> 'measures') m,
         LATERAL (VALUES (m ->> 'column', 'AGGREGATION'), (CASE m ->> 'function' WHEN 'last' THEN r.options ->> 'bucket_column' END, 'SORT')) v (name, subtype)
    WHERE v.name IS NOT NULL;
COMMENT ON VIEW walhouse.model_lineage IS
    'The edges that models have besides those of their queries, from the catalog: surrogate keys, versions, milestones and lags, members of junk and mini-dimensions, rollups. Columns as of walhouse.lineage_edge.';
GRANT SELECT ON walhouse.model_lineage TO PUBLIC;

CREATE FUNCTION walhouse.forget_lineage() RETURNS void LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM walhouse.lineage_edge e WHERE NOT EXISTS (SELECT FROM walhouse.lineage_to_keep k WHERE k.relation = e.relation);
    DELETE FROM walhouse.lineage_relation r WHERE NOT EXISTS (SELECT FROM walhouse.lineage_to_keep k WHERE k.relation = r.relation);
$$;
REVOKE ALL ON FUNCTION walhouse.forget_lineage() FROM PUBLIC;
COMMENT ON FUNCTION walhouse.forget_lineage() IS
    'Takes away kept lineage of relations that are gone or not tracked any more. For walhouse itself.';

CREATE FUNCTION walhouse.lineage_readers(classes oid[], objects oid[], OUT relation regclass)
RETURNS SETOF regclass LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    -- Functions and policies pass a change on; views end it, their columns being what they were.
    WITH RECURSIVE changed (class, object) AS (
        SELECT * FROM ROWS FROM (unnest(classes), unnest(objects)) c (class, object)
        UNION
        SELECT x.*
        FROM changed c CROSS JOIN LATERAL (
            SELECT CASE d.classid WHEN 'pg_policy'::regclass THEN 'pg_class'::regclass ELSE d.classid END, COALESCE(p.polrelid, d.objid)
            FROM pg_depend d LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
            WHERE d.refclassid = c.class AND d.refobjid = c.object AND d.classid IN ('pg_proc'::regclass, 'pg_policy'::regclass)
            UNION ALL
            SELECT 'pg_proc'::regclass, f FROM walhouse.naming_functions(CASE c.class WHEN 'pg_proc'::regclass THEN c.object END) f) x
    ), read AS (
        SELECT object AS relation FROM changed WHERE class = 'pg_class'::regclass
        UNION
        SELECT r.ev_class
        FROM changed c
             JOIN pg_depend d ON d.refclassid = c.class AND d.refobjid = c.object AND d.classid = 'pg_rewrite'::regclass
             JOIN pg_rewrite r ON r.oid = d.objid
    ), concerned AS (
        SELECT relation FROM read
        UNION
        SELECT m.relation FROM read r JOIN walhouse.model m ON m.query = r.relation
    )
    SELECT c.relation::regclass
    FROM concerned c
    WHERE EXISTS (SELECT FROM walhouse.lineage_relation r WHERE r.relation = c.relation)
       OR EXISTS (SELECT FROM walhouse.model m WHERE m.relation = c.relation)
       OR EXISTS (SELECT FROM walhouse.model_view v WHERE v.view = c.relation)
       OR EXISTS (SELECT FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace JOIN walhouse.lineage_schema s ON s.schema = n.nspname WHERE r.oid = c.relation)
    ORDER BY 1
$$;
COMMENT ON FUNCTION walhouse.lineage_readers(oid[], oid[]) IS
    'Relations whose lineage is kept, or may have to be, that objects (classes and OIDs, as in pg_depend) concern: themselves, and what reads them, through functions and policies too.';

CREATE FUNCTION walhouse.lineage_changed(OUT relation regclass) RETURNS SETOF regclass
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT r.relation
    FROM (SELECT array_agg(CASE WHEN p.oid IS NULL THEN c.classid ELSE 'pg_class'::regclass END) AS classes, array_agg(COALESCE(p.polrelid, c.objid)) AS objects
          FROM pg_event_trigger_ddl_commands() c LEFT JOIN pg_policy p ON c.classid = 'pg_policy'::regclass AND p.oid = c.objid
          WHERE c.classid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass)) c,
         LATERAL walhouse.lineage_readers(c.classes, c.objects) r
$$;
REVOKE ALL ON FUNCTION walhouse.lineage_changed() FROM PUBLIC;
COMMENT ON FUNCTION walhouse.lineage_changed() IS
    'Relations whose kept lineage the DDL concerns that an event trigger was called for. For walhouse itself.';

CREATE FUNCTION walhouse.lineage_drop_concerns() RETURNS boolean LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT EXISTS (SELECT FROM pg_event_trigger_dropped_objects() d
                   WHERE d.object_type IN ('policy', 'schema')
                      OR (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM walhouse.lineage_relation r WHERE r.relation = d.objid)))
$$;
REVOKE ALL ON FUNCTION walhouse.lineage_drop_concerns() FROM PUBLIC;
COMMENT ON FUNCTION walhouse.lineage_drop_concerns() IS
    'Whether what was dropped may concern kept lineage. For walhouse itself.';

CREATE FUNCTION walhouse.lineage_dropped(OUT relation regclass) RETURNS SETOF regclass
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    DELETE FROM walhouse.lineage_edge WHERE relation IN (SELECT objid FROM pg_event_trigger_dropped_objects() WHERE classid = 'pg_class'::regclass AND objsubid = 0);
    DELETE FROM walhouse.lineage_relation WHERE relation IN (SELECT objid FROM pg_event_trigger_dropped_objects() WHERE classid = 'pg_class'::regclass AND objsubid = 0);
    DELETE FROM walhouse.lineage_schema WHERE schema IN (SELECT address_names[1] FROM pg_event_trigger_dropped_objects() WHERE classid = 'pg_namespace'::regclass);
    SELECT r.relation
    FROM (SELECT array_agg('pg_class'::regclass::oid) AS classes, array_agg(c.oid) AS objects
          FROM pg_event_trigger_dropped_objects() d JOIN pg_class c ON c.relname = d.address_names[2] JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = d.address_names[1]
          WHERE d.object_type = 'policy') c,
         LATERAL walhouse.lineage_readers(c.classes, c.objects) r
$$;
REVOKE ALL ON FUNCTION walhouse.lineage_dropped() FROM PUBLIC;
COMMENT ON FUNCTION walhouse.lineage_dropped() IS
    'Takes away kept lineage of what was dropped, and gives the relations that are concerned otherwise. For walhouse itself.';

CREATE FUNCTION walhouse.track_lineage(schema regnamespace) RETURNS bigint
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_track_lineage';
COMMENT ON FUNCTION walhouse.track_lineage(regnamespace) IS
    'Keeps the lineage of a schema''s views and materialized views from now on, as it does of models; returns the number of relations. The role of the schema''s owner is needed. Calling it again reads all of them anew.';

CREATE FUNCTION walhouse.untrack_lineage(schema regnamespace) RETURNS void
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_untrack_lineage';
COMMENT ON FUNCTION walhouse.untrack_lineage(regnamespace) IS
    'Keeps the lineage of a schema no more, but for models and the views beside them. The role of the schema''s owner is needed.';

CREATE FUNCTION walhouse.refresh_lineage() RETURNS bigint
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_refresh_lineage';
REVOKE ALL ON FUNCTION walhouse.refresh_lineage() FROM PUBLIC;
COMMENT ON FUNCTION walhouse.refresh_lineage() IS
    'Reads all kept lineage anew: after a dump was restored, or after DDL with event triggers switched off. Returns the number of relations.';

CREATE FUNCTION walhouse.lineage_of_declaration() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_lineage_of_declaration';
COMMENT ON FUNCTION walhouse.lineage_of_declaration() IS
    'Trigger on walhouse.model and walhouse.model_view that keeps the lineage of what was declared.';
-- The end of a declaration is waited for, when all that the catalog says of a model is there; views are whole when they are noted, which builds do, too,
-- and builds run in security-restricted operations, where nothing may be deferred.
CREATE CONSTRAINT TRIGGER lineage AFTER INSERT ON walhouse.model DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION walhouse.lineage_of_declaration('relation');
CREATE TRIGGER lineage AFTER INSERT ON walhouse.model_view
    FOR EACH ROW EXECUTE FUNCTION walhouse.lineage_of_declaration('view');

CREATE FUNCTION walhouse.lineage_after_ddl() RETURNS event_trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_lineage_after_ddl';
COMMENT ON FUNCTION walhouse.lineage_after_ddl() IS
    'Event trigger that keeps lineage current: what DDL concerns is read anew, and marked as stale where that fails.';
CREATE EVENT TRIGGER walhouse_lineage ON ddl_command_end
    WHEN TAG IN ('CREATE VIEW', 'ALTER VIEW', 'CREATE MATERIALIZED VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE TABLE', 'ALTER TABLE', 'ALTER FOREIGN TABLE',
                 'CREATE POLICY', 'ALTER POLICY', 'CREATE FUNCTION', 'ALTER FUNCTION', 'ALTER SCHEMA')
    EXECUTE FUNCTION walhouse.lineage_after_ddl();
CREATE EVENT TRIGGER walhouse_lineage_drop ON sql_drop EXECUTE FUNCTION walhouse.lineage_after_ddl();

CREATE FUNCTION walhouse.lineage_definition(view regclass) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$ SELECT md5(pg_get_viewdef(view)) $$;
COMMENT ON FUNCTION walhouse.lineage_definition(regclass) IS
    'A hash of a view''s definition, by which walhouse.stat_lineage tells whether it is the one that was read.';

CREATE VIEW walhouse.stat_lineage AS
    SELECT k.relation::regclass AS relation,
           r.relation IS NULL OR r.is_stale OR r.definition IS DISTINCT FROM walhouse.lineage_definition(k.view) OR e.missing AS is_stale,
           CASE WHEN r.relation IS NULL THEN 'not read yet'
                WHEN r.is_stale THEN r.error
                WHEN r.definition IS DISTINCT FROM walhouse.lineage_definition(k.view) THEN 'another definition was read'
                WHEN e.missing THEN 'a source has other columns' END AS reason,
           COALESCE(r.opaque, '{}') AS opaque, e.edges, r.analysed
    FROM walhouse.lineage_to_keep k
         LEFT JOIN walhouse.lineage_relation r ON r.relation = k.relation,
         LATERAL (SELECT pg_catalog.count(*) AS edges, COALESCE(pg_catalog.bool_or(e.source_column <> '' AND a.attnum IS NULL), false) AS missing
                  FROM walhouse.lineage_edge e LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = e.source AND a.attname = e.source_column
                  WHERE e.relation = k.relation) e;
COMMENT ON VIEW walhouse.stat_lineage IS
    'Relations whose lineage is kept, and whether it can be relied on. is_stale: the edges are not those of the relation''s definition, for the reason given: walhouse.refresh_lineage() reads all anew. opaque: functions that may read what is not seen. edges: their number.';
GRANT SELECT ON walhouse.stat_lineage TO PUBLIC;

-- Paths.

CREATE FUNCTION walhouse.lineage_through(outer_subtype text, inner_subtype text) RETURNS text
LANGUAGE c STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walhouse_lineage_through';
COMMENT ON FUNCTION walhouse.lineage_through(text, text) IS
    'How a source bears on an output through a step in between: the step nearest to the output that is indirect tells; where both are direct, the one farther from identity.';

CREATE FUNCTION walhouse.lineage_path(down boolean, relations regclass[], columns text[], subtypes text[], start integer,
    OUT distance integer, OUT relation regclass, OUT column_name text, OUT subtype text)
RETURNS SETOF record LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH RECURSIVE path (distance, relation, column_name, subtype) AS (
        SELECT start, s.* FROM ROWS FROM (unnest(relations), unnest(columns), unnest(subtypes)) s (relation, column_name, subtype)
        UNION
        SELECT p.distance + 1, n.* FROM path p, LATERAL (
            SELECT e.relation, e."column", walhouse.lineage_through(e.subtype, p.subtype)
            FROM walhouse.lineage_edge e WHERE down AND e.source = p.relation AND e.source_column = p.column_name
            UNION ALL
            SELECT e.source, e.source_column, walhouse.lineage_through(p.subtype, e.subtype)
            FROM walhouse.lineage_edge e WHERE NOT down AND e.relation = p.relation AND e."column" = p.column_name) n
        WHERE p.distance < 100)
    SELECT min(p.distance), p.relation, p.column_name, p.subtype FROM path p GROUP BY 2, 3, 4
$$;
COMMENT ON FUNCTION walhouse.lineage_path(boolean, regclass[], text[], text[], integer) IS
    'All that can be reached from columns along kept edges, down to readers or up to sources, the columns themselves included, with the number of steps (from start on) and how it bears. An empty column stands for the rows.';

CREATE FUNCTION walhouse.upstream(relation regclass, "column" text DEFAULT NULL,
    OUT distance integer, OUT node text, OUT source regclass, OUT source_column text, OUT kind text, OUT subtype text)
RETURNS SETOF record LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH start (relation, name, subtype) AS (
        SELECT $1, a.attname::text, 'IDENTITY' FROM pg_attribute a
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND ($2 IS NULL OR a.attname = $2)
        UNION ALL
        SELECT $1, '', 'ROWS'
    ), path AS (
        SELECT p.distance, p.relation, p.column_name, p.subtype
        FROM (SELECT array_agg(s.relation) AS relations, array_agg(s.name) AS names, array_agg(s.subtype) AS subtypes FROM start s) s,
             LATERAL walhouse.lineage_path(false, s.relations, s.names, s.subtypes, 0) p
    ), node AS (
        SELECT p.distance, p.relation::text AS node, p.relation, p.column_name, p.subtype FROM path p WHERE p.distance > 0
        UNION ALL
        SELECT p.distance + v.step, CASE v.step WHEN 1 THEN t.log::text ELSE format('%s: %I.%I', f.name, t.source_schema, t.source_name) END,
               CASE v.step WHEN 1 THEN t.log END, CASE WHEN p.column_name = '' THEN '' WHEN v.step = 1 THEN c.log_column ELSE c.source_name END,
               CASE WHEN v.step = 2 AND c.conversion = 'text' THEN walhouse.lineage_through(p.subtype, 'TRANSFORMATION') ELSE p.subtype END
        FROM path p JOIN walhouse.feed_table t ON t.mirror = p.relation JOIN walhouse.feed f ON f.feed_id = t.feed_id
             LEFT JOIN walhouse.feed_column c ON c.feed_id = t.feed_id AND c.source_relid = t.source_relid AND c.mirror_column = p.column_name AND NOT c.dropped,
             (VALUES (1), (2)) v (step)
        WHERE p.column_name = '' OR c.attnum IS NOT NULL
    )
    SELECT min(n.distance), n.node, n.relation, NULLIF(n.column_name, ''),
           CASE WHEN n.subtype IN ('IDENTITY', 'TRANSFORMATION', 'AGGREGATION') THEN 'DIRECT' ELSE 'INDIRECT' END, n.subtype
    FROM node n
    WHERE n.column_name <> '' OR NOT EXISTS (SELECT FROM node o WHERE o.node = n.node AND o.column_name <> '')
    GROUP BY 2, 3, 4, 6
    ORDER BY 1, 2, 4 NULLS LAST, 6
$$;
COMMENT ON FUNCTION walhouse.upstream(regclass, text) IS
    'Where a column''s values come from, or those of a whole relation (column NULL), and what bears on its rows, all the way: views, models, mirrors, change logs, tables of the source (source NULL, node: feed and table). distance: the number of steps. A source_column of NULL: the rows of the source are counted on. Relations whose lineage is kept are followed.';

CREATE FUNCTION walhouse.lineage_down(relations regclass[], columns text[], subtypes text[], start integer,
    OUT distance integer, OUT node text, OUT reader regclass, OUT reader_column text, OUT kind text, OUT subtype text)
RETURNS SETOF record LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH path AS (
        SELECT p.* FROM walhouse.lineage_path(true, relations, columns, subtypes, start) p WHERE p.distance > start
    )
    SELECT min(p.distance), p.relation::text, p.relation, NULLIF(p.column_name, ''),
           CASE WHEN p.subtype IN ('IDENTITY', 'TRANSFORMATION', 'AGGREGATION') THEN 'DIRECT' ELSE 'INDIRECT' END, p.subtype
    FROM path p
    WHERE p.subtype <> 'ROWS' OR NOT EXISTS (SELECT FROM path o WHERE o.relation = p.relation AND o.subtype <> 'ROWS')
    GROUP BY 2, 3, 4, 6
    ORDER BY 1, 2, 4 NULLS LAST, 6
$$;
COMMENT ON FUNCTION walhouse.lineage_down(regclass[], text[], text[], integer) IS
    'What columns bear on, as walhouse.downstream() shows it, with distances from start on.';

CREATE FUNCTION walhouse.downstream(relation regclass, "column" text DEFAULT NULL,
    OUT distance integer, OUT node text, OUT reader regclass, OUT reader_column text, OUT kind text, OUT subtype text)
RETURNS SETOF record LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT d.*
    FROM (SELECT array_agg(s.relation) AS relations, array_agg(s.name) AS names, array_agg(s.subtype) AS subtypes
          FROM (SELECT $1 AS relation, a.attname::text AS name, 'IDENTITY' AS subtype FROM pg_attribute a
                WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND ($2 IS NULL OR a.attname = $2)
                UNION ALL
                SELECT $1, '', 'ROWS' WHERE $2 IS NULL) s) s,
         LATERAL walhouse.lineage_down(s.relations, s.names, s.subtypes, 0) d
    WHERE s.relations IS NOT NULL
$$;
COMMENT ON FUNCTION walhouse.downstream(regclass, text) IS
    'What a column, or a whole relation (column NULL), bears on: models, and the views of tracked schemas, all the way. reader_column NULL: on all columns of the reader, because it decides which rows there are. distance: the number of steps.';

CREATE FUNCTION walhouse.source_downstream(feed text, "table" text, "column" text DEFAULT NULL,
    OUT distance integer, OUT node text, OUT reader regclass, OUT reader_column text, OUT kind text, OUT subtype text)
RETURNS SETOF record LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH start AS (
        SELECT t.log, t.mirror, c.log_column::text, c.mirror_column::text, CASE c.conversion WHEN 'text' THEN 'TRANSFORMATION' ELSE 'IDENTITY' END AS subtype
        FROM walhouse.feed f JOIN walhouse.feed_table t USING (feed_id) JOIN walhouse.feed_column c USING (feed_id, source_relid)
        WHERE f.name = $1 AND ($2 = t.source_name OR $2 = t.source_schema || '.' || t.source_name) AND ($3 IS NULL OR c.source_name = $3) AND NOT c.dropped
    )
    SELECT v.distance, v.relation::text, v.relation, v.name, CASE s.subtype WHEN 'JOIN' THEN 'INDIRECT' ELSE 'DIRECT' END, s.subtype
    FROM start s, LATERAL (VALUES (1, s.log, s.log_column), (2, s.mirror, s.mirror_column)) v (distance, relation, name)
    UNION ALL
    SELECT d.*
    FROM (SELECT array_agg(s.relation) AS relations, array_agg(s.name) AS names, array_agg(s.subtype) AS subtypes
          FROM (SELECT mirror AS relation, mirror_column AS name, subtype FROM start
                UNION ALL
                SELECT mirror, '', 'ROWS' FROM start WHERE $3 IS NULL) s) s,
         LATERAL walhouse.lineage_down(s.relations, s.names, s.subtypes, 2) d
    WHERE s.relations IS NOT NULL
    ORDER BY 1, 2, 4 NULLS LAST, 6
$$;
COMMENT ON FUNCTION walhouse.source_downstream(text, text, text) IS
    'What a column, or a whole table (column NULL), of a feed''s source bears on: its change log, its mirror, and all that comes after. table: with or without its schema at the source.';

CREATE FUNCTION walhouse.statement_changes(statement text, OUT schema text, OUT relation text, OUT "column" text, OUT action text, OUT type text)
RETURNS SETOF record LANGUAGE c STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walhouse_statement_changes';
COMMENT ON FUNCTION walhouse.statement_changes(text) IS
    'What ALTER and DROP statements would change, read off their text: relation and column as they are named there, and one of add column, drop column, alter type, rename column, rename, set schema, drop; type: the new one, as it is named there, without its length. What changes no column is left out. Raises for other statements. Nothing is looked up or run.';

CREATE FUNCTION walhouse.impact(statement text, OUT action text, OUT object text, OUT effect text, OUT distance integer, OUT node text, OUT reader regclass, OUT reader_column text, OUT subtype text)
RETURNS SETOF record LANGUAGE sql STABLE PARALLEL UNSAFE SET jit = off
-- Names are bound here, but for those in the statement, which are looked up with the caller's search_path.
BEGIN ATOMIC
    WITH change AS (
        SELECT c.schema, c.relation, c."column", c.action, c.type
        FROM walhouse.statement_changes(impact.statement) c
    ), source AS (
        -- Tables of feeds: their columns are followed by number, and what cannot be followed stops the table.
        SELECT c.action, c."column", f.name AS feed, t.source_schema || '.' || t.source_name AS name,
               CASE WHEN c.action IN ('rename column', 'rename', 'set schema', 'add column') THEN 'follows'
                    WHEN c.action = 'drop' THEN 'ends'
                    WHEN c.action = 'alter type' THEN COALESCE(walhouse.type_change(
                        (SELECT a.atttypid::regtype FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.mirror AND a.attname = k.mirror_column),
                        pg_catalog.to_regtype(c.type)), 'resync')
                    WHEN k.attnum = ANY (t.key) THEN 'resync'
                    ELSE 'null' END AS effect
        FROM change c
             JOIN walhouse.feed_table t ON t.source_name = c.relation AND (c.schema IS NULL OR t.source_schema = c.schema)
             JOIN walhouse.feed f ON f.feed_id = t.feed_id
             LEFT JOIN walhouse.feed_column k ON k.feed_id = t.feed_id AND k.source_relid = t.source_relid AND k.source_name = c."column" AND NOT k.dropped
        WHERE c.action IN ('drop', 'rename', 'set schema', 'add column') OR k.attnum IS NOT NULL
    ), local AS (
        SELECT c.action, c."column", r.relation,
               CASE WHEN c.action IN ('rename column', 'rename', 'set schema', 'add column') THEN 'follows' ELSE 'refused' END AS effect
        FROM change c,
             LATERAL (SELECT pg_catalog.to_regclass(CASE WHEN c.schema IS NULL THEN '' ELSE pg_catalog.quote_ident(c.schema) || '.' END
                                                    || pg_catalog.quote_ident(c.relation)) AS relation) r
        WHERE r.relation IS NOT NULL
    ), result AS (
        SELECT s.action, s.feed || ': ' || s.name || COALESCE('.' || s."column", '') AS object, s.effect, d.distance, d.node, d.reader, d.reader_column, d.subtype
        FROM source s, LATERAL walhouse.source_downstream(s.feed, s.name, s."column") d
        WHERE s.effect IN ('null', 'widens') OR (s.action = 'rename column' AND d.distance <= 2)
        UNION ALL
        -- What stops or ends does so as a whole.
        SELECT s.action, s.feed || ': ' || s.name || COALESCE('.' || s."column", ''), s.effect, pg_catalog.min(d.distance), d.node, d.reader, NULL, NULL
        FROM source s, LATERAL walhouse.source_downstream(s.feed, s.name, NULL) d
        WHERE s.effect IN ('resync', 'ends')
        GROUP BY s.action, s.feed, s.name, s."column", s.effect, d.node, d.reader
        UNION ALL
        SELECT l.action, l.relation::text || COALESCE('.' || l."column", ''), l.effect, d.distance, d.node, d.reader, d.reader_column, d.subtype
        FROM local l, LATERAL walhouse.downstream(l.relation, l."column") d
        WHERE l.effect = 'refused'
    )
    SELECT r.action, r.object, r.effect, r.distance, r.node, r.reader, r.reader_column, r.subtype
    FROM result r
    ORDER BY r.action, r.object, r.distance, r.node, r.reader_column NULLS LAST, r.subtype;
END;
COMMENT ON FUNCTION walhouse.impact(text) IS
    'What ALTER and DROP statements would do to models and tracked views, before they are run: statements on tables of the source of any feed, or on relations of this database. effect: null (the column is NULL from then on), widens (log and mirror get the wider type, and models whose query gets it stop until walhouse.alter_dimension and its like), resync (the table and all that reads it stops until walhouse.resync_table), ends (no more changes come), follows (log and mirror go along), refused (PostgreSQL refuses it while others depend on it, or with CASCADE drops them). reader and reader_column: as of walhouse.downstream(); of what stops or ends as a whole there is no column.';
