-- Recorded time: after every load copies of a star are kept, and as_known() gives each of them again from the log alone.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'Europe/Berlin') \g /dev/null
CREATE TABLE shop.person (id int PRIMARY KEY, name text, city text, street text);
CREATE TABLE shop.sale (id int PRIMARY KEY, person int, at timestamptz, amount numeric);
SELECT handfeed.add('shop', 'shop.person'), handfeed.add('shop', 'shop.sale') \g /dev/null
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-12-31') \g /dev/null
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name, city, street FROM shop.person', '{id}', '{"*": 2, "name": 1, "street": 3}') \g /dev/null
SELECT walhouse.create_dimension('dw.stone', 'SELECT id, name, city FROM shop.person', '{id}', '{"*": 6, "name": 0}', 'tombstone') \g /dev/null
SELECT walhouse.create_fact('dw.sale', 'SELECT id, person, at, amount FROM shop.sale', '{id}', 'at',
    '{"person_sk": "dw.person(person)", "stone_sk": {"dimension": "dw.stone(person)", "null": "not_applicable"}, "date_sk": "dw.date(at)"}') \g /dev/null
CREATE TABLE dw.was_person AS SELECT 0::bigint AS at_load, p.* FROM dw.person p;
CREATE TABLE dw.was_stone AS SELECT 0::bigint AS at_load, p.* FROM dw.stone p;
CREATE TABLE dw.was_sale AS SELECT 0::bigint AS at_load, p.* FROM dw.sale p;
CREATE TABLE dw.was_load (at_load bigint, ended timestamptz);
CREATE PROCEDURE dw.keep() LANGUAGE sql AS $$
    INSERT INTO dw.was_person SELECT (SELECT max(load_id) FROM walhouse.load), * FROM dw.person WHERE NOT is_inferred;
    INSERT INTO dw.was_stone SELECT (SELECT max(load_id) FROM walhouse.load), * FROM dw.stone WHERE NOT is_inferred;
    INSERT INTO dw.was_sale SELECT (SELECT max(load_id) FROM walhouse.load), * FROM dw.sale;
    INSERT INTO dw.was_load SELECT max(load_id), clock_timestamp() FROM walhouse.load;
$$;
CREATE FUNCTION dw.some(n int) RETURNS int LANGUAGE sql AS $$ SELECT 1 + floor(random() * n)::int $$;
-- A random source transaction, n hours after the start of the year; facts come before their person, and for tomorrow, too.
CREATE PROCEDURE dw.work(n int) LANGUAGE plpgsql AS $$
DECLARE
    now timestamptz := timestamptz '2026-01-01 00:00+00' + n * interval '1 hour';
BEGIN
    FOR i IN 1 .. dw.some(4) LOOP
        CASE dw.some(7)
            WHEN 1, 2 THEN INSERT INTO shop.person VALUES (dw.some(6), 'name ' || n, 'city ' || dw.some(2), 'street ' || dw.some(2))
                ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, city = EXCLUDED.city, street = EXCLUDED.street;
            WHEN 3 THEN DELETE FROM shop.person WHERE id = dw.some(6);
            WHEN 4 THEN DELETE FROM shop.sale WHERE id = dw.some(20);
            WHEN 5 THEN UPDATE shop.sale SET amount = amount + 1, at = at + interval '1 day' WHERE id = dw.some(20);
            ELSE INSERT INTO shop.sale VALUES (dw.some(20), nullif(dw.some(7), 7), now + (dw.some(7) - 4) * interval '3 hours', n) ON CONFLICT DO NOTHING;
        END CASE;
    END LOOP;
    PERFORM handfeed.commit('shop', CASE WHEN random() < 0.2 THEN now - interval '5 hours' ELSE now END);
    PERFORM handfeed.reach('shop');
