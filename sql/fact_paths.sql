-- A load without statements and one by SQL write the same: one random log, cut into random loads, into two facts of the same query, of which
-- one has a check that keeps it to SQL. Images that cannot be placed, that lie ahead of the clock, whose members are missing or get
-- versions; keys that are equal and differ in their image, swapped, deleted and inserted again; TRUNCATE; values out of line.
-- A third fact has no condition, by which a load may know more of a row before it has read it, and of a fourth one no row is ahead of the
-- clock at last, so that rows keep their surrogate keys; these are verified.
-- Other logs: \set seed 0.7 before the file, or more transactions.
\getenv srcdir PG_ABS_SRCDIR
\set random :srcdir '/test/lib/random.sql'
\set usual_transactions 250
\set ECHO none
\i :random
\set ECHO all
SET walhouse.allow_writes = on;
SELECT handfeed.make('shop', 'America/New_York') \g /dev/null
CREATE TABLE shop.head (h int PRIMARY KEY, city text);
CREATE TABLE shop.item (l numeric, h int, at timestamptz, amount numeric, weight float8, pieces int, note text, day date, is_lost boolean, PRIMARY KEY (h, l));
CREATE TABLE shop.past (h int, l int, at timestamptz, pieces int, note text, PRIMARY KEY (h, l));
SELECT handfeed.add('shop', t) FROM unnest('{shop.head,shop.item,shop.past}'::regclass[]) t \g /dev/null
SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-03-31') \g /dev/null
SELECT walhouse.create_dimension('dw.head', 'SELECT h, city FROM shop.head', '{h}', '{"*": 2}') \g /dev/null
SELECT walhouse.create_dimension('dw.purged', 'SELECT h, city FROM shop.head', '{h}', '{"*": 1}', on_delete => 'purge') \g /dev/null
CREATE FUNCTION oracle.declare(name text, condition text) RETURNS void LANGUAGE sql AS $$
    SELECT walhouse.create_fact(name, 'SELECT l, h, at, amount * 2 AS amount, weight, pieces::bigint AS pieces, note, day, is_lost, upper(note) AS loud
        FROM shop.item ' || condition, '{h,l}', 'at', '{"head_sk": {"dimension": "dw.head(pieces)", "null": "not_applicable", "error_if": "is_lost"},
        "gone_sk": "dw.purged(h)", "at_sk": "dw.date(at)", "day_sk": "dw.date(day)"}', 'month') $$;
SELECT oracle.declare(f, CASE f WHEN 'dw.c' THEN '' ELSE 'WHERE pieces <> 5' END) FROM unnest('{dw.a,dw.b,dw.c}'::text[]) f \g /dev/null
ALTER TABLE dw.b ADD CONSTRAINT "by SQL" CHECK (true);
SELECT walhouse.create_fact('dw.e', 'SELECT h, l, at, pieces, note, pieces = 3 AS is_none FROM shop.past', '{h,l}', 'at',
    '{"head_sk": {"dimension": "dw.head(pieces)", "null": "not_applicable", "not_applicable_if": "is_none"}, "own_sk": "dw.head(h)", "at_sk": "dw.date(at)"}', 'month') \g /dev/null

-- ---- The sources: random rows and changes
CREATE FUNCTION oracle.item(l numeric, h int) RETURNS shop.item LANGUAGE sql VOLATILE AS $$
    SELECT ROW (l, h, oracle.pick('2026-01-31 23:59', '2026-02-01 05:00', '2026-02-01 04:59:59', '2026-03-15', '2026-01-03', '2027-01-01', 'infinity', NULL)::timestamptz,
        oracle.pick('1.0', '1.00', NULL, 'NaN', '0', '-7.5')::numeric, oracle.pick('0', '-0', 'NaN', '-Infinity', NULL, '2.5')::float8,
        oracle.pick('1', '2', '3', '5', '6', NULL)::int, CASE WHEN random() < .1 THEN (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300)) ELSE oracle.pick('', 'a', NULL) END,
        oracle.pick('2026-02-02', '2028-02-29', '-infinity', NULL)::date, oracle.pick('t', 'f', 'f', 'f', NULL)::boolean)::shop.item $$;
