-- openlineage: what loads did, as events of the OpenLineage standard (https://openlineage.io/spec/2-0-2); rendered when asked for, kept nowhere.

-- Errors may quote data: shown to owners, as the monitoring views do.
CREATE VIEW walhouse.load_error AS
    SELECT l.load_id, l.error
    FROM walhouse.load l JOIN walhouse.feed f USING (feed_id)
    WHERE l.error IS NOT NULL AND (pg_catalog.pg_has_role(f.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'));
COMMENT ON VIEW walhouse.load_error IS
    'The errors of loads in which models stopped, for the feed''s owner and pg_read_all_stats: "schema.model: message", several parted by semicolons.';
GRANT SELECT ON walhouse.load_error TO PUBLIC;

-- In SQL bodies that are parsed once, every name is bound here and now: no search_path matters.
CREATE FUNCTION walhouse.openlineage_facet(name text, version text, body jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN body || pg_catalog.jsonb_build_object('_producer', 'https://walhouse.dev/openlineage',
    '_schemaURL', 'https://openlineage.io/spec/facets/' || version || '/' || name || '.json#/$defs/' || name);
COMMENT ON FUNCTION walhouse.openlineage_facet(text, text, jsonb) IS
    'A facet with what every facet has: producer and schema. name, version: of the facet''s definition in the standard.';

CREATE FUNCTION walhouse.openlineage_run_id(namespace text, load_id bigint, model_id integer) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN pg_catalog.overlay(pg_catalog.overlay(pg_catalog.md5('walhouse ' || namespace || ' ' || pg_catalog.current_database() || ' '
    || load_id || ' ' || model_id), '8', 13), 'a', 17)::pg_catalog.uuid;
COMMENT ON FUNCTION walhouse.openlineage_run_id(text, bigint, integer) IS
    'The id of the run that a load was (model_id 0) or that a load of a model was: the same whenever it is asked for (UUID version 8).';

CREATE FUNCTION walhouse.openlineage_name(relation oid) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT pg_catalog.current_database() || '.' || n.nspname || '.' || c.relname
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation);
COMMENT ON FUNCTION walhouse.openlineage_name(oid) IS
    'The name of a relation of this database as the standard has it: database.schema.relation.';

CREATE FUNCTION walhouse.openlineage_namespace() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN 'postgres://' || COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()), 'localhost') || ':' || pg_catalog.current_setting('port');
COMMENT ON FUNCTION walhouse.openlineage_namespace() IS
    'The namespace of this server''s datasets, postgres://host:port, with the address that the session came to.';

CREATE FUNCTION walhouse.openlineage_source_namespace(server name) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT 'postgres://' || COALESCE(pg_catalog.max(o.option_value) FILTER (WHERE o.option_name IN ('host', 'hostaddr')), 'localhost') || ':'
               || COALESCE(pg_catalog.max(o.option_value) FILTER (WHERE o.option_name = 'port'), '5432')
        FROM pg_catalog.pg_foreign_server s, pg_catalog.pg_options_to_table(s.srvoptions) o WHERE s.srvname = server);
COMMENT ON FUNCTION walhouse.openlineage_source_namespace(name) IS
    'The namespace of the datasets of a feed''s source, of the options of its foreign server.';

-- Facets of a relation of the warehouse that do not change from load to load.
CREATE FUNCTION walhouse.openlineage_static_facets(relation oid, namespace text) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
            'schema', walhouse.openlineage_facet('SchemaDatasetFacet', '1-2-0', pg_catalog.jsonb_build_object('fields',
                (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
                                                                           'description', pg_catalog.col_description(c.oid, a.attnum),
                                                                           'ordinal_position', a.place) ORDER BY a.attnum)
                 FROM (SELECT t.*, pg_catalog.row_number() OVER (ORDER BY t.attnum) AS place FROM pg_catalog.pg_attribute t
                       WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped) a))),
            'dataSource', walhouse.openlineage_facet('DatasourceDatasetFacet', '1-0-1',
                pg_catalog.jsonb_build_object('name', namespace || '/' || pg_catalog.current_database(), 'uri', namespace || '/' || pg_catalog.current_database())),
            'datasetType', walhouse.openlineage_facet('DatasetTypeDatasetFacet', '1-0-1', pg_catalog.jsonb_build_object('datasetType', 'TABLE')),
            'ownership', walhouse.openlineage_facet('OwnershipDatasetFacet', '1-0-1', pg_catalog.jsonb_build_object('owners',
                pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('name', 'user:' || pg_catalog.pg_get_userbyid(c.relowner), 'type', 'OWNER')))),
            'documentation', CASE WHEN pg_catalog.obj_description(c.oid, 'pg_class') IS NOT NULL THEN walhouse.openlineage_facet(
                'DocumentationDatasetFacet', '1-1-0', pg_catalog.jsonb_build_object('description', pg_catalog.obj_description(c.oid, 'pg_class'))) END))
        FROM pg_catalog.pg_class c WHERE c.oid = relation);
