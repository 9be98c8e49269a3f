-- P3 for rollups and periodic snapshots: a random history, cut into random loads, with stops, builds, rebuilds of fact and dimension, and
-- drops in between; after each load every one that is current equals a query over the fact's rows, and verify finds nothing, also in those
-- that wait.  Other histories: \set seed 0.7 before the file, or more transactions.
\getenv srcdir PG_ABS_SRCDIR
\set random :srcdir '/test/lib/random.sql'
\set usual_transactions 60
\set ECHO none
\i :random
\set ECHO all
SELECT handfeed.make('shop', 'America/New_York') \g /dev/null
CREATE TABLE shop.item (item numeric PRIMARY KEY, name text);
CREATE TABLE shop.sale (id int PRIMARY KEY, item numeric, at timestamptz, paid timestamp, kind text, qty int, price numeric, weight float8, size numeric(8,2));
SELECT handfeed.add('shop', 'shop.item'), handfeed.add('shop', 'shop.sale') \g /dev/null
SELECT walhouse.create_dimension('dw.item', 'SELECT item, name FROM shop.item', '{item}', on_delete => 'purge') \g /dev/null
SELECT walhouse.create_fact('dw.sale', 'SELECT id, item, at, paid, kind, qty, price, weight, size FROM shop.sale', '{id}', 'at', '{"item_sk": "dw.item(item)"}') \g /dev/null

-- ---- The source
CREATE FUNCTION oracle.row(id int, clock timestamptz) RETURNS shop.sale LANGUAGE sql VOLATILE AS $$
    SELECT ROW (id, oracle.pick('1', '1.0', '2', '3', NULL), clock + oracle.pick('-40 days', '-9 days', '-1 day', '-3 hours', '0', '2 days', '11 days')::interval,
        oracle.pick(NULL, NULL, 'infinity', '0001-01-01', '2026-03-08 02:30', '2026-01-31', '2026-02-01', '2026-03-31', '2026-05-05')::timestamp,
        oracle.pick('a', 'b', '', NULL), oracle.pick(NULL, '0', '1', '-5', '2147483647')::int, oracle.pick(NULL, '1', '1.00', 'NaN', 'Infinity', '-Infinity', '0.1', '1e20', '-7.5')::numeric,
        oracle.pick(NULL, '0', '-0', 'NaN', 'Infinity', '2.5', '-1')::float8, oracle.pick(NULL, '1', '2.5', 'NaN', '-3')::numeric)::shop.sale $$;