CREATE FUNCTION oracle.change() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    q int := 1 + floor(random() * 4); w numeric := oracle.pick('0', '1.0', '1.00', '2'); n numeric := oracle.pick('0', '1', '1.0', '2');
    dice float8 := random();
    new shop.item := oracle.item(w, q); old shop.item;
BEGIN
    INSERT INTO shop.past VALUES (q, n, new.at, new.pieces, new.note) ON CONFLICT (h, l) DO UPDATE SET note = EXCLUDED.note || 'x',
        pieces = CASE WHEN random() < .5 THEN past.pieces ELSE EXCLUDED.pieces END, at = CASE WHEN random() < .8 THEN past.at ELSE EXCLUDED.at END;
    UPDATE shop.past SET at = oracle.pick('2025-12-01', '2026-01-03', '2026-01-10', '2026-02-01')::timestamptz WHERE at IS NULL OR at > '2026-02-01';
    SELECT * INTO old FROM shop.item i WHERE i.h = q AND i.l = w;
    IF dice < .02 THEN UPDATE shop.item SET pieces = 1, at = '2026-02-02'; TRUNCATE shop.item;
    ELSIF dice < .06 THEN DELETE FROM shop.head WHERE h = q;
    ELSIF dice < .15 THEN INSERT INTO shop.head VALUES (q, oracle.pick('Rome', 'Ulm', 'Oslo', NULL)) ON CONFLICT (h) DO UPDATE SET city = EXCLUDED.city;
    ELSIF old.h IS NULL THEN INSERT INTO shop.item SELECT new.*;
    ELSIF dice < .3 THEN                            -- delete, and sometimes the same again
        DELETE FROM shop.item i WHERE i.h = q AND i.l = w;
        IF dice < .2 THEN INSERT INTO shop.item SELECT old.*; END IF;
    ELSIF dice < .45 AND (n = w OR NOT EXISTS (SELECT FROM shop.item i WHERE i.h = q AND i.l = n)) THEN
        UPDATE shop.item i SET l = n WHERE i.h = q AND i.l = w;
    ELSIF dice < .45 THEN                           -- swap two keys
        UPDATE shop.item i SET l = -1 WHERE i.h = q AND i.l = w;
        UPDATE shop.item i SET l = w WHERE i.h = q AND i.l = n;
        UPDATE shop.item i SET l = n WHERE i.h = q AND i.l = -1;
    ELSE
        UPDATE shop.item i SET amount = new.amount, weight = new.weight WHERE i.h = q AND i.l = w;
        IF random() < .3 THEN UPDATE shop.item i SET at = new.at, day = new.day WHERE i.h = q AND i.l = w; END IF;
        IF random() < .4 THEN UPDATE shop.item i SET pieces = new.pieces, is_lost = new.is_lost, note = new.note WHERE i.h = q AND i.l = w; END IF;
    END IF;
END $$;
CREATE PROCEDURE oracle.generate(transactions int) LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := '2026-01-01';
BEGIN
    FOR t IN 1 .. transactions LOOP
        FOR n IN 1 .. 1 + floor(random() * 4) LOOP PERFORM oracle.change(); END LOOP;
        IF random() < .6 THEN clock := clock + oracle.pick('1 us', '10 hours', '1 day', '-1 hour')::interval; END IF;
        PERFORM handfeed.commit('shop', clock);
    END LOOP;
END $$;

