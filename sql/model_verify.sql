-- walhouse.verify(): a sample says of its keys what the whole says, also over a short stretch of the log; what was planted is found;
-- a model that cannot be read is told of, and the others are verified.
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
CREATE TABLE shop.person (id int PRIMARY KEY, name text, city text, divisor int DEFAULT 1);
CREATE TABLE shop.address (person int PRIMARY KEY, street text);
CREATE TABLE shop.sale (id int, part text, person int, at timestamptz, amount numeric, PRIMARY KEY (id, part));
SELECT handfeed.add('shop', ('shop.' || t)::regclass) FROM unnest('{person,address,sale}'::text[]) t \g /dev/null
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-12-31') \g /dev/null
SELECT walhouse.create_time_dimension('dw.time', 'hour') \g /dev/null
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name, city FROM shop.person', '{id}', '{"*": 2, "name": 1}') \g /dev/null
SELECT walhouse.create_dimension('dw.stone', 'SELECT id, name, city, 12 / divisor AS share FROM shop.person', '{id}', '{"*": 6, "name": 0}', 'tombstone') \g /dev/null
SELECT walhouse.create_dimension('dw.kept', 'SELECT id, name, city FROM shop.person WHERE city <> ''Rome''', '{id}', '{"*": 3, "name": 2}', 'ignore') \g /dev/null
SELECT walhouse.create_dimension('dw.purged', 'SELECT id, name, city FROM shop.person', '{id}', '{"*": 2}', 'purge') \g /dev/null
SELECT walhouse.create_dimension('dw.joined', 'SELECT p.id, p.name, a.street, 12 / p.divisor AS share FROM shop.person p LEFT JOIN shop.address a ON a.person = p.id', '{id}') \g /dev/null
SELECT walhouse.create_junk_dimension('dw.junk', '{size text}') \g /dev/null
SELECT walhouse.create_fact('dw.sale', 'SELECT id, part, person, at, amount, CASE WHEN amount > 10 THEN ''big'' END AS size FROM shop.sale', '{id,part}', 'at',
    '{"person_sk": "dw.person(person)", "stone_sk": "dw.stone(person)", "date_sk": "dw.date(at)", "hour_sk": "dw.time(at)", "junk_sk": "dw.junk(size)"}', 'month') \g /dev/null