CREATE FUNCTION oracle.change(clock timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    i int := floor(random() * 25);
    m numeric := oracle.pick('1', '2', '3');
    dice float8 := random();
    r shop.sale := oracle.row(i, clock);
BEGIN
    IF dice < .01 THEN
        TRUNCATE shop.sale;
    ELSIF dice < .1 THEN
        DELETE FROM shop.item WHERE item = m;
    ELSIF dice < .25 THEN
        INSERT INTO shop.item VALUES (m, oracle.pick('x', 'y', 'z')) ON CONFLICT (item) DO UPDATE SET name = excluded.name;
    ELSIF NOT EXISTS (SELECT FROM shop.sale WHERE id = i) THEN
        INSERT INTO shop.sale SELECT (oracle.row(i, clock)).*;
    ELSIF dice < .45 THEN
        DELETE FROM shop.sale WHERE id = i;
    ELSIF dice < .55 THEN
        UPDATE shop.sale SET at = r.at, paid = r.paid WHERE id = i;
    ELSIF dice < .75 THEN
        UPDATE shop.sale SET qty = r.qty, price = r.price, weight = r.weight, size = r.size WHERE id = i;
    ELSE
        UPDATE shop.sale SET kind = r.kind, item = r.item, price = r.price WHERE id = i;
    END IF;
END $$;

-- ---- What is made of it
CREATE TABLE oracle.model (name text, make text, query text);
CREATE FUNCTION oracle.clock(unit text) RETURNS date LANGUAGE sql AS
    $$ SELECT date_trunc(unit, max(clock) AT TIME ZONE 'America/New_York')::date FROM shop_log.txn WHERE end_lsn <= (SELECT max(position) FROM walhouse.feed_position) $$;
CREATE TABLE oracle.f AS SELECT *, (at AT TIME ZONE 'America/New_York')::date AS day, row_number() OVER (ORDER BY at, id) AS place FROM dw.sale WITH NO DATA;
CREATE TABLE oracle.paid AS SELECT *, row_number() OVER (ORDER BY paid, id) AS paid_place FROM dw.sale WHERE paid >= '1926-01-01' AND paid < '2127-01-01' WITH NO DATA;
INSERT INTO oracle.model VALUES
('daily', $$create_rollup('dw.daily', 'dw.sale', '{kind,item_sk}', '{"n": "count(*)", "qty": "sum(qty)", "mean": "avg(qty)", "price": "sum(price)", "size": "sum(size)"}')$$,
 $$SELECT day, kind, item_sk, count(*), sum(qty), avg(qty), trim_scale(sum(price)), sum(size) FROM oracle.f GROUP BY 1, 2, 3$$),
('ends', $$create_rollup('dw.ends', 'dw.sale', '{kind}', '{"lo": "min(price)", "hi": "max(price)", "many": "count(distinct price)", "light": "min(weight)", "heavy": "max(weight)",
    "kinds": "count(distinct kind)", "last": "max(at)"}', bucket => 'month', bucket_column => 'paid')$$,
 $$SELECT date_trunc('month', paid)::date, kind, max(at), count(distinct kind), count(distinct price), trim_scale(min(price)), trim_scale(max(price)), min(weight) + 0, max(weight) + 0
    FROM dw.sale GROUP BY 1, 2$$),
('total', $$create_rollup('dw.total', 'dw.sale', '{}', '{"n": "count(price)", "mean": "avg(size)", "items": "count(distinct item)"}', bucket => 'none')$$,
 $$SELECT count(distinct item), count(price), avg(size) FROM dw.sale HAVING count(*) > 0$$),
('stock', $$create_periodic_snapshot('dw.stock', 'dw.sale', '{item_sk}', '{"n": "count(*)", "stock": "balance(qty)", "rows": "balance(*)", "value": "balance(price)", "price": "last(price)",
    "weight": "last(weight)", "hi": "max(price)"}')$$,
 $$SELECT p::date, item_sk, (SELECT count(*) FROM oracle.f WHERE f.item_sk = g.item_sk AND day = p), (SELECT count(*) FROM oracle.f WHERE f.item_sk = g.item_sk AND day <= p),
    (SELECT sum(qty) FROM oracle.f WHERE f.item_sk = g.item_sk AND day <= p), (SELECT trim_scale(max(price)) FROM oracle.f WHERE f.item_sk = g.item_sk AND day = p),
    (SELECT trim_scale(sum(price)) FROM oracle.f WHERE f.item_sk = g.item_sk AND day <= p),
    (SELECT trim_scale(price) FROM oracle.f WHERE f.item_sk = g.item_sk AND day <= p ORDER BY place DESC LIMIT 1),
    (SELECT weight + 0 FROM oracle.f WHERE f.item_sk = g.item_sk AND day <= p ORDER BY place DESC LIMIT 1)
    FROM (SELECT item_sk, min(day) AS first, max(day) AS last FROM oracle.f GROUP BY 1) g, generate_series(g.first, greatest(g.last, oracle.clock('day')), interval '1 day') p$$),
('months', $$create_periodic_snapshot('dw.months', 'dw.sale', '{kind}', '{"n": "count(*)", "many": "count(distinct qty)", "size": "balance(size)", "last": "last(size)"}', period => 'month',
    period_column => 'paid', fill => false)$$,
 $$SELECT p, kind, count(*), count(distinct qty), (SELECT sum(size) FROM oracle.paid q WHERE q.kind IS NOT DISTINCT FROM g.kind AND q.paid < p + interval '1 month'),
    (SELECT size FROM oracle.paid q WHERE q.kind IS NOT DISTINCT FROM g.kind AND q.paid < p + interval '1 month' ORDER BY paid_place DESC LIMIT 1)
    FROM (SELECT *, date_trunc('month', paid)::date AS p FROM oracle.paid) g GROUP BY p, kind$$),
('weeks', $$create_periodic_snapshot('dw.weeks', 'dw.sale', '{kind}', '{"qty": "sum(qty)", "stock": "balance(qty)"}', period => 'week')$$,
 $$SELECT p::date, kind, (SELECT sum(qty) FROM oracle.f WHERE f.kind IS NOT DISTINCT FROM g.kind AND day BETWEEN p AND p + interval '6 days'),
    (SELECT sum(qty) FROM oracle.f WHERE f.kind IS NOT DISTINCT FROM g.kind AND day <= p + interval '6 days')
    FROM (SELECT kind, date_trunc('week', min(day)::timestamp) AS first, max(day) AS last FROM oracle.f GROUP BY 1) g, generate_series(first, greatest(g.last, oracle.clock('week')), interval '7 days') p$$);

CREATE TABLE oracle.seen (what text, n bigint DEFAULT 0);
CREATE TABLE oracle.wrong (step int, what text, detail text);
CREATE FUNCTION oracle.differing(rollup text, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    columns text := (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = format('dw.%I', rollup)::regclass AND a.attnum > 0 AND a.attname NOT IN ('load_id', 'wh_key', 'wh_state'));
BEGIN
    RETURN QUERY EXECUTE format($q$WITH have AS (SELECT ROW(%s)::text AS r FROM dw.%I), want AS (SELECT q::text AS r FROM (%s) q)
        (SELECT 'have ' || r FROM (TABLE have EXCEPT ALL TABLE want) q) UNION ALL (SELECT 'want ' || r FROM (TABLE want EXCEPT ALL TABLE have) q)$q$,
        columns, rollup, query);
END $$;
-- Everything is right now.
CREATE FUNCTION oracle.check(step int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    o record;
BEGIN
    TRUNCATE oracle.f, oracle.paid;
    INSERT INTO oracle.f SELECT *, (at AT TIME ZONE 'America/New_York')::date, row_number() OVER (ORDER BY at, id) FROM dw.sale;
    INSERT INTO oracle.paid SELECT *, row_number() OVER (ORDER BY paid, id) FROM dw.sale WHERE paid >= '1926-01-01' AND paid < '2127-01-01';
    FOR o IN SELECT m.name, m.query, s.is_current, s.state, s.model FROM oracle.model m JOIN walhouse.stat_model s ON s.model = to_regclass('dw.' || m.name) LOOP
        INSERT INTO oracle.seen VALUES (o.state, 1);
        IF o.is_current THEN
            INSERT INTO oracle.wrong SELECT step, o.name, d FROM oracle.differing(o.name, o.query) d;
        END IF;
        IF o.state = 'stopped' OR (o.state = 'live' AND random() < .3) THEN
            INSERT INTO oracle.wrong SELECT step, 'verify ' || o.name, v::text FROM walhouse.verify(o.model) v WHERE v.missing + v.unexpected + v.different > 0;
        END IF;
    END LOOP;
    INSERT INTO oracle.wrong SELECT step, 'error', relation || ': ' || error FROM walhouse.model WHERE error NOT LIKE '%"walhouse_test"%' AND error NOT LIKE 'waits for %';
END $$;

-- ---- The run
CREATE PROCEDURE oracle.act(dice float8, name text) LANGUAGE plpgsql AS $$
DECLARE
    state text := (SELECT m.state FROM walhouse.model m WHERE m.relation = to_regclass('dw.' || name));
    fact_state text := (SELECT m.state FROM walhouse.model m WHERE m.relation = 'dw.sale'::regclass);
    is_blocked boolean := EXISTS (SELECT FROM pg_constraint WHERE conrelid IN ('dw.sale'::regclass, to_regclass('dw.' || name)) AND conname = 'walhouse_test');
BEGIN
    IF state IS NULL THEN                                                     -- declared, and built later
        EXECUTE format('SELECT walhouse.%s', (SELECT m.make FROM oracle.model m WHERE m.name = act.name));
    ELSIF dice < .3 AND state = 'live' AND NOT is_blocked THEN                                   -- the next write to it fails
        EXECUTE format('ALTER TABLE dw.%I ADD CONSTRAINT walhouse_test CHECK (load_id < 0) NOT VALID', name);
    ELSIF fact_state = 'stopped' THEN
        ALTER TABLE dw.sale DROP CONSTRAINT IF EXISTS walhouse_test;
        PERFORM walhouse.resume('dw.sale');
    ELSIF state = 'stopped' THEN
        EXECUTE format('ALTER TABLE dw.%I DROP CONSTRAINT IF EXISTS walhouse_test', name);
        EXECUTE format('SELECT walhouse.resume(%L)', 'dw.' || name);
    ELSIF dice < .36 THEN
        EXECUTE format('SELECT walhouse.drop_model(%L)', 'dw.' || name);
    ELSIF dice < .4 AND NOT is_blocked THEN
        CALL walhouse.build('dw.item');
    ELSIF dice < .44 AND NOT is_blocked AND fact_state = 'live' THEN
        CALL walhouse.build('dw.sale');
    ELSIF dice < .5 AND fact_state = 'live' THEN
        ALTER TABLE dw.sale ADD CONSTRAINT walhouse_test CHECK (load_id < 0) NOT VALID;
    ELSIF fact_state = 'live' AND state IN ('live', 'new', 'rebuild') AND NOT is_blocked THEN
        CALL walhouse.build(to_regclass('dw.' || name));
    END IF;
END $$;
CREATE PROCEDURE oracle.mend() LANGUAGE plpgsql AS $$
DECLARE
    r regclass;
BEGIN
    FOR r IN SELECT conrelid FROM pg_constraint WHERE conname = 'walhouse_test' AND conparentid = 0 LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT walhouse_test', r);
    END LOOP;
    PERFORM walhouse.resume(relation) FROM walhouse.model WHERE state = 'stopped';
END $$;
-- What waits for a build is built, now and then; or every rollup.
CREATE PROCEDURE oracle.build(every boolean DEFAULT false) LANGUAGE plpgsql AS $$
DECLARE
    r regclass;
BEGIN
    FOR r IN SELECT m.relation FROM walhouse.model m WHERE (m.state IN ('new', 'rebuild') OR (every AND m.kind IN ('rollup', 'periodic_snapshot')))
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'walhouse_test')
        ORDER BY CASE m.kind WHEN 'dimension' THEN 0 WHEN 'fact' THEN 1 ELSE 2 END LOOP
        CALL walhouse.build(r);
    END LOOP;
END $$;
CREATE PROCEDURE oracle.play(steps int) LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := '2026-02-20 03:00+00';
    cut pg_lsn;
BEGIN
    FOR step IN 1 .. steps LOOP
        FOR t IN 1 .. 1 + floor(random() * 3) LOOP
            FOR n IN 1 .. floor(random() * 5) LOOP PERFORM oracle.change(clock); END LOOP;
            clock := clock + oracle.pick('0', '1 us', '1 hour', '9 hours', '1 day', '3 days')::interval;
            cut := handfeed.commit('shop', clock);
            IF random() < .5 THEN PERFORM handfeed.reach('shop', cut); END IF;
        END LOOP;
        PERFORM handfeed.reach('shop');
        COMMIT;
        IF random() < .6 THEN CALL oracle.act(random(), oracle.pick('daily', 'ends', 'total', 'stock', 'months', 'weeks')); END IF;
        IF random() < .3 THEN CALL oracle.build(); END IF;
        CALL walhouse.load('shop');
        PERFORM oracle.check(step);
    END LOOP;
END $$;
SELECT setseed(:seed) \g /dev/null
SELECT handfeed.commit('shop', '2026-02-20 02:00+00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.build('dw.item');
CALL walhouse.build('dw.sale');
DO $$ DECLARE m text; BEGIN FOR m IN SELECT make FROM oracle.model LOOP EXECUTE 'SELECT walhouse.' || m; END LOOP; END $$;
CALL oracle.build();
CALL oracle.play(:transactions);
\set QUIET off
SELECT * FROM oracle.wrong ORDER BY step, what, detail LIMIT 10;
-- Enough happened.
SELECT what, sum(n) > 5 AS often FROM oracle.seen GROUP BY 1 ORDER BY 1;
-- All is mended, and then built in one go: the same.
CALL oracle.mend();
CALL walhouse.load('shop');
CALL walhouse.load('shop');
CALL oracle.build();
CALL oracle.build();
CALL walhouse.load('shop');
SELECT relation, state, error FROM walhouse.model WHERE state <> 'live';
SELECT oracle.check(0) \g /dev/null
CALL oracle.build(true);
SELECT oracle.check(0) \g /dev/null
SELECT count(*) FROM oracle.wrong;

\set QUIET on
SELECT walhouse.drop_model(relation) FROM (SELECT relation FROM walhouse.model WHERE kind IN ('rollup', 'periodic_snapshot') ORDER BY model_id) m \g /dev/null
SELECT walhouse.drop_model('dw.sale') \g /dev/null
SELECT walhouse.drop_model('dw.item') \g /dev/null
DROP SCHEMA dw, oracle CASCADE;
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA handfeed CASCADE;