-- ---- Loads, and what differs after each
CREATE FUNCTION oracle.differing(a text, b text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((%1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL %1$s)) q', a, b) INTO result;
    RETURN result;
END $$;
CREATE TABLE oracle.result (rows bigint, rejected bigint, ahead bigint, counts bigint);
CREATE PROCEDURE oracle.compare() LANGUAGE sql AS $$
    INSERT INTO oracle.result
    SELECT oracle.differing('SELECT x.tableoid::regclass::text LIKE ''%2026_01'', regexp_replace(x::text, '',\d+\)$'', ''''), l.load_id FROM dw.a x LEFT JOIN walhouse.load l ON l.load_id = x.load_id AND l.kind = ''load''', 'SELECT x.tableoid::regclass::text LIKE ''%2026_01'', regexp_replace(x::text, '',\d+\)$'', ''''), l.load_id FROM dw.b x LEFT JOIN walhouse.load l ON l.load_id = x.load_id AND l.kind = ''load'''),
        oracle.differing('SELECT key, reason, row::text FROM walhouse.rejected WHERE model = ''dw.a''::regclass', 'SELECT key, reason, row::text FROM walhouse.rejected WHERE model = ''dw.b''::regclass'),
        oracle.differing('SELECT role, sk, event_time, row_key FROM walhouse.ahead JOIN walhouse.model m USING (model_id) WHERE m.relation = ''dw.a''::regclass',
            'SELECT role, sk, event_time, row_key FROM walhouse.ahead JOIN walhouse.model m USING (model_id) WHERE m.relation = ''dw.b''::regclass'),
        oracle.differing('SELECT load_id, rows_read, inserted, updated, deleted, rejected, partitions, partitions_from, partitions_to, partition_gaps FROM walhouse.load_model JOIN walhouse.load USING (load_id) JOIN walhouse.model m USING (model_id) WHERE load.kind = ''load'' AND m.relation = ''dw.a''::regclass',
            'SELECT load_id, rows_read, inserted, updated, deleted, rejected, partitions, partitions_from, partitions_to, partition_gaps FROM walhouse.load_model JOIN walhouse.load USING (load_id) JOIN walhouse.model m USING (model_id) WHERE load.kind = ''load'' AND m.relation = ''dw.b''::regclass') $$;
CREATE PROCEDURE oracle.load() LANGUAGE plpgsql AS $$
DECLARE
    txn record;
BEGIN
    FOR txn IN SELECT end_lsn FROM shop_log.txn WHERE end_lsn > (SELECT max(position) FROM walhouse.feed_position) ORDER BY 1 LOOP
        CONTINUE WHEN random() < .6 AND txn.end_lsn < (SELECT max(end_lsn) FROM shop_log.txn);
        PERFORM handfeed.reach('shop', txn.end_lsn);
        COMMIT;
        CALL walhouse.load('shop');
        CALL oracle.compare();
    END LOOP;
END $$;
SELECT setseed(:seed) \g /dev/null
CALL oracle.generate(:transactions);
-- built at a quarter of the log: the mirrors are ahead of that
SELECT handfeed.reach('shop', (SELECT end_lsn FROM shop_log.txn ORDER BY end_lsn OFFSET :transactions / 4 LIMIT 1)) \g /dev/null
CALL walhouse.build('dw.head');
CALL walhouse.build('dw.purged');
CALL walhouse.build('dw.a');
CALL walhouse.build('dw.b');
CALL walhouse.build('dw.c');
CALL walhouse.build('dw.e');
CALL oracle.compare();
SELECT count(*) > 0 AS built FROM dw.a;
SELECT * FROM oracle.result;
CALL oracle.load();
SELECT count(*) > :transactions / 5 AS loads, sum(rows) AS rows, sum(rejected) AS rejected, sum(ahead) AS ahead, sum(counts) AS counts FROM oracle.result;
SELECT relation, state, error FROM walhouse.model WHERE relation IN ('dw.a'::regclass, 'dw.b'::regclass, 'dw.c'::regclass, 'dw.e'::regclass) ORDER BY relation::text;
SELECT model::text, expected > 0 AS expected, missing, unexpected, different FROM walhouse.verify() WHERE model IN ('dw.a', 'dw.b', 'dw.c', 'dw.e') ORDER BY 1;
-- each of them met what it is here for
SELECT count(*) FILTER (WHERE x.inserted > 0) > 20 AS inserts, count(*) FILTER (WHERE x.updated > 0) > 20 AS updates, count(*) FILTER (WHERE x.deleted > 0) > 20 AS deletes,
    count(*) FILTER (WHERE x.rejected > 0) > 20 AS rejects, count(*) FILTER (WHERE x.rows_read > 5) > 20 AS reads,
    count(*) FILTER (WHERE x.partitions = 1) > 10 AS one_partition, count(*) FILTER (WHERE x.partitions > 1) > 10 AS partitions FROM walhouse.load_model x JOIN walhouse.model m USING (model_id) WHERE m.relation = 'dw.a'::regclass;

SELECT count(*) AS ahead FROM walhouse.ahead JOIN walhouse.model m USING (model_id) WHERE m.relation = 'dw.e'::regclass;

-- ---- Which way it was is told at DEBUG1
INSERT INTO shop.item SELECT (oracle.item(7, 7)).*;
SELECT handfeed.commit('shop', '2027-02-01') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
SET client_min_messages = debug1;
CALL walhouse.load('shop');
SET client_min_messages = error;
DELETE FROM shop.item WHERE h = 7;
SELECT handfeed.commit('shop', '2027-02-02') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
SET walhouse.load_path = sql;
SET client_min_messages = debug1;
CALL walhouse.load('shop');
SET client_min_messages = error;
RESET walhouse.load_path;

-- memory that holds a few keys alone: the log is read in parts
CREATE PROCEDURE oracle.log(op "char") LANGUAGE sql AS $$
    INSERT INTO shop_log.item SELECT s.lsn, i.h * 10 + i.l, op, i.* FROM shop.item i, handfeed.state s WHERE i.h > 100 $$;
SET session_replication_role = replica;
INSERT INTO shop.item SELECT (i).* FROM (SELECT oracle.item(n % 7, 101 + n / 7) AS i FROM generate_series(1, 16000) n OFFSET 0) r;
CALL oracle.log('I');
SELECT handfeed.commit('shop', '2027-02-03') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
SET maintenance_work_mem = '1MB';
CALL walhouse.load('shop');
CALL oracle.log('B');
UPDATE shop.item SET pieces = 6, at = CASE WHEN l < 4 THEN at ELSE '2026-03-01' END WHERE h > 100;
CALL oracle.log('U');
RESET session_replication_role;
DELETE FROM shop.item WHERE h = 101;
SELECT handfeed.commit('shop', '2027-02-04') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
-- … and memory that holds all keys, but not all of their last rows
SET session_replication_role = replica;
CALL oracle.log('B');
UPDATE shop.item SET pieces = 5 WHERE h > 100;
CALL oracle.log('U');
RESET session_replication_role;
SELECT handfeed.commit('shop', '2027-02-05') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
SET maintenance_work_mem = '6MB';
CALL walhouse.load('shop');
-- … and a TRUNCATE in the midst of what is read in parts, of which some keys come again, and others
UPDATE shop.item SET pieces = 1 WHERE h BETWEEN 102 AND 110;
TRUNCATE shop.item;
SELECT handfeed.commit('shop', '2027-02-06') \g /dev/null
SET session_replication_role = replica;
INSERT INTO shop.item SELECT (i).* FROM (SELECT oracle.item(n % 7, 1101 + n / 7) AS i FROM generate_series(1, 12000) n OFFSET 0) r;
CALL oracle.log('I');
RESET session_replication_role;
SELECT handfeed.commit('shop', '2027-02-07') \g /dev/null
UPDATE shop.item SET pieces = 2 WHERE h BETWEEN 1102 AND 1110;
SELECT handfeed.commit('shop', '2027-02-08') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
SET maintenance_work_mem = '1MB';
SET log_temp_files = -1;
SET client_min_messages = debug1;
CALL walhouse.load('shop');
SET client_min_messages = error;
SELECT count(*) > 1000 AS many FROM dw.a;
RESET maintenance_work_mem;
TRUNCATE oracle.result;
CALL oracle.compare();
SELECT * FROM oracle.result;

-- built again, with partitions to be made; each still has the rows that it was to wait for
DROP TABLE dw.a_p2026_03, dw.b_p2026_03;
CALL walhouse.build('dw.a');
CALL walhouse.build('dw.b');
CALL walhouse.build('dw.c');
CALL oracle.compare();
SET client_min_messages = debug1;
CALL walhouse.build('dw.a');
CALL walhouse.build('dw.b');
SET client_min_messages = error;
CALL oracle.compare();
SELECT rows, rejected, ahead FROM oracle.result;
SELECT model::text, expected > 0 AS expected, missing, unexpected, different FROM walhouse.verify() WHERE model IN ('dw.a', 'dw.b', 'dw.c', 'dw.e') ORDER BY 1;

-- leave nothing behind
SELECT walhouse.drop_model(m) FROM unnest('{dw.a,dw.b,dw.c,dw.e,dw.head,dw.purged,dw.date}'::regclass[]) m \g /dev/null
\set ECHO none
\o /dev/null
SELECT handfeed.remove('shop');
DROP SCHEMA dw, oracle, handfeed CASCADE;
