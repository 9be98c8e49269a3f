-- expected.sql: in the warehouse, beside a copy of the source's tables (oltp), what its record of changes says that the star
-- should hold, worked out by plain SQL: versions of members, and which transaction made what. Nothing of walhouse has a part in it.
-- Further down, the star's rows in one shape for all models, so that a rule can be said once for all of them.
CREATE SCHEMA expected;
CREATE TABLE expected.change (n bigint PRIMARY KEY, xid bigint, t timestamptz, rel text, key text, live boolean, image jsonb);
CREATE TABLE expected.ledger (n bigint, phase integer, what text, rows bigint, amount numeric);

-- Source transactions in commit order; the clock is the running maximum of their commit times. 0 is what was there at first.
CREATE TABLE expected.txn (o bigint PRIMARY KEY, xid bigint, t timestamptz, clock timestamptz);
-- What each of them left of each key.
CREATE TABLE expected.event (rel text, key text, o bigint, clock timestamptz, live boolean, image jsonb, PRIMARY KEY (rel, key, o));

-- expected.joined(rel, other, columns, outer): the events of a table joined to another by its columns: one for each transaction
-- that touched either side. The other's columns are called "other_column".
CREATE FUNCTION expected.joined(rel text, other text, columns text[], is_outer boolean) RETURNS SETOF expected.event LANGUAGE sql
BEGIN ATOMIC
    WITH named AS (
        SELECT key, o, (SELECT jsonb_agg(image -> c ORDER BY n) FROM unnest(columns) WITH ORDINALITY AS u (c, n))::text AS other_key
        FROM expected.event e WHERE e.rel = joined.rel),
    point AS (
        SELECT key, o FROM named
        UNION
        SELECT n.key, e.o FROM named n JOIN expected.event e ON e.rel = joined.other AND e.key = n.other_key)
    SELECT joined.rel || '+' || joined.other, p.key, p.o, t.clock, a.live AND (b.live IS TRUE OR is_outer),
        a.image || coalesce((SELECT jsonb_object_agg(joined.other || '_' || k, v) FROM jsonb_each(b.image) AS j (k, v)), '{}')
    FROM point p
    JOIN expected.txn t USING (o)
    CROSS JOIN LATERAL (SELECT * FROM expected.event e WHERE e.rel = joined.rel AND e.key = p.key AND e.o <= p.o ORDER BY e.o DESC LIMIT 1) AS a
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT * FROM expected.event e WHERE e.rel = joined.other AND e.o <= p.o
                AND e.key = (SELECT jsonb_agg(a.image -> c ORDER BY n) FROM unnest(columns) WITH ORDINALITY AS u (c, n))::text
            ORDER BY e.o DESC LIMIT 1) AS last
        WHERE last.live) AS b ON true;
END;

CREATE FUNCTION expected.work_out() RETURNS void LANGUAGE sql
BEGIN ATOMIC
    DELETE FROM expected.event;
    DELETE FROM expected.txn;
    INSERT INTO expected.txn VALUES (0, NULL, NULL, '-infinity');
    INSERT INTO expected.txn
        SELECT row_number() OVER w, xid, t, max(t) OVER w
        FROM (SELECT xid, t, min(n) AS n FROM expected.change WHERE xid IS NOT NULL GROUP BY 1, 2) AS c
        WINDOW w AS (ORDER BY n);
    INSERT INTO expected.event
        SELECT DISTINCT ON (c.rel, c.key, x.o) c.rel, c.key, x.o, x.clock, c.live, c.image
        FROM expected.change c JOIN expected.txn x ON coalesce(x.xid, 0) = coalesce(c.xid, 0)
        ORDER BY c.rel, c.key, x.o, c.n DESC;
    INSERT INTO expected.event SELECT * FROM expected.joined('account', 'customer', '{customer_id}', false);
    INSERT INTO expected.event
        SELECT 'profile', key, o, clock, live, jsonb_build_object('tier', c.tier,
            'credit_band', CASE WHEN c.credit < 600 THEN 'poor' WHEN c.credit < 700 THEN 'fair' WHEN c.credit >= 700 THEN 'good' END,
            'is_wealthy', c.net_worth >= 25000, 'status', c.status)
        FROM expected.event e, jsonb_populate_record(NULL::oltp.customer, image) AS c WHERE rel = 'customer';
    INSERT INTO expected.event SELECT * FROM expected.joined('security', 'company', '{company_id}', true);
END;

