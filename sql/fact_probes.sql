-- Look-ups by key where a leaf of an index holds few entries: versions of a member over many leaves, more than are noted at once, members and
-- rows between which a leaf ends, keys in and out of order, rows of which an index has dead entries, members that are missing.
-- Other ones: \set seed 0.7 before the file, or more transactions.
\getenv srcdir PG_ABS_SRCDIR
\set random :srcdir '/test/lib/random.sql'
\set usual_transactions 120
\set ECHO none
\i :random
\set ECHO all
SET walhouse.allow_writes = on;
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.member (k text PRIMARY KEY, v int);
CREATE TABLE shop.item (id text PRIMARY KEY, k text, at timestamptz, amount int);
SELECT handfeed.add('shop', t) FROM unnest('{shop.member,shop.item}'::regclass[]) t \g /dev/null
CREATE SCHEMA probes;
SELECT walhouse.create_dimension('dw.member', 'SELECT k, v FROM shop.member', '{k}', '{"*": 2}') \g /dev/null
SELECT walhouse.create_fact('dw.item', 'SELECT id, k, at, amount FROM shop.item', '{id}', 'at', '{"member_sk": "dw.member(k)"}', 'month') \g /dev/null
CALL walhouse.load('shop');
CALL walhouse.build('dw.member');
CALL walhouse.build('dw.item');

-- a leaf holds hundreds of these, or three
CREATE FUNCTION probes.key(i int) RETURNS text LANGUAGE sql AS $$
    SELECT lpad(i::text, 3, '0') || (SELECT left(string_agg(md5(i || '.' || n), ''), i % 7 * 350) FROM generate_series(1, 80) n) $$;
CREATE FUNCTION probes.some(n int) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT probes.key(floor(random() * n)::int) $$;
-- members 0 and 7 get a version from nearly each transaction, 40 to 49 come late
CREATE PROCEDURE probes.generate(transactions int, first int) LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz;
BEGIN
    FOR t IN first .. first + transactions - 1 LOOP
        at := timestamptz '2026-01-01' + t * interval '1 hour';
        INSERT INTO shop.member SELECT probes.key(i), t FROM generate_series(0, CASE WHEN t > first + transactions / 2 THEN 49 ELSE 39 END) i
        WHERE i IN (0, 7) OR random() < .1 ORDER BY random() ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v;
        IF random() < .1 THEN DELETE FROM shop.member WHERE k = (SELECT probes.some(50)); END IF;
        INSERT INTO shop.item SELECT DISTINCT ON (1) probes.some(200), probes.some(50), at - random() * t * interval '1 hour' - interval '1 minute', t FROM generate_series(1, 4)
        ON CONFLICT (id) DO UPDATE SET k = EXCLUDED.k, amount = EXCLUDED.amount;
        IF random() < .2 THEN UPDATE shop.item SET amount = amount + 1 WHERE id BETWEEN (SELECT probes.some(200)) AND (SELECT probes.some(200)); END IF;
        IF random() < .1 THEN DELETE FROM shop.item WHERE id = (SELECT probes.some(200)); END IF;
        PERFORM handfeed.commit('shop', at);
    END LOOP;
END $$;
CREATE PROCEDURE probes.load() LANGUAGE plpgsql AS $$
DECLARE
    txn record;
BEGIN
    FOR txn IN SELECT end_lsn FROM shop_log.txn WHERE end_lsn > (SELECT max(position) FROM walhouse.feed_position) ORDER BY 1 LOOP
        CONTINUE WHEN random() < .7 AND txn.end_lsn < (SELECT max(end_lsn) FROM shop_log.txn);
        PERFORM handfeed.reach('shop', txn.end_lsn);
        COMMIT;
        CALL walhouse.load('shop');
    END LOOP;
END $$;
CREATE VIEW probes.verdict AS SELECT model::text, expected > 100 AS expected, missing, unexpected, different FROM walhouse.verify() WHERE model::text LIKE 'dw.%';

SELECT setseed(:seed) \g /dev/null
CALL probes.generate(:transactions, 1);
CALL probes.load();
SELECT * FROM probes.verdict ORDER BY model;
VACUUM dw.member, dw.item;
CALL probes.generate(:transactions, 1 + :transactions);
CALL probes.load();
SELECT * FROM probes.verdict ORDER BY model;
-- it met what it is here for
SELECT max(versions) > 64 AS many, count(*) FILTER (WHERE versions > 20) > 20 AS some
FROM (SELECT count(*) AS versions FROM dw.member WHERE k IS NOT NULL GROUP BY k) m;
SELECT pg_relation_size(indexrelid) > 60 * 8192 AS leaves FROM pg_index WHERE indrelid = 'dw.member'::regclass AND indnkeyatts = 2;
SELECT count(*) FILTER (WHERE updated > 0) > 20 AS updates, sum(inferred) > 0 AS inferred
FROM walhouse.load_model JOIN walhouse.model m USING (model_id) WHERE m.relation = 'dw.item'::regclass;
SELECT model, state, error FROM (SELECT relation::text AS model, state, error FROM walhouse.model) m WHERE model LIKE 'dw.%' ORDER BY 1;

-- leave nothing behind
SELECT walhouse.drop_model(m) FROM unnest('{dw.item,dw.member}'::regclass[]) m \g /dev/null
\set ECHO none
\o /dev/null
SELECT handfeed.remove('shop');
DROP SCHEMA dw, oracle, probes, handfeed CASCADE;
