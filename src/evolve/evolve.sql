-- evolve: models that change.

CREATE FUNCTION walhouse.rename(model regclass, name text) RETURNS void
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_rename';
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
        SELECT m.*, o.o, btrim(pg_get_viewdef(COALESCE(m.query, h.query)), ' ;') AS text, COALESCE(h.key, m.key) AS keys,
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
        WHERE spec.feed IS NULL OR m.feed_id = (SELECT f.feed_id FROM walhouse.feed f WHERE f.name = spec.feed)
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
    'Makes the models what a specification says, in the caller''s transaction, and says what was done: create (a model that was not there), keep (one that is as it says). differ: a model that is declared otherwise, and extra: one of the same feeds that the specification does not have; with the statement that would mend that, which is not run. dry_run: says so and changes nothing, but finds all errors. Arguments that the specification leaves out have their defaults. The caller becomes the owner of what is made.';
