-- Values of all sorts of types pass through every kind of model: composites, arrays of domains, enums, ranges, and types without equality.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE DOMAIN shop.word AS text;
CREATE TYPE shop.mood AS ENUM ('low', 'high');
CREATE TYPE shop.pair AS (a int, b shop.word);
CREATE TABLE shop.thing (id smallint PRIMARY KEY, word varchar(20), words text[], mood shop.mood, pair shop.pair, pairs shop.pair[],
    doc json, docb jsonb, spot point, span int4range, days interval, bits bit(3), raw bytea, net inet, price numeric(12, 2));
CREATE TABLE shop.use (id bigint PRIMARY KEY, thing smallint, at timestamptz, done timestamptz, price numeric(12, 2), word varchar(20), words text[], mood shop.mood,
    pair shop.pair, pairs shop.pair[], doc json, docb jsonb, spot point, span int4range, days interval, bits bit(3), raw bytea, net inet);
SELECT handfeed.add('shop', ('shop.' || t)::regclass) FROM unnest('{thing,use}'::text[]) t \g /dev/null
CREATE SCHEMA dw;
\set rest 'word, words::shop.word[], mood, pair, pairs, doc, docb, spot, span, days, bits, raw, net, price'
-- A domain is its base type as soon as a statement unites or compares it.
SELECT walhouse.create_dimension('dw.bad', 'SELECT id, word::shop.word AS n FROM shop.thing', '{id}');
SELECT walhouse.create_dimension('dw.two', 'SELECT id, ' || :'rest' || ' FROM shop.thing', '{id}'),
    walhouse.create_dimension('dw.mixed', 'SELECT id, ' || :'rest' || ' FROM shop.thing', '{id}', '{"*": 1, "word": 6, "words": 3, "mood": 2, "pair": 3, "pairs": 6, "doc": 3, "price": 6, "net": 0}', 'tombstone'),
    walhouse.create_dimension('dw.joined', 'SELECT u.id, t.word, t.pairs, u.pair, u.at FROM shop.use u LEFT JOIN shop.thing t ON t.id = u.thing', '{id}', effective => 'at'),
    walhouse.create_mini_dimension('dw.mini', 'SELECT id, word, mood, price FROM shop.thing', '{id}') \g /dev/null
SELECT walhouse.create_fact('dw.replaced', 'SELECT id, thing, at, ' || :'rest' || ' FROM shop.use', '{id}', 'at', '{"two_sk": "dw.two(thing)", "mixed_sk": "dw.mixed(thing)"}'),
    walhouse.create_fact('dw.profiled', 'SELECT u.id, u.at, u.thing, t.word, t.words, t.pairs FROM shop.use u LEFT JOIN shop.thing t ON t.id = u.thing', '{id}', 'at', '{"mini_sk": "dw.mini(thing)"}'),
    walhouse.create_fact('dw.booked', 'SELECT id, thing, at, ' || :'rest' || ' FROM shop.use', '{id}', 'at', '{"joined_sk": "dw.joined(id)"}', corrections => 'reverse', measures => '{price}'),
    walhouse.create_fact('dw.followed', 'SELECT id, thing, at, done, mood = ''high'' AS is_high, ' || :'rest' || ' FROM shop.use', '{id}', 'at', milestones => '{"high_at": "is_high"}', lags => '{"took": ["at", "done"]}') \g /dev/null
SELECT walhouse.create_rollup('dw.by_word', 'dw.replaced', '{word,mood}', '{"n": "count(*)", "price": "sum(price)", "low": "min(price)", "high": "max(word)", "kinds": "count(distinct mood)"}'),
    walhouse.create_periodic_snapshot('dw.stock', 'dw.replaced', '{thing}', '{"total": "balance(price)", "word": "last(word)", "mood": "last(mood)"}', 'month'),
    walhouse.create_rollup('dw.balance', 'dw.booked', '{thing}', '{"total": "sum(price)"}', 'none') \g /dev/null
SELECT relation, state FROM walhouse.model ORDER BY model_id;

