-- pg_temp.star_violations(): what is wrong in the star schemas of this database, whatever made it. Empty when all holds:
-- versions of a key do not overlap and have a length, one version at most is current and it is the one without an end, each key
-- that the query gives has exactly one current version and no other key has (but for what on_delete leaves), the first version
-- begins at -infinity, the unknown member is row -1, each surrogate key of a fact resolves, and each row but the unknown member
-- names a load that exists.
CREATE FUNCTION pg_temp.star_violations() RETURNS TABLE (model regclass, violation text, rows bigint)
LANGUAGE plpgsql AS $$
DECLARE
    m record;
    d record;
    keys text;
    sk text;
BEGIN
    FOR m IN
        SELECT w.*, c.relname, (SELECT string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(w.key) WITH ORDINALITY AS u (k, n)) AS keys
        FROM walhouse.model w JOIN pg_catalog.pg_class c ON c.oid = w.relation
        WHERE w.state = 'live' AND w.kind IN ('dimension', 'fact')
        ORDER BY w.model_id
    LOOP
        model := m.relation;
        keys := m.keys;
        IF m.kind = 'dimension' THEN
            sk := quote_ident(m.relname || '_sk');
            RETURN QUERY EXECUTE format($q$
                SELECT %1$L::regclass, v.what, count(*)
                FROM (
                    SELECT t.*, lead(valid_from) OVER w AS next, row_number() OVER w AS nth,
                        count(*) FILTER (WHERE is_current) OVER (PARTITION BY %2$s) AS currents
                    FROM %1$s AS t WHERE %3$s > 0 WINDOW w AS (PARTITION BY %2$s ORDER BY valid_from)) AS t
                CROSS JOIN LATERAL (VALUES
                    ('a version overlaps the next', next < valid_to),
                    ('a version has no length', valid_from >= valid_to),
                    ('a key has several current versions', currents > 1),
                    ('is_current and an open end differ', is_current <> (valid_to = 'infinity')),
                    ('the first version does not begin at -infinity', nth = 1 AND valid_from <> '-infinity'),
                    ('the version that is current is not the last', is_current AND next IS NOT NULL),
                    ('a surrogate key is not positive', %3$s <= 0)) AS v (what, wrong)
                WHERE v.wrong GROUP BY v.what$q$, m.relation, keys, sk);
            RETURN QUERY EXECUTE format($q$
                SELECT %1$L::regclass, 'a key of the query has no current version', count(*)
                FROM (SELECT %2$s FROM %3$s EXCEPT SELECT %2$s FROM %1$s WHERE is_current AND NOT is_inferred) AS t
                HAVING count(*) > 0$q$, m.relation, keys, m.query);
            RETURN QUERY EXECUTE format($q$
                SELECT %1$L::regclass, 'a current version is of no key of the query', count(*)
                FROM (SELECT %2$s FROM %1$s WHERE is_current AND NOT is_inferred AND %4$s > 0 AND %5$s EXCEPT SELECT %2$s FROM %3$s) AS t
                HAVING count(*) > 0$q$, m.relation, keys, m.query, sk,
                CASE m.options ->> 'on_delete' WHEN 'ignore' THEN 'false' WHEN 'tombstone' THEN 'NOT is_deleted' ELSE 'true' END);
        ELSE
            FOR d IN
                SELECT f.column_name AS sk, o.relation AS dimension, quote_ident(c.relname || '_sk') AS dimension_sk
                FROM walhouse.fact_dimension AS f
                JOIN walhouse.model AS o ON o.model_id = f.dimension_id
                JOIN pg_catalog.pg_class AS c ON c.oid = o.relation
                WHERE f.model_id = m.model_id
            LOOP
                RETURN QUERY EXECUTE format($q$
                    SELECT %1$L::regclass, format('%%I does not resolve in %%s', %2$L, %3$L), count(*)
                    FROM %1$s AS f WHERE NOT EXISTS (SELECT FROM %3$s AS d WHERE d.%4$s = f.%2$I)
                    HAVING count(*) > 0$q$, m.relation, d.sk, d.dimension, d.dimension_sk);
            END LOOP;
        END IF;
        RETURN QUERY EXECUTE format($q$
            SELECT %1$L::regclass, 'a row names no load', count(*)
            FROM %1$s AS t WHERE %2$s AND NOT EXISTS (SELECT FROM walhouse.load AS l WHERE l.load_id = t.load_id)
            HAVING count(*) > 0$q$, m.relation, CASE WHEN m.kind = 'dimension' THEN sk || ' > 0' ELSE 'true' END);
    END LOOP;
END $$;
