-- P3 for dimensions: one random log, cut into random loads and built at a random position, gives the rows of an oracle that walks
-- through the history of each key in a loop, and those of one build at the end; for dimensions of type 2, of both types, and of
-- type 1, by statements and without. Inferred members appear on the way.  Other logs: \set seed 0.7 before the file, or more transactions.
-- Mistakes that were made on purpose, and made this test fail, each alone: comparing with <> instead of *<>; the last boundary of a
-- closed version taken from valid_from; the first version of an inferred key not from -infinity; within one seq the first
-- op instead of the last; no event for keys that only a TRUNCATE touched; rows inserted before a TRUNCATE kept; the
-- type-1 values of the last event whether it is live or not.
\getenv srcdir PG_ABS_SRCDIR
\set random :srcdir '/test/lib/random.sql'
\set members :srcdir '/test/lib/members.sql'
\set usual_transactions 100
\set ECHO none
\i :random
\set ECHO all
SET client_min_messages = warning;
SET walhouse.allow_writes = on;
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.member (k1 numeric, k2 text, a text, b float8, c numeric, d text, e timestamptz, PRIMARY KEY (k2, k1));
SELECT handfeed.add('shop', 'shop.member') \g /dev/null

\set ECHO none
\i :members
\set ECHO all

-- ---- The oracle: type2 says which columns have type 2: all, some (b, c2, e) or none
CREATE TABLE oracle.start (LIKE shop.member);
CREATE TABLE oracle.want (model text, k1 numeric, k2 text, a text, b float8, c2 text, d int, e timestamptz, valid_from timestamptz,
    valid_to timestamptz, is_current boolean);
