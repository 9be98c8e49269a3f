-- evolve: models that change.

CREATE TABLE walhouse.alteration (
    alteration_id  integer NOT NULL,
    model_id       integer NOT NULL,
    next_id        integer NOT NULL,
    started        timestamptz NOT NULL DEFAULT pg_catalog.now(),
    swapped        timestamptz,
    error          text,
    error_time     timestamptz,
    next_try       timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT alteration_pkey PRIMARY KEY (model_id, next_id)
);
COMMENT ON TABLE walhouse.alteration IS
    'Models that are altered, or follow one that is: the model as it is, and the one that is built to take its place (<name>__next). swapped: when that did; from then on model_id is what it was before, <name>__old, paused, until somebody drops it. error: why the last attempt to swap did not succeed; it is tried again at next_try.';
GRANT SELECT ON walhouse.alteration TO pg_read_all_stats;
GRANT SELECT (alteration_id, model_id, next_id, started, swapped, error_time, next_try) ON walhouse.alteration TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('walhouse.alteration', '');

CREATE VIEW walhouse.stat_alteration AS
    SELECT a.alteration_id, a.model_id, a.next_id, o.relation AS model, n.relation AS next, a.started, a.swapped,
           CASE WHEN a.swapped IS NULL THEN n.state END AS state,
           CASE WHEN pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN a.error END AS error,
           a.error_time, a.next_try
    FROM walhouse.alteration a JOIN walhouse.model n ON n.model_id = a.next_id LEFT JOIN walhouse.model o ON o.model_id = a.model_id
         LEFT JOIN pg_catalog.pg_class c ON c.oid = n.relation
    WHERE a.swapped IS NULL OR o.model_id IS NOT NULL;
COMMENT ON VIEW walhouse.stat_alteration IS
    'Models that are altered, or follow one that is, and what is built to take their place (next), with its state; after the swap what was (model, <name>__old), as long as it is kept. error: why the last attempt to swap did not succeed, for owners and pg_read_all_stats; next_try: when it is tried again.';
GRANT SELECT ON walhouse.stat_alteration TO PUBLIC;

CREATE FUNCTION walhouse.rename(model regclass, name text) RETURNS void
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'walhouse_rename';
COMMENT ON FUNCTION walhouse.rename(regclass, text) IS
    'Gives a model another name, schema.table or, in its schema, table; and with it all that is called after it: the view of its query, the views and tables beside it, partitions, indexes. Columns keep their names. Waits for a load that is under way, and for readers. For the model''s owner, who needs CREATE on the schema. Raises when the name is taken.';

-- Which models a declaration names: others must be there before.
CREATE VIEW walhouse.model_need AS
    SELECT d.model_id, d.dimension_id AS needs FROM walhouse.dimension_reference d WHERE d.purpose <> 'history'
    UNION SELECT f.model_id, f.dimension_id FROM walhouse.fact_dimension f
    UNION SELECT r.model_id, r.fact_id FROM walhouse.fact_reader r;
COMMENT ON VIEW walhouse.model_need IS
    'Which models a model''s declaration refers to: dimensions of facts, outriggers and members, facts of rollups.';
GRANT SELECT ON walhouse.model_need TO PUBLIC;

CREATE FUNCTION walhouse.spec_reference(dimension_id integer, key text[]) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$SELECT m.relation::text || '(' || array_to_string(ARRAY(SELECT quote_ident(k) FROM unnest(spec_reference.key) k), ', ') || ')'
     FROM walhouse.model m WHERE m.model_id = spec_reference.dimension_id$$;
COMMENT ON FUNCTION walhouse.spec_reference(integer, text[]) IS
    'A reference to a dimension as declarations write it: dw.customer(customer_id). dimension_id: its model; key: the columns that give its key.';