COMMENT ON FUNCTION walhouse.openlineage_static_facets(oid, text) IS
    'The facets schema, dataSource, datasetType, ownership and documentation of a relation of this database.';

CREATE FUNCTION walhouse.openlineage_subset(fact regclass, event_time text, partitions integer, "from" timestamp, "to" timestamp, gaps tsmultirange) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    WITH told AS (
        SELECT p.partition, p."from" AS lower
        FROM walhouse.fact_partitions(fact) p
        WHERE p."from" >= openlineage_subset."from" AND p."to" <= openlineage_subset."to"
          AND NOT COALESCE(pg_catalog.tsrange(p."from", p."to") OPERATOR(pg_catalog.<@) gaps, false)
    )
    SELECT walhouse.openlineage_facet('BaseSubsetDatasetFacet', '1-0-0', pg_catalog.jsonb_build_object('outputCondition',
               CASE WHEN pg_catalog.count(*) = partitions AND partitions <= 100 THEN pg_catalog.jsonb_build_object('type', 'partition', 'partitions',
                        pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('identifier', walhouse.openlineage_name(t.partition),
                                                                           'dimensions', pg_catalog.jsonb_build_object(event_time, pg_catalog.to_jsonb(t.lower))) ORDER BY t.lower))
                    ELSE pg_catalog.jsonb_build_object('type', 'binary', 'operator', 'AND',
                        'left', pg_catalog.jsonb_build_object('type', 'compare', 'comparison', 'GREATER_EQUAL_THAN',
                            'left', pg_catalog.jsonb_build_object('type', 'field', 'field', event_time),
                            'right', pg_catalog.jsonb_build_object('type', 'literal', 'value', pg_catalog.to_jsonb("from"))),
                        'right', pg_catalog.jsonb_build_object('type', 'compare', 'comparison', 'LESS_THAN',
                            'left', pg_catalog.jsonb_build_object('type', 'field', 'field', event_time),
                            'right', pg_catalog.jsonb_build_object('type', 'literal', 'value', pg_catalog.to_jsonb("to")))) END))
           || pg_catalog.jsonb_build_object('_schemaURL', 'https://openlineage.io/spec/facets/1-0-0/BaseSubsetDatasetFacet.json#/$defs/OutputSubsetOutputDatasetFacet')
    FROM told t WHERE partitions IS NOT NULL HAVING partitions IS NOT NULL);
COMMENT ON FUNCTION walhouse.openlineage_subset(regclass, text, integer, timestamp, timestamp, tsmultirange) IS
    'The facet that tells to which partitions of a fact a load wrote, by what walhouse.load_model says of it: their names and lower bounds where these say which they were, and there are 100 at most; else the stretch of event_time that they lie in. NULL: to none.';

CREATE FUNCTION walhouse.openlineage(since bigint DEFAULT 0, feed text DEFAULT NULL, namespace text DEFAULT NULL, max_loads integer DEFAULT 1000,
    OUT feed_id integer, OUT load_id bigint, OUT recorded bigint, OUT event jsonb)