-- expected.versions(rel, kept, on_delete): the versions of each key: one begins where a column of "kept" differs, as text, from the
-- key's event before, or, where deletes close, where the key comes back.
CREATE FUNCTION expected.versions(rel text, kept text[], closes boolean DEFAULT true)
    RETURNS TABLE (key text, valid_from timestamptz, valid_to timestamptz, is_current boolean, image jsonb) LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH e AS (
        SELECT e.*, (SELECT jsonb_agg(image ->> c ORDER BY n) FROM unnest(kept) WITH ORDINALITY AS u (c, n)) AS looks
        FROM expected.event e WHERE e.rel = versions.rel AND (live OR closes)),
    step AS (SELECT *, lag(live) OVER w AS was_live, lag(looks) OVER w AS was FROM e WINDOW w AS (PARTITION BY e.key ORDER BY o)),
    boundary AS (
        SELECT *, lead(clock) OVER w AS until, row_number() OVER w AS nth
        FROM step WHERE CASE WHEN live THEN was_live IS NOT TRUE OR looks <> was ELSE was_live END
        WINDOW w AS (PARTITION BY step.key ORDER BY o))
    SELECT b.key, CASE WHEN nth = 1 THEN '-infinity' ELSE clock END, coalesce(until, 'infinity'), until IS NULL, b.image FROM boundary b WHERE live;
END;

-- expected.told_versions(rel, kept, column): the versions of each key by the time that a column tells, event by event in commit order:
-- a delete is told by its commit and ends everything before it, what comes right after it is not earlier; no time, or an infinite one, is the
-- commit's. Of events of one instant the last stands. By the times of all of them versions begin where a kept column differs.
CREATE FUNCTION expected.told_versions(rel text, kept text[], "column" text)
    RETURNS TABLE (key text, valid_from timestamptz, valid_to timestamptz, is_current boolean, image jsonb) LANGUAGE plpgsql AS $$
DECLARE
    e record;
    own timestamptz;
    latest timestamptz;
    died timestamptz;
    before text;
BEGIN
    CREATE TEMPORARY TABLE told (key text, at timestamptz, o bigint, live boolean, looks jsonb, image jsonb) ON COMMIT DROP;
    FOR e IN SELECT * FROM expected.event v WHERE v.rel = told_versions.rel ORDER BY v.key, v.o LOOP
        IF before IS DISTINCT FROM e.key THEN
            before := e.key;
            latest := '-infinity';
            died := NULL;
        END IF;
        own := (e.image ->> "column")::timestamptz;
        own := CASE WHEN NOT e.live THEN greatest(e.clock, latest) WHEN isfinite(own) THEN own ELSE e.clock END;
        own := greatest(own, died);
        died := CASE WHEN NOT e.live THEN own END;
        latest := greatest(latest, own);
        INSERT INTO told VALUES (e.key, own, e.o, e.live, (SELECT jsonb_agg(e.image ->> c ORDER BY n) FROM unnest(kept) WITH ORDINALITY AS u (c, n)), e.image);
    END LOOP;
    RETURN QUERY
        WITH last AS (SELECT DISTINCT ON (t.key, at) * FROM told t ORDER BY t.key, at, o DESC),
        step AS (SELECT *, lag(live) OVER w AS was_live, lag(looks) OVER w AS was FROM last WINDOW w AS (PARTITION BY last.key ORDER BY at)),
        boundary AS (
            SELECT *, lead(at) OVER w AS until, row_number() OVER w AS nth
            FROM step WHERE CASE WHEN live THEN was_live IS NOT TRUE OR looks <> was ELSE was_live END WINDOW w AS (PARTITION BY step.key ORDER BY at))
        SELECT b.key, CASE WHEN nth = 1 THEN '-infinity' ELSE at END, coalesce(until, 'infinity'), until IS NULL, b.image FROM boundary b WHERE live;
    DROP TABLE told;
END $$;

-- expected.past(rel, attribute): what types 0, 1, 3 and 6 keep of an attribute: the first value, the last, the one before the last change.
CREATE FUNCTION expected.past(rel text, attribute text) RETURNS TABLE (key text, first text, last text, previous text) LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH e AS (
        SELECT e.key, o, image ->> attribute AS v, lag(image ->> attribute) OVER w AS was, row_number() OVER w AS nth
        FROM expected.event e WHERE e.rel = past.rel AND live WINDOW w AS (PARTITION BY e.key ORDER BY o))
    SELECT e.key, (array_agg(v ORDER BY o))[1], (array_agg(v ORDER BY o DESC))[1],
        (array_agg(was ORDER BY o DESC) FILTER (WHERE nth > 1 AND v IS DISTINCT FROM was))[1]
    FROM e GROUP BY e.key;
END;