CREATE FUNCTION walhouse.model_spec(model_id integer) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    WITH model AS (
        SELECT m.model_id, m.relation, m.kind, m.key, o.o, btrim(pg_get_viewdef(COALESCE(m.query, h.query)), ' ;') AS text, COALESCE(h.key, m.key) AS keys,
               (SELECT jsonb_object_agg(d.column_name, walhouse.spec_reference(d.dimension_id, d.key)) FROM walhouse.dimension_reference d
                WHERE d.model_id = m.model_id AND d.purpose = 'outrigger') AS outriggers,
               (SELECT jsonb_object_agg(d.column_name, walhouse.spec_reference(d.dimension_id, d.key)) FROM walhouse.dimension_reference d
                WHERE d.model_id = m.model_id AND d.purpose = 'member') AS members
        FROM walhouse.model m LEFT JOIN walhouse.model h ON m.kind = 'mini' AND (h.options ->> 'mini')::integer = m.model_id
             CROSS JOIN LATERAL (SELECT m.options) o (o)
        WHERE m.model_id = model_spec.model_id AND m.options ->> 'mini' IS NULL)
    SELECT jsonb_build_object('model', m.relation::text, 'declare', 'create_' || CASE
        WHEN m.members IS NOT NULL THEN 'bridge' WHEN m.kind IN ('date', 'time', 'junk', 'mini') THEN m.kind || '_dimension' ELSE m.kind END,
        'arguments', CASE m.kind
        WHEN 'dimension' THEN
            CASE WHEN m.members IS NOT NULL
                 THEN jsonb_build_object('query', m.text, 'key', m.keys, 'members', m.members, 'weight', m.o -> 'weight')
                 ELSE jsonb_build_object('query', m.text, 'key', m.keys, 'scd', m.o -> 'scd', 'on_delete', m.o -> 'on_delete',
                     'unknown', m.o -> 'unknown', 'effective', COALESCE(m.o ->> 'effective', 'commit'),
                     'outriggers', COALESCE(m.outriggers, '{}')) END
        WHEN 'mini' THEN jsonb_build_object('query', m.text, 'key', m.keys)
        WHEN 'date' THEN m.o - 'sk' || jsonb_build_object('holidays',
            (SELECT d.refobjid::regclass::text FROM walhouse.model_view v JOIN pg_rewrite w ON w.ev_class = v.view
                  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
             WHERE v.model_id = m.model_id AND v.purpose = 'holidays' AND d.refobjid <> v.view LIMIT 1))
        WHEN 'time' THEN m.o - 'sk'
        WHEN 'junk' THEN jsonb_build_object('columns',
            (SELECT jsonb_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
             FROM pg_attribute a WHERE a.attrelid = m.relation AND a.attname = ANY (m.key)))
        WHEN 'fact' THEN jsonb_build_object('query', m.text, 'key', m.keys, 'event_time', m.o -> 'event_time',
            'partition_by', m.o -> 'partition_by', 'corrections', m.o -> 'corrections', 'milestones', m.o -> 'milestones', 'lags', m.o -> 'lags',
            'measures', CASE WHEN m.o ->> 'corrections' = 'reverse' THEN m.o -> 'measures' END,
            'dimensions', COALESCE((
                SELECT jsonb_object_agg(d.column_name, CASE WHEN d.null_sk = -1 AND d.not_applicable_if IS NULL AND d.error_if IS NULL
                    THEN to_jsonb(r.reference)
                    ELSE jsonb_strip_nulls(jsonb_build_object('dimension', r.reference,
                        'null', ('{unknown,not_applicable,error}'::text[])[-d.null_sk], 'not_applicable_if', d.not_applicable_if,
                        'error_if', d.error_if)) END)
                FROM walhouse.fact_dimension d CROSS JOIN LATERAL (SELECT walhouse.spec_reference(d.dimension_id, d.key)) r (reference)
                WHERE d.model_id = m.model_id
                  AND NOT EXISTS (SELECT FROM walhouse.fact_dimension x WHERE x.model_id = d.model_id AND x.history_role = d.role)), '{}'))
        ELSE jsonb_build_object('fact', (SELECT f.relation::text FROM walhouse.fact_reader r JOIN walhouse.model f ON f.model_id = r.fact_id
                                         WHERE r.model_id = m.model_id),
            'group_by', m.o -> 'group_by',
            'measures', (SELECT jsonb_object_agg(x ->> 'name', CASE WHEN x ->> 'function' = 'count distinct' THEN 'count(distinct ' ELSE (x ->> 'function') || '(' END
                             || COALESCE(quote_ident(x ->> 'column'), '*') || ')') FROM jsonb_array_elements(m.o -> 'measures') x))
            || CASE m.kind WHEN 'rollup' THEN jsonb_build_object('bucket', m.o -> 'bucket', 'bucket_column', m.o -> 'bucket_column')
                           ELSE jsonb_build_object('period', m.o -> 'bucket', 'period_column', m.o -> 'bucket_column', 'fill', m.o -> 'fill') END
        END)
    FROM model m$$;
