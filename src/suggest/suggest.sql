-- suggest: a draft of a star.

CREATE FUNCTION walhouse.foreign_keys(feed text, OUT source_relid oid, OUT attnums smallint[], OUT refers_to oid, OUT refers_to_attnums smallint[])
RETURNS SETOF record LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'walhouse_foreign_keys';
COMMENT ON FUNCTION walhouse.foreign_keys(text) IS
    'The foreign keys in a feed''s source database: the table (its OID there) and the attnums of its columns, and those of the key that they refer to. Connects with the owner''s user mapping. For the feed''s owner.';

CREATE FUNCTION walhouse.column_changes(feed text, OUT mirror regclass, OUT "column" name, OUT changes bigint, OUT days double precision,
                                        OUT rows bigint, OUT rate double precision)
RETURNS SETOF record LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'walhouse_column_changes';
COMMENT ON FUNCTION walhouse.column_changes(text) IS
    'How often rows of a feed''s tables changed (column NULL: updates and deletes), and in which columns, in the newest 100,000 rows of each change log, with all of the transactions that these are of. days: the time that these cover, at least 1; rows: of the mirror, as far as is known; rate: changes for each row and day. For the feed''s owner.';

CREATE FUNCTION walhouse.suggest_reference(model text, "table" text, columns text[], OUT sk text, OUT refers_to text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN cardinality(columns) = 1 THEN COALESCE(NULLIF(regexp_replace(columns[1], '_?(id|key|no)$', ''), ''), "table")
                ELSE array_to_string(columns, '_') END || '_sk',
           format('%s(%s)', model, (SELECT string_agg(quote_ident(c), ', ') FROM unnest(columns) c))$$;
COMMENT ON FUNCTION walhouse.suggest_reference(text, text, text[]) IS
    'What a reference is called in a draft: the column for the surrogate key, after the columns that refer, and the dimension with the columns that give its key. model: the dimension; table: what it is made of, for a column whose name says nothing; columns: those that refer to it.';

CREATE FUNCTION walhouse.suggest(feed text, schema name DEFAULT 'dw', OUT place integer, OUT kind text, OUT model text, OUT reason text,
                                 OUT statement text, OUT spec jsonb)
RETURNS SETOF record LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE
    -- The tables, their columns, and how often these change.
    source AS MATERIALIZED (
        SELECT t.source_relid AS id, t.source_name AS name, t.mirror, t.key::integer[] AS key,
               format('%I.%I', suggest.schema, CASE WHEN count(*) OVER (PARTITION BY t.source_name) > 1
                                                    THEN t.source_schema || '_' || t.source_name ELSE t.source_name END) AS model
        FROM walhouse.feed f JOIN walhouse.feed_table t USING (feed_id)
        WHERE f.name = suggest.feed AND t.state = 'ready' AND t.mirrored),
    change AS MATERIALIZED (SELECT * FROM walhouse.column_changes(suggest.feed)),
    col AS MATERIALIZED (
        SELECT s.id, c.attnum::integer AS attnum, c.mirror_column AS name, COALESCE(NULLIF(y.typbasetype, 0), y.oid)::regtype AS type,
               y.typcategory = 'S' AS is_text, array_position(s.key, c.attnum::integer) AS key_place, p.n_distinct, COALESCE(p.null_frac, 0) AS null_frac,
               CASE WHEN y.typcategory = 'D' THEN p.histogram_bounds::text::text[] END AS bounds, COALESCE(h.rate, 0) AS rate, h.changes, h.days
        FROM source s JOIN walhouse.feed_column c ON c.source_relid = s.id AND NOT c.dropped
             AND c.feed_id = (SELECT f.feed_id FROM walhouse.feed f WHERE f.name = suggest.feed)
             JOIN pg_class r ON r.oid = s.mirror JOIN pg_namespace n ON n.oid = r.relnamespace
             JOIN pg_attribute a ON a.attrelid = s.mirror AND a.attname = c.mirror_column JOIN pg_type y ON y.oid = a.atttypid
             LEFT JOIN pg_stats p ON p.schemaname = n.nspname AND p.tablename = r.relname AND p.attname = a.attname
             LEFT JOIN change h ON h.mirror = s.mirror AND h."column" = c.mirror_column),
    -- What refers to what: by foreign keys, or by the name of a key.
    declared AS MATERIALIZED (
        SELECT k.source_relid AS id, k.refers_to AS parent, c.columns, true AS is_declared
        FROM walhouse.foreign_keys(suggest.feed) k JOIN source p ON p.id = k.refers_to JOIN source s ON s.id = k.source_relid
             CROSS JOIN LATERAL (SELECT array_agg(c.name::text ORDER BY array_position(p.key, u.target::integer)) AS columns,
                                        bool_and(u.target::integer = ANY (p.key)) AND count(*) = cardinality(p.key) AS is_key
                                 FROM unnest(k.attnums, k.refers_to_attnums) u (attnum, target) JOIN col c ON c.id = s.id AND c.attnum = u.attnum) c
        WHERE c.is_key AND k.source_relid <> k.refers_to),
    reference AS MATERIALIZED (
        SELECT * FROM declared
        UNION ALL
        SELECT c.id, min(p.id::bigint)::oid, ARRAY[c.name::text], false
        FROM col c JOIN source p ON p.id <> c.id AND cardinality(p.key) = 1
             JOIN col k ON k.id = p.id AND k.key_place = 1 AND k.name = c.name AND k.type = c.type AND k.name <> 'id'
        WHERE NOT EXISTS (SELECT FROM declared d WHERE d.id = c.id AND c.name::text = ANY (d.columns))
          AND (SELECT cardinality(s.key) > 1 OR c.key_place IS NULL FROM source s WHERE s.id = c.id)
        GROUP BY c.id, c.name HAVING count(*) = 1),
    -- When the rows of a table happened.
    moment AS MATERIALIZED (
        SELECT DISTINCT ON (c.id) c.id, c.name, c.null_frac
        FROM col c
        WHERE c.type IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
          AND c.name !~* '(birth|hire|join|updat|modif|chang|delet|expir|valid|due|^last_)'
        ORDER BY c.id, c.rate > 0.01, c.null_frac > 0, c.name !~* '(date|time|_at$|_on$)', c.attnum),
    fact AS MATERIALIZED (
        SELECT s.id, s.id AS event, m.name AS moment, m.null_frac, NULL::text[] AS columns
        FROM source s JOIN moment m USING (id)
        WHERE EXISTS (SELECT FROM reference r WHERE r.id = s.id)
          AND s.name !~* '(^|_)(logs?|audit|history|queue)$'
          AND NOT (EXISTS (SELECT FROM col c WHERE c.id = s.id AND c.is_text AND c.name ~* '(^|_)(name|title|label|email|login|description)$')
                   AND EXISTS (SELECT FROM reference r JOIN moment o ON o.id = r.id JOIN source b ON b.id = r.id
                               WHERE r.parent = s.id AND NOT r.columns <@ ARRAY(SELECT c.name::text FROM col c WHERE c.id = b.id AND c.key_place IS NOT NULL)))),
    detail AS MATERIALIZED (
        SELECT DISTINCT ON (r.id) r.id, r.parent AS event, f.moment, f.null_frac, r.columns
        FROM reference r JOIN fact f ON f.id = r.parent
        WHERE r.id NOT IN (SELECT m.id FROM moment m) AND NOT EXISTS (SELECT FROM reference x WHERE x.parent = r.id)
        ORDER BY r.id, r.is_declared DESC, r.columns),
    event AS MATERIALIZED (SELECT * FROM fact UNION ALL SELECT * FROM detail),
    -- Which tables describe facts, directly or by others, and in which order they can be declared.
    dimension AS MATERIALIZED (
        WITH RECURSIVE found AS (
            SELECT r.parent AS id FROM reference r JOIN event e ON e.id = r.id
            UNION
            SELECT r.parent FROM found f JOIN reference r ON r.id = f.id)
        SELECT f.id FROM found f WHERE f.id NOT IN (SELECT e.id FROM event e)),
    reaches AS (
        SELECT r.id, r.parent FROM reference r JOIN dimension d ON d.id = r.id JOIN dimension p ON p.id = r.parent
        UNION
        SELECT x.id, r.parent FROM reaches x JOIN reference r ON r.id = x.parent JOIN dimension p ON p.id = r.parent),
    outrigger AS MATERIALIZED (
        SELECT r.* FROM reference r JOIN dimension d ON d.id = r.id JOIN dimension p ON p.id = r.parent
        WHERE NOT EXISTS (SELECT FROM reaches x WHERE x.id = r.parent AND x.parent = r.id)),
    -- What would explode a type-2 dimension.
    hot AS MATERIALIZED (
        SELECT c.*, format('%s changes %s times a day in each row', c.name, round(c.rate::numeric, 2)) AS said
        FROM col c JOIN dimension d USING (id) WHERE c.rate > 0.1 AND c.key_place IS NULL),
    -- The days of what facts take, without those that stand for never.
    calendar AS (
        SELECT date_trunc('year', greatest(least(min(b.at::timestamp), now()::timestamp - interval '1 year'), now()::timestamp - interval '100 years'))::date AS from_date,
               (date_trunc('year', least(greatest(max(b.at::timestamp), now()::timestamp), now()::timestamp + interval '100 years')) + interval '3 years' - interval '1 day')::date AS to_date
        FROM event e LEFT JOIN col c ON c.id = e.event AND c.name = e.moment LEFT JOIN LATERAL unnest(c.bounds) b (at) ON isfinite(b.at::timestamp)
        HAVING count(*) > 0),
    -- The draft.
    entry AS (
        SELECT 1 AS stage, 0::bigint AS level, 'dimension' AS kind, format('%I.date', suggest.schema) AS model, 'create_date_dimension' AS declare,
               jsonb_build_object('from_date', k.from_date, 'to_date', k.to_date) AS arguments, 'the days of all facts' AS reason
        FROM calendar k
        UNION ALL
        SELECT 2, (SELECT count(*) FROM reaches x WHERE x.id = s.id), 'dimension', s.model, 'create_dimension',
               jsonb_build_object('query', q.query, 'key', q.key, 'scd', '{"*": 2}'::jsonb || COALESCE(h.scd, '{}'), 'outriggers', COALESCE(o.outriggers, '{}')),
               concat_ws('; ', format('rows of %s are what others refer to: %s', s.name, r.children),
                         'of type 1, since each change would be a version: ' || h.said, 'outriggers: ' || o.said)
        FROM dimension d JOIN source s USING (id)
             CROSS JOIN LATERAL (SELECT format('SELECT %s FROM %s', string_agg(quote_ident(c.name), ', ' ORDER BY c.attnum), s.mirror) AS query,
                                        jsonb_agg(c.name ORDER BY c.key_place) FILTER (WHERE c.key_place IS NOT NULL) AS key FROM col c WHERE c.id = s.id) q
             CROSS JOIN LATERAL (SELECT string_agg(DISTINCT b.name, ', ' ORDER BY b.name) AS children FROM reference r JOIN source b ON b.id = r.id WHERE r.parent = s.id) r
             CROSS JOIN LATERAL (SELECT jsonb_object_agg(h.name, 1) AS scd, string_agg(h.said, ', ' ORDER BY h.attnum) AS said FROM hot h WHERE h.id = s.id) h
             CROSS JOIN LATERAL (SELECT jsonb_object_agg(n.sk, n.refers_to) AS outriggers, string_agg(n.refers_to, ', ' ORDER BY n.refers_to) AS said
                                 FROM outrigger r JOIN source p ON p.id = r.parent CROSS JOIN LATERAL walhouse.suggest_reference(p.model, p.name, r.columns) n
                                 WHERE r.id = s.id) o
        UNION ALL
        SELECT 3, CASE WHEN e.id = e.event THEN 0 ELSE 1 END, 'fact', s.model, 'create_fact',
               jsonb_build_object('query', q.query, 'key', q.key, 'event_time', e.moment, 'dimensions',
                   jsonb_build_object(regexp_replace(e.moment, '_(at|on|date|time)$', '') || '_date_sk', format('%I.date(%I)', suggest.schema, e.moment))
                   || COALESCE(r.dimensions, '{}'), 'partition_by', CASE WHEN z.rows > 100000000 THEN 'day' WHEN z.rows > 100000 THEN 'month' ELSE 'year' END),
               concat_ws('; ', CASE WHEN e.id = e.event THEN format('each row happens at %s and refers to %s', e.moment, COALESCE(r.said, 'other facts alone'))
                                    ELSE format('a detail of %s, whose %s is its event time; it refers to %s', p.name, e.moment, COALESCE(r.said, 'nothing else')) END,
                         'degenerate keys: ' || g.said,
                         CASE WHEN e.null_frac > 0 THEN format('%s is NULL in %s %% of the rows, which are rejected', e.moment, round((100 * e.null_frac)::numeric, 1)) END)
        FROM event e JOIN source s USING (id) JOIN source p ON p.id = e.event
             CROSS JOIN LATERAL (
                 SELECT jsonb_object_agg(n.sk, n.refers_to) AS dimensions, string_agg(DISTINCT t.name, ', ' ORDER BY t.name) AS said,
                        array_agg(DISTINCT u.column_name) FILTER (WHERE r.id <> e.id) AS borrowed
                 FROM reference r JOIN dimension d ON d.id = r.parent JOIN source t ON t.id = r.parent
                      CROSS JOIN LATERAL walhouse.suggest_reference(t.model, t.name, r.columns) n CROSS JOIN LATERAL unnest(r.columns) u (column_name)
                 WHERE r.id = e.id OR (r.id = e.event AND NOT r.columns && ARRAY(SELECT c.name::text FROM col c WHERE c.id = e.id))) r
             CROSS JOIN LATERAL (
                 SELECT format('SELECT %s FROM %s', string_agg(CASE WHEN e.id = e.event THEN '' ELSE 'd.' END || quote_ident(c.name), ', ' ORDER BY c.attnum)
                            || CASE WHEN e.id = e.event THEN '' ELSE (SELECT string_agg(format(', p.%I', u.name), '' ORDER BY u.name)
                                                                     FROM (SELECT unnest(r.borrowed) UNION SELECT e.moment::text) u (name)) END,
                            CASE WHEN e.id = e.event THEN s.mirror::text
                                 ELSE format('%s d JOIN %s p ON %s', s.mirror, p.mirror, (SELECT string_agg(format('p.%I = d.%I', k.name, u.name), ' AND ' ORDER BY u.place)
                                      FROM unnest(e.columns) WITH ORDINALITY u (name, place) JOIN col k ON k.id = p.id AND k.key_place = u.place)) END) AS query,
                        jsonb_agg(c.name ORDER BY c.key_place) FILTER (WHERE c.key_place IS NOT NULL) AS key FROM col c WHERE c.id = s.id) q
             CROSS JOIN LATERAL (SELECT string_agg(c.name, ', ' ORDER BY c.attnum) AS said FROM col c
                                 WHERE c.id = s.id AND (c.key_place IS NOT NULL OR EXISTS (SELECT FROM reference x JOIN event v ON v.id = x.parent WHERE x.id = c.id AND c.name::text = ANY (x.columns)))
                                   AND NOT EXISTS (SELECT FROM reference x JOIN dimension y ON y.id = x.parent WHERE x.id = c.id AND c.name::text = ANY (x.columns))) g
             CROSS JOIN LATERAL (SELECT max(c.rows) AS rows FROM change c WHERE c.mirror = s.mirror) z),
    line AS (
        SELECT e.stage, e.level, e.kind, e.model, e.reason, jsonb_build_object('model', e.model, 'declare', e.declare, 'arguments', e.arguments) AS spec, NULL::text AS statement
        FROM entry e
        UNION ALL
        SELECT 4, 0, 'warning', s.model,
               format('%s: type 1 keeps no history of it; a mini-dimension can, since it has few values', h.said), NULL,
               format('SELECT walhouse.create_mini_dimension(%L, %L, %L);', s.model || '_' || h.name,
                      format('SELECT %s, %I FROM %s', (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.key_place) FROM col c WHERE c.id = s.id AND c.key_place IS NOT NULL),
                             h.name, s.mirror),
                      (SELECT array_agg(c.name ORDER BY c.key_place) FROM col c WHERE c.id = s.id AND c.key_place IS NOT NULL)::text)
        FROM hot h JOIN source s USING (id) WHERE h.n_distinct BETWEEN 1 AND 100
        UNION ALL
        SELECT 5, 0, 'skip', s.model,
               CASE WHEN s.name ~* '(^|_)(logs?|audit|history|queue)$' OR (m.id IS NOT NULL AND x.refers = 0 AND x.referred = 0)
                    THEN format('%s looks like a log: it has a time, and no place in a star', s.name)
                    WHEN x.refers >= 2 AND NOT EXISTS (SELECT FROM col c WHERE c.id = s.id AND c.key_place IS NULL)
                    THEN format('%s is an association: a bridge (walhouse.create_bridge), if facts need it', s.name)
                    WHEN x.refers + x.referred = 0 THEN format('%s stands alone: nothing refers to it, and it refers to nothing', s.name)
                    ELSE format('no fact refers to %s', s.name) END, NULL, NULL
        FROM source s LEFT JOIN moment m USING (id)
             CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE r.id = s.id) AS refers, count(*) FILTER (WHERE r.parent = s.id) AS referred FROM reference r) x
        WHERE s.id NOT IN (SELECT e.id FROM event e UNION ALL SELECT d.id FROM dimension d))
    SELECT row_number() OVER (ORDER BY l.stage, l.level, l.model, l.reason)::integer, l.kind, l.model, l.reason,
           CASE WHEN l.spec IS NULL THEN l.statement ELSE walhouse.spec_statement(l.spec) END, l.spec
    FROM line l ORDER BY 1$$;
COMMENT ON FUNCTION walhouse.suggest(text, name) IS
    'Drafts a star over a feed''s tables, and makes nothing: a line for each model, with the reason, the statement that declares it, and its entry as walhouse.apply_spec reads it, in an order in which they can be declared; then warnings (columns that would explode a type-2 dimension, with a mini-dimension for those that have few values), and tables that are skipped. Made of keys, the source''s foreign keys (or columns called like a key), statistics of the mirrors (ANALYZE them first) and change rates in the log. schema: of the models. Connects to the source. For the feed''s owner.';