SELECT walhouse.create_fact('dw.street', 'SELECT s.id, s.part, s.at, a.street, p.name FROM shop.sale s JOIN shop.person p ON p.id = s.person
    LEFT JOIN shop.address a ON a.person = p.id', '{id,part}', 'at', '{"joined_sk": "dw.joined(id)"}', 'year') \g /dev/null
CREATE FUNCTION dw.some(n int) RETURNS int LANGUAGE sql AS $$ SELECT 1 + floor(random() * n)::int $$;
-- A random source transaction; images that a query cannot compute are mended in the next one.
CREATE PROCEDURE dw.work(n int) LANGUAGE plpgsql AS $$
DECLARE
    now timestamptz := timestamptz '2026-01-01 00:00+00' + n * interval '7 hours';
    a_person int; -- drawn once, whatever the order in which tables are read
    a_sale int;
BEGIN
    UPDATE shop.person SET divisor = 2 WHERE divisor = 0;
    IF n = 7 THEN INSERT INTO shop.sale VALUES (41, 'abc', 1, NULL, n); END IF; -- one without a place stays
    FOR i IN 1 .. dw.some(5) LOOP
        a_person := dw.some(12);
        a_sale := dw.some(40);
        CASE dw.some(10)
            WHEN 1, 2 THEN INSERT INTO shop.person VALUES (a_person, 'name ' || n, (ARRAY['Rome', 'Oslo', 'Bonn'])[dw.some(3)])
                ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, city = EXCLUDED.city;
            WHEN 3 THEN UPDATE shop.person SET city = city || '!' WHERE id = a_person;
            WHEN 4 THEN DELETE FROM shop.person WHERE id = a_person;
            WHEN 5 THEN INSERT INTO shop.address VALUES (a_person, 'street ' || n) ON CONFLICT (person) DO UPDATE SET street = EXCLUDED.street;
            WHEN 6 THEN DELETE FROM shop.address WHERE person = a_person;
            WHEN 7 THEN DELETE FROM shop.sale WHERE id = a_sale;
            WHEN 8 THEN UPDATE shop.sale SET amount = amount + 1, at = CASE WHEN n % 7 = 0 THEN NULL ELSE at + interval '11 days' END WHERE id = a_sale;
            WHEN 9 THEN UPDATE shop.person SET divisor = 0 WHERE id = a_person AND n % 5 <> 0;
            ELSE INSERT INTO shop.sale VALUES (a_sale, 'abc', nullif(dw.some(14), 14), now + (dw.some(9) - 5) * interval '2 days', n) ON CONFLICT DO NOTHING;
        END CASE;
    END LOOP;
    PERFORM handfeed.commit('shop', now);
    PERFORM handfeed.reach('shop');
END $$;
\set QUIET off
SELECT setseed(0.2026);
SELECT format('CALL walhouse.build(%L)', relation) FROM walhouse.model WHERE feed_id IS NOT NULL ORDER BY model_id
\set QUIET on
\set ECHO none
\gexec
SELECT format('CALL dw.work(%s)', n), CASE WHEN n % 5 = 0 THEN 'CALL walhouse.load(''shop'')' END FROM (SELECT n FROM generate_series(1, 120) n OFFSET 0) s
\gexec
\set ECHO all
\set QUIET off

-- The log goes on above the models' position: verify stands at theirs.
CALL dw.work(121);
SELECT model, expected > 10 AS many, expected = found AS same, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
-- A sample that takes in all keys says the same, and so does one over a short stretch of the log, or over none.
CREATE FUNCTION dw.counts(model regclass, sample int, log_rows int DEFAULT 10000) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('walhouse.verify_log_rows', log_rows::text, true);
    RETURN (SELECT format('%s %s %s', missing, unexpected, different) FROM walhouse.verify(model, sample));
END $$;
SELECT w.model, (SELECT s.expected = w.expected AND s.found = w.found FROM walhouse.verify(w.model, 100000) s) AS same,
    dw.counts(w.model, 100000) AS sample, dw.counts(w.model, 100000, 40) AS short, dw.counts(w.model, 100000, 0) AS none
FROM walhouse.verify() w ORDER BY w.model::text;
-- Also where the stretch begins between an image that cannot be computed and its mending.
SELECT m AS model, string_agg(DISTINCT dw.counts(m::regclass, 100000, n), ', ') AS counts FROM unnest('{dw.stone,dw.joined,dw.kept,dw.purged}'::text[]) m,
    generate_series(1, 140) n GROUP BY m ORDER BY m;
-- A small one looks at so many keys at most, and comes again with its seed.
SELECT bool_and(s.found <= 4) AS few, sum(s.missing + s.unexpected + s.different) AS wrong FROM generate_series(1, 50), LATERAL walhouse.verify('dw.sale', 4) s;
SELECT model, count(*), bool_and(s.found BETWEEN 5 AND 12) AS few, sum(s.missing + s.unexpected + s.different) AS wrong
FROM unnest('{dw.date,dw.time,dw.sale}'::regclass[]) m, generate_series(1, 5), LATERAL walhouse.verify(m, 12) s GROUP BY model ORDER BY model::text;
SELECT setseed(0.5); CREATE TEMP TABLE one AS SELECT * FROM generate_series(1, 20) n, LATERAL walhouse.verify('dw.person', 1 + n % 3) s;
SELECT setseed(0.5); CREATE TEMP TABLE two AS SELECT * FROM generate_series(1, 20) n, LATERAL walhouse.verify('dw.person', 1 + n % 3) s;
SELECT count(DISTINCT expected) > 1 AS varies, (SELECT count(*) FROM (TABLE one EXCEPT TABLE two) d) AS differ FROM one;
SELECT * FROM walhouse.verify('dw.person', 0);
SELECT walhouse.verify('dw.person', NULL);
SELECT walhouse.verify('shop.person', 1);

-- What is planted is found. For each fault: the whole, a sample of everything, and the same over no log at all.
CREATE FUNCTION dw.plant(model regclass, fault text, OUT whole text, OUT sample text, OUT bounded text) LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM set_config('walhouse.allow_writes', 'on', true);
        EXECUTE fault;
        whole := (SELECT format('%s %s %s', missing, unexpected, different) FROM walhouse.verify(model));
        sample := dw.counts(model, 100000);
        bounded := dw.counts(model, 100000, 0);
        RAISE EXCEPTION USING ERRCODE = 'WH999';
    EXCEPTION WHEN SQLSTATE 'WH999' THEN NULL;
    END;
END $$;
SELECT dw.plant('dw.person', 'DELETE FROM dw.person WHERE id = (SELECT min(id) FROM dw.person WHERE is_current AND id > 0) AND is_current');
SELECT dw.plant('dw.person', 'UPDATE dw.person SET name = ''x'' WHERE id = (SELECT min(id) FROM dw.person WHERE is_current AND id > 0) AND is_current');
SELECT dw.plant('dw.person', 'INSERT INTO dw.person (id, valid_from, valid_to, is_current, is_inferred, load_id) VALUES (-7, ''-infinity'', ''infinity'', true, false, 0)');
SELECT dw.plant('dw.person', 'UPDATE dw.person SET valid_to = ''infinity'', is_current = true WHERE person_sk = (SELECT min(person_sk) FROM dw.person WHERE NOT is_current)');
SELECT dw.plant('dw.person', 'UPDATE dw.person SET valid_to = valid_to + interval ''1 year'' WHERE person_sk = (SELECT min(person_sk) FROM dw.person WHERE NOT is_current)');
SELECT dw.plant('dw.person', 'UPDATE dw.person SET valid_from = ''2020-01-01'' WHERE valid_from = ''-infinity'' AND id = 1');
SELECT dw.plant('dw.stone', 'UPDATE dw.stone SET is_deleted = NOT is_deleted WHERE id = 2 AND is_current');
SELECT dw.plant('dw.stone', 'UPDATE dw.stone SET city_current = ''x'' WHERE id = (SELECT min(id) FROM dw.stone WHERE is_current AND NOT is_deleted AND id > 0)');
SELECT dw.plant('dw.kept', 'DELETE FROM dw.kept WHERE id = 3');
SELECT dw.plant('dw.purged', 'UPDATE dw.purged SET city = ''x'' WHERE id = (SELECT min(id) FROM dw.purged) AND is_current');
SELECT dw.plant('dw.joined', 'UPDATE dw.joined SET street = ''x'' WHERE id = (SELECT min(id) FROM dw.joined WHERE is_current AND id > 0) AND is_current');
SELECT dw.plant('dw.sale', 'DELETE FROM dw.sale WHERE id = (SELECT min(id) FROM dw.sale)');
SELECT dw.plant('dw.sale', 'UPDATE dw.sale SET amount = amount + 0.00 WHERE id = (SELECT min(id) FROM dw.sale)');
SELECT dw.plant('dw.sale', 'UPDATE dw.sale SET person_sk = -1 WHERE id = (SELECT min(id) FROM dw.sale WHERE person_sk > 0)');
SELECT dw.plant('dw.sale', 'CREATE TABLE dw.sale_next PARTITION OF dw.sale FOR VALUES FROM (''2027-01-01'') TO (''2028-01-01''); INSERT INTO dw.sale (id, part, at, person_sk, stone_sk, date_sk, hour_sk, junk_sk, load_id) SELECT id, part, at + interval ''1 year'', -1, -1, -1, -1, -1, 0 FROM dw.sale WHERE id = (SELECT min(id) FROM dw.sale)');
SELECT dw.plant('dw.sale', 'UPDATE dw.sale SET at = at + interval ''1 microsecond'' WHERE id = (SELECT min(id) FROM dw.sale)');
SELECT dw.plant('dw.sale', 'DELETE FROM walhouse.fact_rejected WHERE key = (SELECT min(key) FROM walhouse.fact_rejected)');
SELECT dw.plant('dw.sale', 'INSERT INTO walhouse.fact_rejected SELECT model_id, ''{99,"a,b"}'', position, reason, row FROM walhouse.fact_rejected LIMIT 1');
SELECT dw.plant('dw.street', 'UPDATE dw.street SET street = ''x'' WHERE id = (SELECT min(id) FROM dw.street)');
SELECT dw.plant('dw.date', 'UPDATE dw.date SET quarter = 5 WHERE date = ''2026-03-01''');
SELECT dw.plant('dw.time', 'DELETE FROM dw.time WHERE hour = 7');
SELECT dw.plant('dw.junk', 'UPDATE dw.junk SET size = ''x'' WHERE size = ''big''');

-- A model whose tables were copied again later than it stands is built again first: mirror and log do not reach back to it.
BEGIN;
UPDATE walhouse.feed_table SET sync_lsn = (SELECT max(position) FROM walhouse.feed_position) + 1 WHERE mirror = 'shop.address'::regclass;
\set VERBOSITY terse
SELECT model, expected IS NULL AS cut_off FROM walhouse.verify() WHERE expected IS NULL ORDER BY model::text;
SAVEPOINT s;
\set VERBOSITY default
SELECT walhouse.verify('dw.joined');
ROLLBACK TO s;
SELECT walhouse.verify('dw.street', 10);
ROLLBACK;

-- A model whose query is gone does not keep the others from being verified.
\set VERBOSITY default
SET walhouse.allow_writes = on;
ALTER TABLE shop.address RENAME COLUMN street TO lane;
DROP VIEW dw.person_query;
RESET walhouse.allow_writes;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
SELECT model, missing, unexpected, different FROM walhouse.verify('dw.person');
\set ECHO none
\set QUIET on
SET client_min_messages = error;
\o /dev/null
SELECT walhouse.drop_model(relation) FROM (SELECT relation FROM walhouse.model ORDER BY kind = 'fact' DESC, model_id DESC) m;
SELECT handfeed.remove('shop');
\o
DROP SCHEMA dw, handfeed CASCADE;