-- expected.became(rel, truth): for each key that is there, the clock of the first event of its present life by which the image came to meet a condition; what met
-- it when the record began never came to.
CREATE FUNCTION expected.became(rel text, truth jsonpath) RETURNS TABLE (key text, at timestamptz) LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH e AS (
        SELECT e.key, o, clock, live, live AND jsonb_path_match(image, truth) AS holds, count(*) FILTER (WHERE NOT live) OVER w AS life
        FROM expected.event e WHERE e.rel = became.rel WINDOW w AS (PARTITION BY e.key ORDER BY o)),
    step AS (SELECT *, lag(holds) OVER w AS held, max(life) OVER p AS lives, first_value(live) OVER (PARTITION BY e.key ORDER BY o DESC) AS is_there
        FROM e WINDOW p AS (PARTITION BY e.key), w AS (p ORDER BY o))
    SELECT s.key, min(clock) FILTER (WHERE holds AND held IS NOT TRUE AND o > 0) FROM step s WHERE is_there AND life = lives GROUP BY s.key;
END;

-- expected.entry(rel): what an account book of a table says: an image that ends is taken back, one that begins is written.
CREATE FUNCTION expected.entry(rel text) RETURNS TABLE (o bigint, clock timestamptz, is_reversal boolean, image jsonb) LANGUAGE sql STABLE
BEGIN ATOMIC
    WITH step AS (
        SELECT e.*, lag(image) OVER w AS was, lag(live) OVER w AS was_live FROM expected.event e WHERE e.rel = entry.rel WINDOW w AS (PARTITION BY e.key ORDER BY o))
    SELECT s.o, s.clock, r.is_reversal, CASE WHEN r.is_reversal THEN was ELSE s.image END
    FROM step s, (VALUES (true), (false)) AS r (is_reversal)
    WHERE (live OR was_live) AND NOT (live AND was_live IS TRUE AND s.image::text = was::text)
        AND CASE WHEN r.is_reversal THEN was_live IS TRUE ELSE live END;
END;

-- expected.told(what): what the ledger says of it in all phases.
CREATE FUNCTION expected.told(VARIADIC what text[]) RETURNS bigint LANGUAGE sql STABLE
RETURN (SELECT coalesce(sum(rows), 0)::bigint FROM expected.ledger l WHERE l.what = ANY (told.what));
CREATE FUNCTION expected.told_amount(VARIADIC what text[]) RETURNS numeric LANGUAGE sql STABLE
RETURN (SELECT coalesce(sum(amount), 0) FROM expected.ledger l WHERE l.what = ANY (told_amount.what));

-- expected.member(schema): the rows of all dimensions with versions; keys as jsonb arrays.
CREATE FUNCTION expected.member(schema name DEFAULT 'dw') RETURNS TABLE (dimension text, sk bigint, key text, valid_from timestamptz, valid_to timestamptz,
    is_current boolean, is_inferred boolean, load_id bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT relation, relname, (SELECT string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(w.key) WITH ORDINALITY AS u (k, n)) AS keys
        FROM walhouse.model w JOIN pg_class c ON c.oid = relation WHERE kind = 'dimension' AND relnamespace = schema::regnamespace
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L, %I, jsonb_build_array(%s)::text, valid_from, valid_to, is_current, is_inferred, load_id FROM %s',
            m.relname, m.relname || '_sk', m.keys, m.relation);
    END LOOP;
END $$;

-- expected.reference(): each surrogate key in each fact: which row, when, of which member, and what a NULL means.
CREATE FUNCTION expected.reference(schema name DEFAULT 'dw') RETURNS TABLE (fact text, role text, row_key text, event_time timestamptz, dimension text, key text,
    sk bigint, null_sk bigint, sent boolean) LANGUAGE plpgsql STABLE AS $$
DECLARE
    f record;
BEGIN
    FOR f IN SELECT w.relation, c.relname, d.column_name, o.relname AS dimension, d.null_sk, w.options ->> 'event_time' AS event_time, t.typname,
            (SELECT string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(w.key) WITH ORDINALITY AS u (k, n)) AS keys,
            (SELECT string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(d.key) WITH ORDINALITY AS u (k, n)) AS member,
            concat_ws(' OR ', quote_ident(d.not_applicable_if), quote_ident(d.error_if)) AS sent
        FROM walhouse.fact_dimension d
        JOIN walhouse.model w USING (model_id) JOIN pg_class c ON c.oid = w.relation
        JOIN walhouse.model m ON m.model_id = d.dimension_id JOIN pg_class o ON o.oid = m.relation
        JOIN pg_attribute a ON a.attrelid = w.relation AND a.attname = w.options ->> 'event_time' JOIN pg_type t ON t.oid = a.atttypid
        WHERE m.kind = 'dimension' AND c.relnamespace = schema::regnamespace
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L, %L, jsonb_build_array(%s)::text, %s, %L, CASE WHEN num_nulls(%6$s) = 0 THEN jsonb_build_array(%6$s)::text END,
                %7$I, %8$L::bigint, coalesce(%9$s, false) FROM %10$s',
            f.relname, f.column_name, f.keys,
            quote_ident(f.event_time) || CASE WHEN f.typname <> 'timestamptz' THEN '::timestamp AT TIME ZONE ''America/New_York''' ELSE '' END,
            f.dimension, f.member, f.column_name, f.null_sk, coalesce(nullif(f.sent, ''), 'false'), f.relation);
    END LOOP;
