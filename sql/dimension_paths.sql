-- Loads of dimensions without statements write what the statement writes: one random log in two feeds, cut in the same places, one loaded
-- with walhouse.load_path = auto and one with sql; dimensions of all types and with each way of deleting, over one table. After each load
-- their rows are the same but for surrogate keys, and so are the counts. Then: what is not plain is left to the statement.
-- Mistakes that make this test fail, each alone: in direct_write.c an event that is not live overwrites (take_image for all events);
-- update_row with move->next for a version that closes; first_event that returns member->first; edge without the microsecond.
\getenv srcdir PG_ABS_SRCDIR
\set random :srcdir '/test/lib/random.sql'
\set members :srcdir '/test/lib/members.sql'
\set usual_transactions 100
\set ECHO none
\i :random
\set ECHO all
SET client_min_messages = warning;
SET walhouse.allow_writes = on;
SELECT handfeed.make('shop', 'UTC'), handfeed.make('twin', 'UTC') \g /dev/null
CREATE TABLE shop.member (k1 numeric, k2 text, a text, b float8, c numeric, d text, e timestamptz, PRIMARY KEY (k2, k1));
CREATE TABLE twin.member (LIKE shop.member INCLUDING ALL);
SELECT handfeed.add('shop', 'shop.member'), handfeed.add('twin', 'twin.member') \g /dev/null

\set ECHO none
\i :members
\set ECHO all


-- Adds a member that a fact might have asked for, to both.
CREATE FUNCTION oracle.infer() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    dimension text;
    q numeric := oracle.pick('0', '1', '1.0', '2');
    w text := oracle.pick('', 'x');
