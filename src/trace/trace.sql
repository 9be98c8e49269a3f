-- trace: where a row came from, and what a model was.

CREATE FUNCTION walhouse.explain_row(model regclass, key jsonb, "column" name DEFAULT NULL, OUT item text, OUT name text,
    OUT load_id bigint, OUT lsn pg_lsn, OUT xid bigint, OUT commit_time timestamptz, OUT origin text, OUT context text[], OUT details jsonb)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_explain_row';
COMMENT ON FUNCTION walhouse.explain_row(regclass, jsonb, name) IS
    'Where a row of a model came from. key: an object that names it, by the columns of the model''s key or a surrogate key, and more columns to tell versions apart. column: that one alone. item: row (the row itself), load (that wrote it), opened, closed and change (a logged change of a source row: LSN, xid, commit time, origin, and what the application said with pg_logical_emit_message(true, ''walhouse'', ...); details have op, before, after), value (a column, its expression and sources, and the change that set it), dimension (a fact''s surrogate key and why it was chosen), fact (that a rollup adds up), cut (the search was bounded by walhouse.trace_log_rows). The owner''s role is needed.';

CREATE FUNCTION walhouse.as_of(model anyelement, "position" pg_lsn)
RETURNS SETOF anyelement LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_as_of_lsn';
COMMENT ON FUNCTION walhouse.as_of(anyelement, pg_lsn) IS
    'The rows of a mirror or model at a position of its feed, replayed from the change log. model: NULL of its row type, NULL::shop.customers. A mirror is read with the caller''s rights, a model needs its owner''s role; load_id is NULL, and inferred members are left out. Raises where log or history do not reach back so far, or the rows are not there yet.';

CREATE FUNCTION walhouse.as_of(model anyelement, at timestamptz)
RETURNS SETOF anyelement LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_as_of_time';
COMMENT ON FUNCTION walhouse.as_of(anyelement, timestamptz) IS
    'The same at a time: after the last source transaction whose feed clock is not after it.';

CREATE FUNCTION walhouse.diff(model regclass, load_a bigint, load_b bigint, OUT change text, OUT key jsonb, OUT before jsonb, OUT after jsonb)
RETURNS SETOF record LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_diff';
COMMENT ON FUNCTION walhouse.diff(regclass, bigint, bigint) IS
    'What a model had after one load beside what it had after another, replayed from the change log: change is inserted, deleted or updated, from load_a to load_b. key: of the model, with valid_from of a version. The owner''s role is needed. Raises where log or history do not reach back so far.';

CREATE FUNCTION walhouse.dataset_version(relation regclass)
RETURNS pg_lsn LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN m.model_id IS NOT NULL
                THEN (SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = m.model_id ORDER BY l.load_id DESC LIMIT 1)
                WHEN t.mirror IS NOT NULL
                THEN (SELECT p.position FROM walhouse.feed_position p WHERE p.feed_id = t.feed_id ORDER BY p.position DESC LIMIT 1) END
    FROM (SELECT relation) r
         LEFT JOIN walhouse.model m ON m.relation = r.relation
         LEFT JOIN walhouse.feed_table t ON r.relation IN (t.mirror, t.log)
$$;
COMMENT ON FUNCTION walhouse.dataset_version(regclass) IS
    'The version of a model, mirror or change log: the position of its feed that it is at. NULL for other relations, and for a model that is not built yet. walhouse.as_of gives the rows of a version.';