-- A random source transaction; NULLs, and images that are equal though they differ.
CREATE FUNCTION dw.some(n int) RETURNS int LANGUAGE sql AS $$ SELECT 1 + floor(random() * n)::int $$;
CREATE FUNCTION dw.fill(n int, OUT word text, OUT words text[], OUT mood shop.mood, OUT pair shop.pair, OUT pairs shop.pair[], OUT doc json, OUT docb jsonb, OUT spot point,
    OUT span int4range, OUT days interval, OUT bits bit(3), OUT raw bytea, OUT net inet, OUT price numeric) LANGUAGE sql AS $$
    SELECT 'w' || n % 4, CASE WHEN n % 5 > 0 THEN ARRAY['a', NULL, 'b' || n % 3] END, CASE n % 3 WHEN 0 THEN 'low' WHEN 1 THEN 'high' END::shop.mood,
        CASE WHEN n % 4 > 0 THEN ROW (n % 2, 'p')::shop.pair END, CASE WHEN n % 7 > 0 THEN ARRAY[ROW (1 + n % 2, 'q')::shop.pair] END, CASE n % 3 WHEN 0 THEN '{"a":1}' ELSE '{"a": 1}' END::json,
        jsonb_build_object('a', CASE n % 2 WHEN 0 THEN 1.0 ELSE 1.00 END), point(n % 2, 0), int4range(1, 1 + n % 4),
        CASE n % 2 WHEN 0 THEN interval '24 hours' ELSE interval '1 day' END, (n % 8)::bit(3), decode('0' || n % 10, 'hex'), '10.0.0.1'::inet, CASE n % 6 WHEN 0 THEN NULL ELSE n END $$;
CREATE PROCEDURE dw.work(n int) LANGUAGE plpgsql AS $$
DECLARE
    now timestamptz := timestamptz '2026-01-01 00:00+00' + n * interval '17 hours';
BEGIN
    FOR i IN 1 .. dw.some(4) LOOP
        CASE dw.some(6)
            WHEN 1 THEN INSERT INTO shop.thing (id, word) VALUES (dw.some(6), 'new') ON CONFLICT DO NOTHING;
            WHEN 2 THEN UPDATE shop.thing SET (word, words, mood, pair, pairs, doc, docb, spot, span, days, bits, raw, net, price) = (SELECT v.* FROM dw.fill(dw.some(1000)) v) WHERE id = dw.some(6);
            WHEN 3 THEN DELETE FROM shop.thing WHERE id = dw.some(12);
            WHEN 4 THEN INSERT INTO shop.use (id, thing, at) VALUES (dw.some(20), nullif(dw.some(7), 7), now - dw.some(20) * interval '3 days') ON CONFLICT DO NOTHING;
            WHEN 5 THEN DELETE FROM shop.use WHERE id = dw.some(40);
            ELSE UPDATE shop.use SET (word, words, mood, pair, pairs, doc, docb, spot, span, days, bits, raw, net, price) = (SELECT v.* FROM dw.fill(dw.some(1000)) v),
                at = CASE dw.some(4) WHEN 1 THEN at + interval '9 days' ELSE at END, done = now WHERE id = dw.some(20);
        END CASE;
    END LOOP;
    PERFORM handfeed.commit('shop', now);
    PERFORM handfeed.reach('shop');
END $$;
\set QUIET off
SELECT setseed(0.1);
\set QUIET on
\set ECHO none
SELECT format('CALL dw.work(%s)', n) FROM (SELECT n FROM generate_series(1, 30) n OFFSET 0) s
\gexec
\set ECHO all
\set QUIET off
SELECT format('CALL walhouse.build(%L)', relation) FROM walhouse.model WHERE feed_id IS NOT NULL ORDER BY model_id
\set QUIET on
\set ECHO none
\gexec
SELECT format('CALL dw.work(%s)', n), CASE WHEN n % 4 = 0 THEN 'CALL walhouse.load(''shop'')' END FROM (SELECT n FROM generate_series(31, 160) n OFFSET 0) s
\gexec
\set ECHO all
\set QUIET off
CALL walhouse.load('shop');
SELECT relation, state, error FROM walhouse.model ORDER BY model_id;
SELECT model, expected > 1 AS some, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
SELECT m.relation AS model, s.missing, s.unexpected, s.different FROM (SELECT * FROM walhouse.model OFFSET 0) m, LATERAL walhouse.verify(m.relation, 1000) s ORDER BY m.model_id;
\set ECHO none
\set QUIET on
SET client_min_messages = error;
\o /dev/null
SELECT walhouse.drop_model(relation) FROM (SELECT relation FROM walhouse.model WHERE relation::text <> 'dw.mini_history' ORDER BY kind IN ('rollup', 'periodic_snapshot') DESC, kind = 'fact' DESC, model_id DESC) m;
SELECT handfeed.remove('shop');
\o
DROP SCHEMA dw, handfeed CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