BEGIN
    FOR dimension IN SELECT relname FROM pg_class WHERE relnamespace = 'dw'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('INSERT INTO dw.%1$I (k1, k2, valid_from, valid_to, is_current, is_inferred, load_id)
            SELECT $1, $2, ''-infinity'', ''infinity'', true, true, 0 WHERE NOT EXISTS (SELECT FROM dw.%1$I d WHERE d.k1 = $1 AND d.k2 = $2)', dimension)
        USING q, w;
    END LOOP;
END $$;
-- Loads both up to a position, each in its way, and counts what differs.
CREATE TABLE oracle.difference (end_lsn pg_lsn, model text, n bigint);
CREATE FUNCTION oracle.compare(at pg_lsn) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kind text;
    have text;
    want text;
BEGIN
    FOR kind IN SELECT replace(relname, 'shop_', '') FROM pg_class WHERE relname LIKE 'shop\_%' AND relnamespace = 'dw'::regnamespace AND relkind = 'r' LOOP
        have := format('SELECT (to_jsonb(r) - ''shop_%1$s_sk'' - ''load_id'')::text, k1::text FROM dw.shop_%1$s r', kind);
        want := format('SELECT (to_jsonb(r) - ''twin_%1$s_sk'' - ''load_id'')::text, k1::text FROM dw.twin_%1$s r', kind);
        EXECUTE format('INSERT INTO oracle.difference SELECT $1, $2, count(*) FROM ((%1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL %1$s)) q', have, want)
            USING at, kind;
    END LOOP;
END $$;

-- ---- The run
\set ECHO none
SELECT setseed(:seed) \g /dev/null
INSERT INTO shop.member SELECT (oracle.row(q::numeric, w)).* FROM unnest('{0,1.0}'::text[]) q, unnest('{"",x}'::text[]) w;
SELECT handfeed.commit('shop', '2025-12-31') \g /dev/null
UPDATE walhouse.feed SET horizon = '0/1100';
UPDATE walhouse.feed_table SET sync_lsn = '0/1100';
DELETE FROM shop_log.member;
DELETE FROM shop_log.txn;
CALL oracle.generate(:transactions, .01);
ALTER TABLE twin.member DISABLE TRIGGER USER;
INSERT INTO twin.member SELECT * FROM shop.member;
INSERT INTO twin_log.member SELECT * FROM shop_log.member;
INSERT INTO twin_log.txn SELECT * FROM shop_log.txn;
UPDATE handfeed.state t SET lsn = s.lsn, clock = s.clock, seq = s.seq FROM handfeed.state s WHERE s.feed = 'shop' AND t.feed = 'twin';
\o /dev/null
SELECT format('SELECT walhouse.create_dimension(''dw.%1$s_%2$s'', ''SELECT k1, a, b, c AS c2, length(d) AS d, d AS large, e, k2 FROM %1$s.member '
    'WHERE b <> 13 IS NOT FALSE'', ''{k1,k2}'', scd => %3$L, on_delete => %4$L)', f, m.name, m.scd, m.on_delete)
FROM unnest('{shop,twin}'::text[]) f, (VALUES ('all', '{}', 'close'), ('some', '{"a": 1, "d": 1, "large": 1}', 'close'), ('none', '{"*": 1}', 'close'),
    ('kinds', '{"a": 6, "b": 3, "c2": 0, "d": 2, "*": 1}', 'close'), ('mixed', '{"a": 0, "b": 1, "c2": 6, "d": 3}', 'tombstone'),
    ('marked', '{"a": 2, "*": 1}', 'tombstone'), ('ignored', '{"a": 2, "b": 6, "*": 1}', 'ignore'), ('purged', '{"a": 2, "b": 3, "*": 1}', 'purge')) m (name, scd, on_delete)
\gexec
\o
CREATE TABLE oracle.cut AS SELECT end_lsn FROM shop_log.txn WHERE random() < .3 OR end_lsn = (SELECT max(end_lsn) FROM shop_log.txn);
SELECT handfeed.reach(f, min(end_lsn)) FROM oracle.cut, unnest('{shop,twin}'::text[]) f GROUP BY f \g /dev/null
\o /dev/null
SELECT format('SET walhouse.load_path = %s', CASE WHEN relname LIKE 'shop%' THEN 'auto' ELSE 'sql' END), format('CALL walhouse.build(%L)', oid::regclass)
FROM pg_class WHERE relnamespace = 'dw'::regnamespace AND relkind = 'r' ORDER BY relname \gexec
SELECT step FROM (SELECT end_lsn, 1 AS n, format('SELECT handfeed.reach(''shop'', %1$L), handfeed.reach(''twin'', %1$L)', end_lsn) AS step FROM oracle.cut
    UNION ALL SELECT end_lsn, 2, 'SET walhouse.load_path = auto' FROM oracle.cut
    UNION ALL SELECT end_lsn, 3, 'CALL walhouse.load(''shop'')' FROM oracle.cut
    UNION ALL SELECT end_lsn, 4, 'SET walhouse.load_path = sql' FROM oracle.cut
    UNION ALL SELECT end_lsn, 5, 'CALL walhouse.load(''twin'')' FROM oracle.cut
    UNION ALL SELECT end_lsn, 6, format('SELECT oracle.compare(%L)', end_lsn) FROM oracle.cut
    UNION ALL SELECT end_lsn, 7, 'SELECT oracle.infer()' FROM oracle.cut WHERE random() < .3) s ORDER BY end_lsn, n \gexec
\o
\set ECHO all
\set QUIET off
SELECT model, count(*) > 10 AS loads, sum(n) AS differences FROM oracle.difference GROUP BY 1 ORDER BY 1;
-- The counts of the loads are the same.
SELECT count(*) > 50 AS loads, count(*) FILTER (WHERE (s.rows_read, s.inserted, s.updated, s.deleted) IS DISTINCT FROM (t.rows_read, t.inserted, t.updated, t.deleted)) AS differences
FROM walhouse.load_model s JOIN walhouse.model m ON m.model_id = s.model_id AND m.relation::text LIKE 'dw.shop%'
JOIN walhouse.model w ON w.relation::text = replace(m.relation::text, 'shop', 'twin')
JOIN walhouse.load_model t ON t.model_id = w.model_id AND t.to_lsn = s.to_lsn AND t.from_lsn = s.from_lsn;
SELECT count(*) AS models, sum(missing + unexpected + different) FROM walhouse.verify();

-- Which way was taken: none of statements; by them where the dimension is more than plain, after a TRUNCATE, or as it is said.
SELECT walhouse.drop_model(relation) FROM walhouse.model WHERE relation::text NOT IN ('dw.shop_all', 'dw.shop_marked') \g /dev/null
CREATE FUNCTION oracle.step(change text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE change;
    PERFORM handfeed.commit('shop', '2027-01-01'), handfeed.reach('shop');
END $$;
TRUNCATE shop.member;
INSERT INTO shop.member VALUES (1, 'x', 'a', 1, 1, 'd', '2026-01-01');
SET walhouse.load_path = auto;
SELECT oracle.step('SELECT 1') \g /dev/null
SET client_min_messages = debug1;
CALL walhouse.load('shop');
SET client_min_messages = warning;
SELECT oracle.step($$UPDATE shop.member SET a = 'b'$$) \g /dev/null
SET client_min_messages = debug1;
CALL walhouse.load('shop');
SET client_min_messages = warning;
ALTER TABLE dw.shop_all ADD CHECK (length(a) < 5);
SELECT oracle.step($$UPDATE shop.member SET a = 'c'$$) \g /dev/null
SET client_min_messages = debug1;
CALL walhouse.load('shop');
SET client_min_messages = warning;
SET walhouse.load_path = sql;
SELECT oracle.step($$UPDATE shop.member SET a = 'd'$$) \g /dev/null
SET client_min_messages = debug1;
CALL walhouse.load('shop');
SET client_min_messages = warning;
SELECT model, missing, unexpected, different FROM walhouse.verify() WHERE model::text LIKE 'dw.shop%' ORDER BY 1;

\set QUIET on
RESET walhouse.load_path;
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
SELECT handfeed.remove('shop'), handfeed.remove('twin') \g /dev/null
DROP SCHEMA dw, oracle, handfeed CASCADE;