END $$;
\set QUIET off
SELECT setseed(0.42);
CALL walhouse.build('dw.person'); CALL walhouse.build('dw.stone'); CALL walhouse.build('dw.sale');
SELECT format('CALL dw.work(%s)', n), CASE WHEN loads THEN 'CALL walhouse.load(''shop'')' END, CASE WHEN loads THEN 'CALL dw.keep()' END
FROM (SELECT n, random() < 0.4 AS loads FROM generate_series(1, 70) n OFFSET 0) s
\set QUIET on
\set ECHO none
\gexec
\set ECHO all
\set QUIET off
SELECT count(*) > 15 AS many_loads FROM dw.was_load;
SELECT count(*) > 0 AS some_ahead FROM walhouse.ahead;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- differs: rows of a copy that as_known() does not give, and the other way round; load_id aside.
CREATE FUNCTION dw.differs(model text, l bigint, at timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    columns text := (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = ('dw.' || model)::regclass AND attnum > 0 AND attname <> 'load_id');
    n bigint;
BEGIN
    EXECUTE format('WITH k AS (SELECT %1$s FROM walhouse.as_known(NULL::dw.%2$I, load => $1, at => $2)), w AS (SELECT %1$s FROM dw.%3$I WHERE at_load = $3)
        SELECT count(*) FROM ((TABLE k EXCEPT ALL TABLE w) UNION ALL (TABLE w EXCEPT ALL TABLE k)) d', columns, model, 'was_' || model)
    INTO n USING CASE WHEN at IS NULL THEN l END, at, l;
    RETURN n;
END $$;
SELECT model, count(*) > 15 AS loads, sum(dw.differs(model, at_load, NULL)) AS by_load, sum(dw.differs(model, at_load, ended)) AS by_time
FROM dw.was_load, unnest(ARRAY['person', 'stone', 'sale']) model GROUP BY 1 ORDER BY 1;
-- The copies do differ from each other.
SELECT count(DISTINCT c) > 12 AS persons FROM (SELECT md5(string_agg(row(p.*)::text, ',' ORDER BY person_sk)) AS c FROM dw.was_person p GROUP BY at_load) x;
-- A report as it was then: the fact and its dimension, joined as of the same load.
SELECT count(*) > 0 AS rows, count(*) FILTER (WHERE p.person_sk IS NULL AND k.person_sk > 0 AND NOT EXISTS (SELECT FROM dw.person i WHERE i.person_sk = k.person_sk)) AS dangling
FROM dw.was_load, LATERAL walhouse.as_known(NULL::dw.sale, load => at_load) k LEFT JOIN LATERAL walhouse.as_known(NULL::dw.person, load => at_load) p ON p.person_sk = k.person_sk
WHERE at_load = (SELECT min(at_load) + 3 FROM dw.was_load);

-- What it does not know.
SELECT count(*) FROM walhouse.as_known(NULL::dw.person, load => 0);
SELECT count(*) FROM walhouse.as_known(NULL::dw.person, at => '2000-01-01');
SELECT count(*) FROM walhouse.as_known(NULL::dw.person);
SELECT count(*) FROM walhouse.as_known(NULL::dw.person, 1, now());
SELECT count(*) FROM walhouse.as_known(NULL::dw.date, 1);
SELECT count(*) FROM walhouse.as_known(NULL::shop.person, 1);
SELECT count(*) FROM walhouse.as_known(7, 1);
CREATE ROLE walhouse_test_reader;
GRANT USAGE ON SCHEMA dw TO walhouse_test_reader;
GRANT SELECT ON dw.person TO walhouse_test_reader;
SET ROLE walhouse_test_reader;
SELECT count(*) FROM walhouse.as_known(NULL::dw.person, 1);
RESET ROLE;
DROP OWNED BY walhouse_test_reader;
DROP ROLE walhouse_test_reader;
-- Below the horizon it is refused, with positions that differ from run to run.
UPDATE walhouse.feed SET horizon = (SELECT max(end_lsn) FROM shop_log.txn);
\set VERBOSITY sqlstate
SELECT count(*) FROM walhouse.as_known(NULL::dw.sale, load => (SELECT min(at_load) FROM dw.was_load));
SELECT count(*) FROM walhouse.as_known(NULL::dw.person, load => (SELECT max(at_load) FROM dw.was_load));
\set VERBOSITY default

\set QUIET on
SELECT walhouse.drop_model('dw.sale') \g /dev/null
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