END $$;

-- expected.written(): each row of each model, by the load that wrote it.
CREATE FUNCTION expected.written(schema name DEFAULT 'dw') RETURNS TABLE (model regclass, load_id bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT w.relation, w.kind, w.options ->> 'sk' AS sk FROM walhouse.model w JOIN pg_class c ON c.oid = relation
        WHERE relnamespace = schema::regnamespace AND kind NOT IN ('date', 'time', 'junk')
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L::regclass, load_id FROM %s WHERE %s', m.relation, m.relation,
            CASE WHEN m.sk IS NULL THEN 'true' ELSE format('%I > 0', m.sk) END);
    END LOOP;
END $$;

-- expected.star(): the rows of all models, so that those of two schemas can be compared: without surrogate keys, for which the
-- member's key and version stand, and load ids; inferred members are left out, facts name them.
CREATE FUNCTION expected.star(schema name) RETURNS TABLE (model text, "row" text) LANGUAGE plpgsql STABLE AS $$
DECLARE
    m record;
BEGIN
    FOR m IN
        SELECT w.relation, c.relname, w.kind, w.options ->> 'sk' AS sk,
            (SELECT string_agg(format('%L, (SELECT jsonb_build_array(%s, least(d.%I, 0)%s) FROM %s AS d WHERE d.%3$I = t.%1$I)', f.column_name,
                    (SELECT string_agg('d.' || quote_ident(k), ', ') FROM unnest(o.key) AS k), o.options ->> 'sk',
                    CASE WHEN o.kind = 'dimension' THEN ', d.valid_from, d.is_inferred' ELSE '' END, o.relation), ', ')
                FROM (SELECT DISTINCT ON (column_name) f.column_name, f.dimension_id FROM walhouse.fact_dimension f JOIN walhouse.model y USING (model_id) JOIN pg_class z ON z.oid = y.relation
                    WHERE CASE WHEN w.kind = 'fact' THEN f.model_id = w.model_id ELSE z.relnamespace = c.relnamespace AND w.options -> 'group_by' ? f.column_name::text END) AS f
                JOIN walhouse.model o ON o.model_id = f.dimension_id) AS members
        FROM walhouse.model w JOIN pg_class c ON c.oid = w.relation
        WHERE relnamespace = schema::regnamespace AND kind NOT IN ('date', 'time', 'junk')
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L, (to_jsonb(t) - ARRAY[%L, ''load_id'', ''wh_key'', ''wh_state''] || jsonb_build_object(%s))::text FROM %s AS t WHERE %s',
            m.relname, coalesce(m.sk, ''), m.members, m.relation, CASE WHEN m.kind = 'dimension' THEN 'NOT is_inferred' ELSE 'true' END);
    END LOOP;
END $$;

-- expected.remember(load): the star as it stands after a load, for walhouse.as_known() to be held against later.
CREATE TABLE expected.remembered (load_id bigint, model text, "row" text);
CREATE FUNCTION expected.plain("row" anyelement) RETURNS text LANGUAGE sql STABLE
AS $$ SELECT (to_jsonb("row") - ARRAY(SELECT k FROM jsonb_object_keys(to_jsonb("row")) AS k WHERE k LIKE '%\_sk') - 'load_id')::text $$;
CREATE FUNCTION expected.remember() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m record;
BEGIN
    FOR m IN SELECT relation, relname, kind FROM walhouse.model JOIN pg_class c ON c.oid = relation WHERE kind IN ('dimension', 'fact')
    LOOP
        EXECUTE format('INSERT INTO expected.remembered SELECT (SELECT max(load_id) FROM walhouse.load), %L, expected.plain(t) FROM %s AS t WHERE %s',
            m.relname, m.relation, CASE WHEN m.kind = 'dimension' THEN 'NOT is_inferred' ELSE 'true' END);
    END LOOP;
END $$;