COMMENT ON FUNCTION walhouse.model_spec(integer) IS
    'The declaration of a model as JSON: its name, the function that declares it, and all that function''s arguments. model_id: the model''s. NULL for the history of a mini-dimension, which is declared with that.';

CREATE FUNCTION walhouse.spec(feed text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE depth AS (
        SELECT m.model_id, 0 AS depth FROM walhouse.model m
        UNION ALL
        SELECT n.model_id, d.depth + 1 FROM depth d JOIN walhouse.model_need n ON n.needs = d.model_id),
    chosen AS (
        SELECT COALESCE((m.options ->> 'mini')::integer, m.model_id) AS model_id FROM walhouse.model m
        WHERE (spec.feed IS NULL OR m.feed_id = (SELECT f.feed_id FROM walhouse.feed f WHERE f.name = spec.feed))
          AND NOT EXISTS (SELECT FROM walhouse.alteration a WHERE m.model_id = CASE WHEN a.swapped IS NULL THEN a.next_id ELSE a.model_id END)
        UNION
        SELECT n.needs FROM chosen c JOIN walhouse.model_need n ON n.model_id = c.model_id)
    SELECT jsonb_build_object('version', 1, 'models', COALESCE(jsonb_agg(s.spec ORDER BY d.depth, s.spec ->> 'model'), '[]'))
    FROM chosen c CROSS JOIN LATERAL (SELECT walhouse.model_spec(c.model_id)) s (spec)
         CROSS JOIN LATERAL (SELECT max(x.depth) AS depth FROM depth x WHERE x.model_id = c.model_id) d
    WHERE s.spec IS NOT NULL$$;
COMMENT ON FUNCTION walhouse.spec(text) IS
    'The declarations of all models, or of those of one feed and what they refer to, as JSON for a repository: in an order in which they can be declared, and the same text for the same models. walhouse.apply_spec reads it.';

CREATE FUNCTION walhouse.spec_statement(entry jsonb) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('SELECT walhouse.%I(%s);', p.proname,
                  string_agg(format('%I => %s', a.name, CASE WHEN a.type = 'text[]'::regtype
                                 THEN quote_literal(ARRAY(SELECT jsonb_array_elements_text(v.value))::text) ELSE quote_literal(v.value #>> '{}') END),
                             ', ' ORDER BY a.place))
    FROM pg_proc p
         CROSS JOIN LATERAL unnest(p.proargnames, p.proargtypes::oid[]) WITH ORDINALITY a (name, type, place)
         JOIN LATERAL jsonb_each(entry -> 'arguments' || jsonb_build_object('name', entry -> 'model')) v ON v.key = a.name
    WHERE p.pronamespace = 'walhouse'::regnamespace AND p.proname = entry ->> 'declare' AND p.prorettype = 'regclass'::regtype
      AND jsonb_typeof(v.value) <> 'null'
    GROUP BY p.oid, p.proname
    HAVING count(*) = (SELECT count(*) FROM jsonb_each(entry -> 'arguments') g WHERE jsonb_typeof(g.value) <> 'null') + 1$$;
COMMENT ON FUNCTION walhouse.spec_statement(jsonb) IS
    'The statement that declares a model. entry: one of the models of walhouse.spec. NULL when there is no such function, or it has not all of these arguments.';

CREATE FUNCTION walhouse.spec_extra(spec jsonb) RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    WITH wanted AS (SELECT to_regclass(e ->> 'model') AS relation FROM jsonb_array_elements(spec -> 'models') e)
    SELECT e ->> 'model'
    FROM walhouse.feed f CROSS JOIN LATERAL jsonb_array_elements(walhouse.spec(f.name) -> 'models') WITH ORDINALITY s (e, place)
         JOIN walhouse.model m ON m.relation = to_regclass(e ->> 'model')
    WHERE f.feed_id IN (SELECT x.feed_id FROM walhouse.model x JOIN wanted w ON w.relation = x.relation)
      AND (m.feed_id IS NOT NULL OR m.kind = 'mini')
      AND NOT EXISTS (SELECT FROM wanted w WHERE w.relation = m.relation)
    ORDER BY f.name, place DESC$$;
COMMENT ON FUNCTION walhouse.spec_extra(jsonb) IS
    'The models of a specification''s feeds that it does not have, those that need others first. spec: as of walhouse.spec.';

CREATE FUNCTION walhouse.apply_spec(spec jsonb, dry_run boolean DEFAULT false, OUT action text, OUT model text, OUT statement text)
RETURNS SETOF record LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'walhouse_apply_spec';
COMMENT ON FUNCTION walhouse.apply_spec(jsonb, boolean) IS
    'Makes the models what a specification says, in the caller''s transaction, and says what was done: create (a model that was not there), keep (one that is as it says), alter (one that is declared otherwise, by walhouse.alter_model), wait (one that is being altered). differ: a model that is declared otherwise and cannot be altered, and extra: one of the same feeds that the specification does not have; with the statement that would mend that, which is not run. dry_run: says so and changes nothing, but finds all errors. Arguments that the specification leaves out have their defaults. The caller becomes the owner of what is made.';

CREATE FUNCTION walhouse.alter_followers(models integer[]) RETURNS SETOF integer
LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE follower AS (
        SELECT x AS model_id, 0 AS depth FROM unnest(models) x
        UNION
        SELECT n.model_id, f.depth + 1
        FROM follower f JOIN walhouse.model_need n ON n.needs = f.model_id
             JOIN walhouse.model m ON m.model_id = n.model_id AND m.kind IN ('fact', 'rollup', 'periodic_snapshot')
        WHERE NOT EXISTS (SELECT FROM walhouse.alteration a WHERE a.model_id = m.model_id AND a.swapped IS NOT NULL))
    SELECT f.model_id FROM follower f GROUP BY f.model_id ORDER BY max(f.depth), f.model_id$$;
COMMENT ON FUNCTION walhouse.alter_followers(integer[]) IS
    'These models and all whose rows are made of theirs, each behind those that it needs: facts of dimensions, rollups of facts.';

CREATE FUNCTION walhouse.spec_redirect(entry jsonb, was text, becomes text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN entry #>> '{arguments,fact}' = was THEN jsonb_set(entry, '{arguments,fact}', to_jsonb(becomes))
        WHEN entry #> '{arguments,dimensions}' IS NULL THEN entry
        ELSE jsonb_set(entry, '{arguments,dimensions}', COALESCE((
            SELECT jsonb_object_agg(d.key, CASE WHEN NOT starts_with(r.reference, was || '(') THEN d.value
                WHEN jsonb_typeof(d.value) = 'string' THEN to_jsonb(r.redirected) ELSE jsonb_set(d.value, '{dimension}', to_jsonb(r.redirected)) END)
            FROM jsonb_each(entry #> '{arguments,dimensions}') d
                 CROSS JOIN LATERAL (SELECT COALESCE(d.value ->> 'dimension', d.value #>> '{}')) x (reference)
                 CROSS JOIN LATERAL (SELECT x.reference, becomes || substr(x.reference, length(was) + 1)) r (reference, redirected)), '{}')) END$$;
COMMENT ON FUNCTION walhouse.spec_redirect(jsonb, text, text) IS
    'A model''s entry that refers to another model instead. entry: as of walhouse.spec; was, becomes: names.';

CREATE FUNCTION walhouse.alter_views(models integer[], nexts integer[]) RETURNS TABLE (view oid, owner oid, statement text)
LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    WITH beside AS (SELECT v.view::oid, v.model_id FROM walhouse.model_view v UNION ALL SELECT m.query::oid, m.model_id FROM walhouse.model m)
    SELECT v.oid, v.relowner, format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass,
                                     ' WITH (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid))
    FROM pg_class v
    WHERE v.relkind = 'v' AND v.relpersistence <> 't' -- of a session, which nobody else may make anew
      AND EXISTS (SELECT FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                  WHERE w.ev_class = v.oid AND d.refclassid = 'pg_class'::regclass
                    AND (d.refobjid IN (SELECT m.relation FROM walhouse.model m WHERE m.model_id = ANY (models))
                         OR d.refobjid IN (SELECT b.view FROM beside b WHERE b.model_id = ANY (models))))
      AND NOT EXISTS (SELECT FROM beside b WHERE b.view = v.oid
                      AND (b.model_id = ANY (models || nexts)
                           OR b.model_id IN (SELECT a.model_id FROM walhouse.alteration a WHERE a.swapped IS NOT NULL)))
    ORDER BY v.oid$$;
COMMENT ON FUNCTION walhouse.alter_views(integer[], integer[]) IS
    'Views of others over models, or what stands beside them, with the statement that makes each anew over what has their names then.';

CREATE FUNCTION walhouse.alter_grants(was regclass, becomes regclass) RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    WITH given AS (
        SELECT a.privilege_type, NULL::name AS attname, a.grantee, a.is_grantable, c.relowner
        FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE c.oid = was
        UNION ALL
        SELECT a.privilege_type, t.attname, a.grantee, a.is_grantable, c.relowner
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND NOT t.attisdropped
             JOIN pg_attribute n ON n.attrelid = becomes AND n.attname = t.attname AND NOT n.attisdropped
             CROSS JOIN LATERAL aclexplode(t.attacl) a WHERE c.oid = was)
    SELECT format('GRANT %s%s ON %s TO %s%s', g.privilege_type, '(' || quote_ident(g.attname) || ')', becomes,
                  CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM given g WHERE g.grantee <> g.relowner
    ORDER BY 1$$;
COMMENT ON FUNCTION walhouse.alter_grants(regclass, regclass) IS
    'Statements that give on one relation what was granted on another.';

CREATE FUNCTION walhouse.alter_model(model regclass, changes jsonb) RETURNS regclass
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_alter_model';
COMMENT ON FUNCTION walhouse.alter_model(regclass, jsonb) IS
    'Declares a model otherwise: changes are arguments of the function that declared it, with their new values. Beside the model, and beside all whose rows are made of its rows, <name>__next is declared, and built like any other by the feed''s worker, walhouse.run or walhouse.build; once all are where the feed is they take the names in one transaction, and what was is kept as <name>__old, paused, until it is dropped. Privileges and views of others go over to the new ones. Returns what is to be built. The roles of the owners of all these are needed. Raises when one of them is being altered already.';

CREATE FUNCTION walhouse.alter_steps(models integer[]) RETURNS TABLE (step text, object text, detail text)
LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    WITH altered AS (
        SELECT m.model_id, m.relation, m.relation::text AS name, m.history_start, o.place, s.rows, s.bytes,
               (SELECT greatest(f.horizon, max(t.sync_lsn)) FROM walhouse.feed f LEFT JOIN walhouse.feed_table t
                    ON t.feed_id = f.feed_id AND EXISTS (SELECT FROM pg_rewrite w JOIN pg_depend d
                        ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.mirror
                        WHERE w.ev_class = m.query)
                WHERE f.feed_id = m.feed_id GROUP BY f.horizon) AS horizon
        FROM unnest(models) WITH ORDINALITY o (id, place) JOIN walhouse.model m ON m.model_id = o.id
             CROSS JOIN LATERAL (SELECT sum(greatest(c.reltuples, 0))::bigint AS rows, sum(pg_total_relation_size(c.oid))::bigint AS bytes
                                 FROM pg_class c WHERE c.relkind = 'r' AND (c.oid = m.relation OR c.oid IN (SELECT t.relid FROM pg_partition_tree(m.relation) t))) s)
    SELECT x.step, x.object, x.detail
    FROM (SELECT 1 AS stage, a.place, 'build' AS step, a.name AS object,
                 format('about %s rows, %s, beside it', a.rows, pg_size_pretty(a.bytes)) AS detail FROM altered a
          UNION ALL
          SELECT 2, a.place, 'history', a.name, format('what it knows from before %s is not in the change log any more, and will be lost', a.horizon)
          FROM altered a WHERE a.history_start < a.horizon
          UNION ALL
          SELECT 3, a.place, 'swap', a.name, 'takes the name; what was is kept under the ending __old' FROM altered a
          UNION ALL
          SELECT 4, 0, 'view', v.view::regclass::text, 'made anew, with the columns that it has' FROM walhouse.alter_views(models, '{}') v
          UNION ALL
          SELECT 5, a.place, 'stays', pg_describe_object(d.classid, d.objid, 0), 'stays with what was'
          FROM altered a JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.relation AND d.deptype IN ('n', 'a')
          WHERE (d.classid IN ('pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass)
                 OR d.classid = 'pg_constraint'::regclass AND d.objid IN (SELECT k.oid FROM pg_constraint k WHERE k.contype IN ('f', 'c'))
                 OR d.classid = 'pg_class'::regclass AND d.objid IN (SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = a.relation AND NOT i.indisunique)
                 OR d.classid = 'pg_rewrite'::regclass AND d.objid IN (SELECT w.oid FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class WHERE c.relkind = 'm' OR c.relpersistence = 't'))
          GROUP BY a.place, d.classid, d.objid) x
    ORDER BY x.stage, x.place, x.object$$;
COMMENT ON FUNCTION walhouse.alter_steps(integer[]) IS
    'What altering these models, and no others, means: for walhouse.plan_alter.';

CREATE FUNCTION walhouse.plan_alter(model regclass, changes jsonb, OUT step text, OUT object text, OUT detail text)
RETURNS SETOF record LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_plan_alter';
COMMENT ON FUNCTION walhouse.plan_alter(regclass, jsonb) IS
    'What walhouse.alter_model with the same arguments would do, and nothing of it: build (a model that is built, and how large it is now), history (what would be lost), swap (what takes a name), view (views of others that are made anew), stays (what others have made on the table, and stays with what was). Raises what alter_model would.';

CREATE FUNCTION walhouse.cancel_alter(model regclass) RETURNS void
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_cancel_alter';
COMMENT ON FUNCTION walhouse.cancel_alter(regclass) IS
    'Gives up what walhouse.alter_model has begun and not swapped: drops all of it. model: the altered one, or one that follows it. For their owners.';

CREATE FUNCTION walhouse.alter_dimension(dimension regclass, query text DEFAULT NULL, key text[] DEFAULT NULL, scd jsonb DEFAULT NULL,
                                         on_delete text DEFAULT NULL, unknown boolean DEFAULT NULL, effective text DEFAULT NULL,
                                         outriggers jsonb DEFAULT NULL)
RETURNS regclass LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN walhouse.alter_model(dimension, pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('query', query, 'key', key, 'scd', scd,
    'on_delete', on_delete, 'unknown', unknown, 'effective', effective, 'outriggers', outriggers)));
COMMENT ON FUNCTION walhouse.alter_dimension(regclass, text, text[], jsonb, text, boolean, text, jsonb) IS
    'Alters a dimension (walhouse.alter_model): arguments as of create_dimension; NULL leaves one as it is. Its history is made anew from the change log.';

CREATE FUNCTION walhouse.alter_fact(fact regclass, query text DEFAULT NULL, key text[] DEFAULT NULL, event_time name DEFAULT NULL,
                                    dimensions jsonb DEFAULT NULL, partition_by text DEFAULT NULL, corrections text DEFAULT NULL,
                                    measures text[] DEFAULT NULL, milestones jsonb DEFAULT NULL, lags jsonb DEFAULT NULL)
RETURNS regclass LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN walhouse.alter_model(fact, pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('query', query, 'key', key, 'event_time', event_time,
    'dimensions', dimensions, 'partition_by', partition_by, 'corrections', corrections, 'measures', measures, 'milestones', milestones, 'lags', lags)));
COMMENT ON FUNCTION walhouse.alter_fact(regclass, text, text[], name, jsonb, text, text, text[], jsonb, jsonb) IS
    'Alters a fact (walhouse.alter_model): arguments as of create_fact; NULL leaves one as it is. dimensions: all of them, so that one can be added, keyed otherwise or left out.';

CREATE FUNCTION walhouse.alter_rollup(rollup regclass, group_by text[] DEFAULT NULL, measures jsonb DEFAULT NULL, bucket text DEFAULT NULL,
                                      bucket_column name DEFAULT NULL)
RETURNS regclass LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN walhouse.alter_model(rollup, pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('group_by', group_by, 'measures', measures,
    'bucket', bucket, 'bucket_column', bucket_column)));
COMMENT ON FUNCTION walhouse.alter_rollup(regclass, text[], jsonb, text, name) IS
    'Alters a rollup (walhouse.alter_model): arguments as of create_rollup; NULL leaves one as it is.';