RETURNS SETOF record LANGUAGE sql STABLE SET jit = off -- compiling it would take twenty times as long as running it
BEGIN ATOMIC
    WITH house AS MATERIALIZED (
        SELECT COALESCE(openlineage.namespace, walhouse.openlineage_namespace()) AS ns,
               pg_catalog.jsonb_build_object('producer', 'https://walhouse.dev/openlineage', 'schemaURL', 'https://openlineage.io/spec/2-0-2/OpenLineage.json') AS base,
               walhouse.openlineage_facet('ProcessingEngineRunFacet', '1-1-1', pg_catalog.jsonb_build_object('name', 'PostgreSQL',
                   'version', pg_catalog.current_setting('server_version'),
                   'openlineageAdapterVersion', (SELECT x.extversion FROM pg_catalog.pg_extension x WHERE x.extname = 'walhouse'))) AS engine
    ), loads AS MATERIALIZED (
        SELECT l.load_id, l.feed_id, l.recorded, l.kind, l.from_lsn, l.to_lsn, l.from_time, l.to_time, l.transactions,
               l.inserts, l.updates, l.deletes, l.truncates, l.started,
               l.started + l.duration_ms * '1 ms'::interval AS ended, f.name AS feed, f.server, f.slot, e.error,
               walhouse.openlineage_run_id(h.ns, l.load_id, 0) AS run_id,
               pg_catalog.jsonb_build_object('namespace', h.ns, 'name', pg_catalog.current_database() || '.' || f.name || '.' || l.kind,
                   'facets', pg_catalog.jsonb_build_object('jobType', walhouse.openlineage_facet('JobTypeJobFacet', '2-0-4',
                       pg_catalog.jsonb_build_object('processingType', 'BATCH', 'integration', 'WALHOUSE', 'jobType', 'JOB')))) AS job
        FROM (SELECT g.feed_id, g.name, g.server, g.slot FROM walhouse.feed g WHERE openlineage.feed IS NULL OR g.name = openlineage.feed) f
             CROSS JOIN LATERAL (SELECT x.load_id, x.feed_id, x.recorded, x.kind, x.from_lsn, x.to_lsn, x.from_time, x.to_time, x.transactions, x.inserts, x.updates, x.deletes, x.truncates,
                                        x.started, x.duration_ms
                                 FROM walhouse.load x WHERE x.feed_id = f.feed_id AND x.recorded > openlineage.since
                                 ORDER BY x.recorded LIMIT openlineage.max_loads) l
             LEFT JOIN walhouse.load_error e ON e.load_id = l.load_id
             CROSS JOIN house h
    ), runs AS MATERIALIZED (
        -- A model in a load: brought on, or stopped.
        SELECT l.load_id, l.kind AS load_kind, lm.model_id, lm.definition,
               l.kind = 'build' OR lm.definition <> (SELECT b.definition FROM walhouse.load_model b WHERE b.model_id = lm.model_id AND b.load_id < lm.load_id
                                                     ORDER BY b.load_id DESC LIMIT 1) AS is_new,
               lm.from_lsn, lm.to_lsn, lm.rows_read, lm.rows_read_of, lm.inserted, lm.updated, lm.deleted, lm.inferred, lm.rejected,
               lm.partitions, lm.partitions_from, lm.partitions_to, lm.partition_gaps, l.started, l.started + COALESCE(lm.duration_ms, 0) * '1 ms'::interval AS ended, NULL::text AS error
        FROM loads l JOIN walhouse.load_model lm ON lm.load_id = l.load_id
        UNION ALL
        SELECT l.load_id, l.kind, m.model_id, NULL, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, l.started, l.ended, pg_catalog.substr(p.part, pg_catalog.length(m.name) + 3)
        FROM loads l
             CROSS JOIN LATERAL pg_catalog.regexp_split_to_table(l.error, '; (?=("([^"]|"")+"|[^\s".:;]+)[.]("([^"]|"")+"|[^\s".:;]+): )') p (part)
             JOIN (SELECT d.model_id, d.feed_id, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name
                   FROM walhouse.model d JOIN pg_catalog.pg_class c ON c.oid = d.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) m
                 ON m.feed_id = l.feed_id AND pg_catalog.starts_with(p.part, m.name || ': ')
    ), models AS MATERIALIZED (
        SELECT m.model_id, m.relation, m.kind, m.query, m.options, walhouse.openlineage_name(m.relation) AS name,
               walhouse.openlineage_static_facets(m.relation, h.ns) AS facets,
               pg_catalog.jsonb_build_object('namespace', h.ns, 'name', walhouse.openlineage_name(m.relation)) AS dataset
        FROM walhouse.model m CROSS JOIN house h WHERE m.model_id IN (SELECT r.model_id FROM runs r)
    ), edges AS MATERIALIZED (
        SELECT m.model_id, NULLIF(e."column", '') AS "column", e.source, NULLIF(e.source_column, '') AS source_column,
               CASE WHEN e.subtype IN ('IDENTITY', 'TRANSFORMATION', 'AGGREGATION') THEN 'DIRECT' ELSE 'INDIRECT' END AS kind, e.subtype,
               walhouse.openlineage_name(e.source) AS source_name
        FROM models m JOIN walhouse.lineage_edge e ON e.relation = m.relation AND e.source <> m.relation
    ), lineage AS MATERIALIZED (
        SELECT m.model_id, walhouse.openlineage_facet('ColumnLineageDatasetFacet', '1-2-0', pg_catalog.jsonb_build_object(
                   'fields', COALESCE((SELECT pg_catalog.jsonb_object_agg(c."column", pg_catalog.jsonb_build_object('inputFields', c.fields))
                       FROM (SELECT i."column", pg_catalog.jsonb_agg(i.field) AS fields
                             FROM (SELECT e."column", pg_catalog.jsonb_build_object('namespace', h.ns, 'name', e.source_name, 'field', e.source_column,
                                       'transformations', pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('type', e.kind, 'subtype', e.subtype)
                                                                               ORDER BY e.kind, e.subtype)) AS field
                                   FROM edges e WHERE e.model_id = m.model_id AND e."column" IS NOT NULL AND e.source_column IS NOT NULL
                                   GROUP BY e."column", e.source_name, e.source_column ORDER BY e.source_name, e.source_column) i
                             GROUP BY i."column") c), '{}'),
                   'dataset', COALESCE((SELECT pg_catalog.jsonb_agg(i.field)
                       FROM (SELECT pg_catalog.jsonb_build_object('namespace', h.ns, 'name', e.source_name, 'field', e.source_column,
                                 'transformations', pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('type', e.kind, 'subtype', e.subtype)
                                                                         ORDER BY e.kind, e.subtype)) AS field
                             FROM edges e WHERE e.model_id = m.model_id AND e."column" IS NULL AND e.source_column IS NOT NULL
                             GROUP BY e.source_name, e.source_column ORDER BY e.source_name, e.source_column) i), '[]'))) AS facet
        FROM models m CROSS JOIN house h
    ), reads AS MATERIALIZED (
        SELECT e.model_id, e.source, e.source_name, t.mirror IS NOT NULL AS is_mirror, d.model_id AS source_id,
               pg_catalog.count(t.mirror) OVER of_model AS mirrors, pg_catalog.count(t.mirror) OVER (of_model ORDER BY t.source_relid) AS place
        FROM (SELECT DISTINCT x.model_id, x.source, x.source_name FROM edges x) e
             LEFT JOIN walhouse.feed_table t ON t.mirror = e.source
             LEFT JOIN walhouse.model d ON d.relation = e.source
        WINDOW of_model AS (PARTITION BY e.model_id)
    ), checks AS MATERIALIZED (
        -- The last verification of each model that others read.
        SELECT i.model_id, i.relation, walhouse.openlineage_facet('DataQualityAssertionsDatasetFacet', '1-1-0', pg_catalog.jsonb_build_object('assertions',
                   pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('assertion', 'verify', 'success', v.differences = 0, 'severity', 'error',
                       'description', 'Of ' || v.found || ' rows of a sample, so many differ from a recomputation from the change log.',
                       'expected', '0', 'actual', v.differences::text)))) AS facet
        FROM walhouse.model i
             CROSS JOIN LATERAL (SELECT x.found, x.missing + x.unexpected + x.different AS differences FROM walhouse.verification x
                                 WHERE x.model_id = i.model_id ORDER BY x.started DESC LIMIT 1) v
        WHERE v.differences IS NOT NULL AND i.relation IN (SELECT r.source FROM reads r)
    ), events AS (
        -- What a build tells of, and a load with another definition: tables, and the job.
        SELECT l.feed_id, l.load_id, l.recorded, 1 AS place, r.model_id, l.ended AS at, h.base || pg_catalog.jsonb_build_object('dataset',
                   m.dataset || pg_catalog.jsonb_build_object('facets', m.facets || pg_catalog.jsonb_build_object(
                       'columnLineage', n.facet,
                       'version', walhouse.openlineage_facet('DatasetVersionDatasetFacet', '1-0-1', pg_catalog.jsonb_build_object('datasetVersion', r.to_lsn::text)),
                       'lifecycleStateChange', walhouse.openlineage_facet('LifecycleStateChangeDatasetFacet', '1-0-1', pg_catalog.jsonb_build_object('lifecycleStateChange',
                           CASE WHEN r.load_kind <> 'build' THEN 'ALTER'
                                WHEN EXISTS (SELECT FROM walhouse.load_model b WHERE b.model_id = r.model_id AND b.load_id < r.load_id)
                                THEN 'OVERWRITE' ELSE 'CREATE' END))))) AS event
        FROM runs r JOIN loads l USING (load_id) JOIN models m USING (model_id) JOIN lineage n USING (model_id) CROSS JOIN house h WHERE r.is_new
        UNION ALL
        -- What was dropped between these loads.
        SELECT d.feed_id, NULL, d.recorded, 0, 0, d.dropped, h.base || pg_catalog.jsonb_build_object('dataset', pg_catalog.jsonb_build_object(
                   'namespace', h.ns, 'name', pg_catalog.current_database() || '.' || d.schema || '.' || d.relation,
                   'facets', pg_catalog.jsonb_build_object('lifecycleStateChange', walhouse.openlineage_facet('LifecycleStateChangeDatasetFacet', '1-0-1',
                       pg_catalog.jsonb_build_object('lifecycleStateChange', 'DROP')))))
        FROM walhouse.feed f JOIN walhouse.dropped_model d USING (feed_id) CROSS JOIN house h
        WHERE (openlineage.feed IS NULL OR f.name = openlineage.feed) AND d.recorded > openlineage.since
          AND d.recorded < COALESCE((SELECT pg_catalog.max(l.recorded) FROM loads l WHERE l.feed_id = d.feed_id HAVING pg_catalog.count(*) >= openlineage.max_loads), 9223372036854775807)
        UNION ALL
        SELECT l.feed_id, l.load_id, l.recorded, 0, 0, l.ended, h.base || pg_catalog.jsonb_build_object('dataset',
                   pg_catalog.jsonb_build_object('namespace', h.ns, 'name', walhouse.openlineage_name(t.mirror),
                       'facets', walhouse.openlineage_static_facets(t.mirror, h.ns) || pg_catalog.jsonb_build_object(
                           'columnLineage', walhouse.openlineage_facet('ColumnLineageDatasetFacet', '1-2-0', pg_catalog.jsonb_build_object('fields',
                               (SELECT COALESCE(pg_catalog.jsonb_object_agg(c.mirror_column, pg_catalog.jsonb_build_object('inputFields', pg_catalog.jsonb_build_array(
                                           pg_catalog.jsonb_build_object('namespace', walhouse.openlineage_source_namespace(l.server::name),
                                               'name', COALESCE(o.dbname, l.server) || '.' || t.source_schema || '.' || t.source_name, 'field', c.source_name,
                                               'transformations', pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('type', 'DIRECT', 'subtype', 'IDENTITY')))))), '{}')
                                FROM walhouse.feed_column c WHERE c.feed_id = t.feed_id AND c.source_relid = t.source_relid AND c.mirror_column IS NOT NULL))))))
        FROM loads l CROSS JOIN house h
             JOIN walhouse.feed_table t ON t.feed_id = l.feed_id
             LEFT JOIN LATERAL (SELECT x.option_value AS dbname FROM pg_catalog.pg_foreign_server s, pg_catalog.pg_options_to_table(s.srvoptions) x
                                WHERE s.srvname = l.server AND x.option_name = 'dbname') o ON true
        WHERE t.mirror IN (SELECT e.source FROM reads e JOIN runs r USING (model_id) WHERE r.load_id = l.load_id AND r.is_new)
        UNION ALL
        SELECT l.feed_id, l.load_id, l.recorded, 2, r.model_id, l.ended, h.base || pg_catalog.jsonb_build_object('job',
                   pg_catalog.jsonb_build_object('namespace', h.ns, 'name', m.name, 'facets', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                       'jobType', walhouse.openlineage_facet('JobTypeJobFacet', '2-0-4',
                           pg_catalog.jsonb_build_object('processingType', 'BATCH', 'integration', 'WALHOUSE', 'jobType', 'MODEL')),
                       'sql', CASE WHEN m.query <> 0::pg_catalog.oid THEN walhouse.openlineage_facet('SQLJobFacet', '1-1-0',
                           pg_catalog.jsonb_build_object('query', COALESCE((SELECT d.query FROM walhouse.model_definition d
                                WHERE d.model_id = r.model_id AND d.definition = r.definition), pg_catalog.pg_get_viewdef(m.query)), 'dialect', 'postgres')) END,
                       'documentation', walhouse.openlineage_facet('DocumentationJobFacet', '1-1-0', pg_catalog.jsonb_build_object('description',
                           'walhouse ' || m.kind || ', declared with ' || m.options::text))))),
                   'inputs', (SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('namespace', h.ns, 'name', e.source_name) ORDER BY e.source_name), '[]')
                              FROM reads e WHERE e.model_id = r.model_id),
                   'outputs', pg_catalog.jsonb_build_array(m.dataset))
        FROM runs r JOIN loads l USING (load_id) JOIN models m USING (model_id) CROSS JOIN house h WHERE r.is_new
        UNION ALL
        -- The load, and in it each model.
        SELECT l.feed_id, l.load_id, l.recorded, s.place, 0, CASE s.place WHEN 3 THEN l.started ELSE l.ended END,
               h.base || pg_catalog.jsonb_build_object('job', l.job, 'eventType', CASE WHEN s.place = 3 THEN 'START' WHEN EXISTS (SELECT FROM runs r
                       WHERE r.load_id = l.load_id AND r.error IS NULL) THEN 'COMPLETE' ELSE 'FAIL' END,
                   'run', pg_catalog.jsonb_build_object('runId', l.run_id, 'facets', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                       'processing_engine', h.engine,
                       'nominalTime', CASE WHEN l.from_time IS NOT NULL THEN walhouse.openlineage_facet('NominalTimeRunFacet', '1-0-1',
                           pg_catalog.jsonb_build_object('nominalStartTime', l.from_time, 'nominalEndTime', l.to_time)) END,
                       'errorMessage', CASE WHEN s.place = 9 AND l.error IS NOT NULL THEN walhouse.openlineage_facet('ErrorMessageRunFacet', '1-0-1',
                           pg_catalog.jsonb_build_object('message', l.error, 'programmingLanguage', 'SQL')) END,
                       'walhouse_provenance', pg_catalog.jsonb_build_object('_producer', 'https://walhouse.dev/openlineage',
                           '_schemaURL', 'https://walhouse.dev/openlineage/provenance.json', 'loadId', l.load_id, 'slot', l.slot,
                           'fromLsn', l.from_lsn, 'toLsn', l.to_lsn, 'transactions', l.transactions,
                           'inserts', l.inserts, 'updates', l.updates, 'deletes', l.deletes, 'truncates', l.truncates)))))
        FROM loads l CROSS JOIN (VALUES (3), (9)) s (place) CROSS JOIN house h
        UNION ALL
        SELECT l.feed_id, l.load_id, l.recorded, s.place, r.model_id, CASE s.place WHEN 4 THEN r.started ELSE r.ended END,
               h.base || pg_catalog.jsonb_build_object(
                   'eventType', CASE WHEN s.place = 4 THEN 'START' WHEN r.error IS NULL THEN 'COMPLETE' ELSE 'FAIL' END,
                   'job', pg_catalog.jsonb_build_object('namespace', h.ns, 'name', m.name, 'facets', pg_catalog.jsonb_build_object(
                       'jobType', walhouse.openlineage_facet('JobTypeJobFacet', '2-0-4',
                           pg_catalog.jsonb_build_object('processingType', 'BATCH', 'integration', 'WALHOUSE', 'jobType', 'MODEL')))),
                   'run', pg_catalog.jsonb_build_object('runId', walhouse.openlineage_run_id(h.ns, l.load_id, r.model_id),
                       'facets', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                           'parent', walhouse.openlineage_facet('ParentRunFacet', '1-2-0', pg_catalog.jsonb_build_object(
                               'run', pg_catalog.jsonb_build_object('runId', l.run_id), 'job', l.job - 'facets',
                               'root', pg_catalog.jsonb_build_object('run', pg_catalog.jsonb_build_object('runId', l.run_id), 'job', l.job - 'facets'))),
                           'processing_engine', h.engine,
                           'nominalTime', CASE WHEN l.from_time IS NOT NULL THEN walhouse.openlineage_facet('NominalTimeRunFacet', '1-0-1',
                               pg_catalog.jsonb_build_object('nominalStartTime', l.from_time, 'nominalEndTime', l.to_time)) END,
                           'walhouse_provenance', pg_catalog.jsonb_build_object('_producer', 'https://walhouse.dev/openlineage',
                               '_schemaURL', 'https://walhouse.dev/openlineage/provenance.json', 'loadId', l.load_id, 'definition', r.definition),
                           'errorMessage', CASE WHEN s.place = 5 AND r.error IS NOT NULL THEN walhouse.openlineage_facet('ErrorMessageRunFacet', '1-0-1',
                               pg_catalog.jsonb_build_object('message', r.error, 'programmingLanguage', 'SQL')) END)))) ||
               CASE WHEN s.place = 5 AND r.error IS NULL THEN pg_catalog.jsonb_build_object(
                   'inputs', (SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('namespace', h.ns, 'name', e.source_name,
                                  'facets', pg_catalog.jsonb_build_object('version', walhouse.openlineage_facet('DatasetVersionDatasetFacet', '1-0-1',
                                      pg_catalog.jsonb_build_object('datasetVersion', r.to_lsn::text))),
                                  'inputFacets', NULLIF(pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('dataQualityAssertions', k.facet,
                                      'inputStatistics', CASE WHEN c.rows IS NOT NULL THEN walhouse.openlineage_facet('InputStatisticsInputDatasetFacet', '1-0-0',
                                          pg_catalog.jsonb_build_object('rowCount', c.rows)) END)), '{}'))) ORDER BY e.source_name), '[]')
                              FROM reads e LEFT JOIN checks k ON k.relation = e.source
                                   -- What rollups read of their fact is what the load did to it.
                                   LEFT JOIN LATERAL (SELECT CASE WHEN e.is_mirror AND (e.mirrors = 1 OR r.rows_read = 0) THEN r.rows_read
                                                                  WHEN e.is_mirror AND e.mirrors = pg_catalog.cardinality(r.rows_read_of) THEN r.rows_read_of[e.place]
                                                                  WHEN m.kind IN ('rollup', 'periodic_snapshot') AND r.load_kind = 'load' THEN
                                                                      (SELECT x.inserted + x.updated + x.deleted FROM runs x
                                                                       WHERE x.load_id = r.load_id AND x.model_id = e.source_id AND x.error IS NULL) END AS rows) c ON true
                              WHERE e.model_id = r.model_id),
                   'outputs', pg_catalog.jsonb_build_array(m.dataset || pg_catalog.jsonb_build_object(
                       'facets', (m.facets - 'documentation' - 'ownership') || pg_catalog.jsonb_build_object('columnLineage', n.facet, 'version',
                           walhouse.openlineage_facet('DatasetVersionDatasetFacet', '1-0-1', pg_catalog.jsonb_build_object('datasetVersion', r.to_lsn::text))),
                       'outputFacets', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                           'outputStatistics', walhouse.openlineage_facet('OutputStatisticsOutputDatasetFacet', '1-0-2',
                               pg_catalog.jsonb_build_object('rowCount', r.inserted + r.updated)),
                           'subset', walhouse.openlineage_subset(m.relation, m.options ->> 'event_time', r.partitions, r.partitions_from, r.partitions_to, r.partition_gaps))))))
                   ELSE '{}' END
        FROM runs r JOIN loads l USING (load_id) JOIN models m USING (model_id) JOIN lineage n USING (model_id)
             CROSS JOIN (VALUES (4), (5)) s (place) CROSS JOIN house h
    )
    SELECT e.feed_id, e.load_id, e.recorded, e.event || pg_catalog.jsonb_build_object('eventTime', e.at)
    FROM events e ORDER BY e.feed_id, e.recorded, CASE e.place WHEN 5 THEN 4 ELSE e.place END, e.model_id, e.place, e.event->'dataset'->>'name';
END;
COMMENT ON FUNCTION walhouse.openlineage(bigint, text, text, integer) IS
    'The loads of a feed (NULL: of all) as OpenLineage events, in order: for each load a run, within it one for each model, with a build the datasets and the job that it made, and the dataset of a model that was dropped (load_id is NULL). since: loads up to this walhouse.load.recorded are left out; max_loads: so many of a feed at most. namespace: of the warehouse''s datasets; NULL: openlineage_namespace(). Rendered from the catalog as it is now, and kept nowhere; ids of runs are the same each time. Errors of loads are shown to the feed''s owner and to pg_read_all_stats.';