CREATE FUNCTION oracle.history(type2 text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key record; txn record; entry record;
    new oracle.want; open oracle.want; last oracle.want;
    live boolean; was_live boolean; boundary timestamptz; next timestamptz; is_first boolean;
BEGIN
    FOR key IN SELECT DISTINCT ON (k1, k2) k1, k2 FROM (SELECT k1, k2 FROM oracle.start UNION ALL SELECT k1, k2 FROM shop_log.member WHERE op <> 'T') q LOOP
        was_live := false; boundary := NULL; is_first := true; last := NULL;
        FOR txn IN SELECT '0/0'::pg_lsn AS end_lsn, '-infinity'::timestamptz AS clock UNION ALL SELECT end_lsn, clock FROM shop_log.txn ORDER BY 1 LOOP
            entry := NULL;
            IF txn.end_lsn = '0/0' THEN
                SELECT 'I' AS op, 0::bigint AS seq, s.* INTO entry FROM oracle.start s WHERE s.k1 = key.k1 AND s.k2 = key.k2;
                live := FOUND;
            ELSE
                SELECT l.op::text, l.seq, l.k1, l.k2, l.a, l.b, l.c, l.d, l.e INTO entry FROM shop_log.member l
                WHERE l.lsn = txn.end_lsn AND l.k1 = key.k1 AND l.k2 = key.k2 ORDER BY l.op = 'B', l.seq DESC, l.op DESC LIMIT 1;
                CONTINUE WHEN NOT FOUND;
                live := entry.op IN ('I', 'U') AND NOT EXISTS (SELECT FROM shop_log.member t WHERE t.lsn = txn.end_lsn AND t.op = 'T' AND t.seq > entry.seq);
            END IF;
            live := live AND entry.b <> 13 IS NOT FALSE;
            IF live THEN
                new := ROW (type2, entry.k1, entry.k2, entry.a, entry.b, entry.c::text || '!', length(entry.d), entry.e, NULL, 'infinity', true);
                last := new;
            END IF;
            next := CASE WHEN is_first THEN '-infinity' ELSE greatest(txn.clock, boundary + interval '1 us') END;
            IF was_live AND (NOT live OR CASE type2
                    WHEN 'all' THEN (new.a, new.b, new.c2, new.d, new.e)::text <> (open.a, open.b, open.c2, open.d, open.e)::text
                    WHEN 'some' THEN (new.b, new.c2, new.e)::text <> (open.b, open.c2, open.e)::text ELSE false END) THEN
                open.valid_to := next; open.is_current := false; boundary := next;
                INSERT INTO oracle.want SELECT open.*;
                open := NULL;
            END IF;
            IF live AND (NOT was_live OR open.k1 IS NULL) THEN
                open := new; open.valid_from := next; boundary := next; is_first := false;
            END IF;
            was_live := live;
        END LOOP;
        IF was_live THEN INSERT INTO oracle.want SELECT open.*; END IF;
        CONTINUE WHEN last.k1 IS NULL;
        UPDATE oracle.want w SET k1 = last.k1, k2 = last.k2, a = CASE type2 WHEN 'all' THEN w.a ELSE last.a END,
            d = CASE type2 WHEN 'all' THEN w.d ELSE last.d END, b = CASE type2 WHEN 'none' THEN last.b ELSE w.b END,
            c2 = CASE type2 WHEN 'none' THEN last.c2 ELSE w.c2 END, e = CASE type2 WHEN 'none' THEN last.e ELSE w.e END
        WHERE w.model = type2 AND w.k1 = key.k1 AND w.k2 = key.k2;
    END LOOP;
END $$;

-- The rows of a dimension that differ from the oracle's, both ways.
CREATE FUNCTION oracle.differing(dimension regclass, type2 text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
    have text := format('SELECT (%L, k1, k2, a, b, c2, d, e, valid_from, valid_to, is_current)::text FROM %s x WHERE x.k1 IS NOT NULL AND NOT is_inferred', type2, dimension);
    want text := format('SELECT w::text FROM oracle.want w WHERE model = %L', type2);
BEGIN
    EXECUTE format('SELECT count(*) FROM ((%1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL %1$s)) q', have, want) INTO result;
    RETURN result;
END $$;

-- Members that a fact might have asked for.
CREATE FUNCTION oracle.infer() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    dimension text;
    q numeric := oracle.pick('0', '1', '1.0', '2');
    w text := oracle.pick('', 'x');
BEGIN
    FOREACH dimension IN ARRAY '{all,some,none}'::text[] LOOP
        EXECUTE format('INSERT INTO dw.%1$I (k1, k2, valid_from, valid_to, is_current, is_inferred, load_id)
            SELECT $1, $2, ''-infinity'', ''infinity'', true, true, 0 WHERE NOT EXISTS (SELECT FROM dw.%1$I d WHERE d.k1 = $1 AND d.k2 = $2)', dimension)
        USING q, w;
    END LOOP;
END $$;

-- ---- The run
SELECT setseed(:seed) \g /dev/null
INSERT INTO shop.member SELECT (oracle.row(q::numeric, w)).* FROM unnest('{0,1.0}'::text[]) q, unnest('{"",x}'::text[]) w;
INSERT INTO oracle.start SELECT * FROM shop.member;
SELECT handfeed.commit('shop', '2025-12-31') \g /dev/null
UPDATE walhouse.feed SET horizon = '0/1100';
UPDATE walhouse.feed_table SET sync_lsn = '0/1100';
DELETE FROM shop_log.member;
DELETE FROM shop_log.txn;
CALL oracle.generate(:transactions);
\set query 'SELECT k1, a, b, c::text || ''!'' AS c2, length(d) AS d, e, k2 FROM shop.member WHERE b <> 13 IS NOT FALSE'
SELECT walhouse.create_dimension('dw.all', :'query', '{k1,k2}'),
       walhouse.create_dimension('dw.some', :'query', '{k1,k2}', scd => '{"a": 1, "d": 1}'),
       walhouse.create_dimension('dw.none', :'query', '{k2,k1}', scd => '{"*": 1}') \g /dev/null
CREATE TABLE oracle.cut AS SELECT end_lsn FROM shop_log.txn WHERE random() < .3 OR end_lsn = (SELECT max(end_lsn) FROM shop_log.txn);
SELECT handfeed.reach('shop', min(end_lsn)) FROM oracle.cut \g /dev/null
CALL walhouse.build('dw.all');
CALL walhouse.build('dw.some');
CALL walhouse.build('dw.none');
\o /dev/null
SELECT step FROM (SELECT end_lsn, 0 AS n, 'SET walhouse.load_path = ' || oracle.pick('auto', 'sql') AS step FROM oracle.cut
    UNION ALL SELECT end_lsn, 1 AS n, format('SELECT handfeed.reach(''shop'', %L)', end_lsn) AS step FROM oracle.cut
    UNION ALL SELECT end_lsn, 2, 'CALL walhouse.load(''shop'')' FROM oracle.cut
    UNION ALL SELECT end_lsn, 3, 'SELECT oracle.infer()' FROM oracle.cut WHERE random() < .3) s ORDER BY end_lsn, n \gexec
SELECT oracle.history(m) FROM unnest('{all,some,none}'::text[]) m;
\o
\set QUIET off
-- Enough happened, nothing differs from the oracle, and the recomputation agrees.
SELECT model, count(*) > 30 AS many FROM oracle.want GROUP BY 1 ORDER BY 1;
SELECT count(*) > 20 AS loads, sum(inserted) > 100 AS inserted FROM walhouse.load_model;
SELECT m, oracle.differing(format('dw.%I', m), m) FROM unnest('{all,some,none}'::text[]) m ORDER BY 1;
SELECT model, found - expected AS more, missing, unexpected, different FROM walhouse.verify();
-- No two versions of a key overlap, and no two are open.
SELECT count(*) FROM dw.some x JOIN dw.some y ON x.k1 = y.k1 AND x.k2 = y.k2 AND x.some_sk < y.some_sk AND x.valid_from < y.valid_to AND y.valid_from < x.valid_to;
-- Built at the end, in one go.
CALL walhouse.build('dw.all');
CALL walhouse.build('dw.some');
CALL walhouse.build('dw.none');
SELECT m, oracle.differing(format('dw.%I', m), m) FROM unnest('{all,some,none}'::text[]) m ORDER BY 1;

\set QUIET on
RESET walhouse.load_path;
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
DELETE FROM walhouse.feed_column; DELETE FROM walhouse.feed_table; DELETE FROM walhouse.feed_position; DELETE FROM walhouse.load; DELETE FROM walhouse.feed;
DROP SCHEMA shop, shop_log, dw, oracle, handfeed CASCADE;
