-- What must hold in any star schema, seen on one that has been through updates, deletes, returns, key changes and facts
-- before their dimension rows; and proof that each rule can fail.
CREATE TABLE public.person (id int PRIMARY KEY, name text, city text);
CREATE TABLE public.visit (id int PRIMARY KEY, person int, at timestamptz, pages int);
INSERT INTO public.person SELECT i, 'name ' || i, 'city ' || i % 3 FROM generate_series(1, 30) AS i;
INSERT INTO public.visit SELECT i, nullif(1 + i % 34, 1), timestamptz '2026-01-01 00:00+00' + i * interval '5 hours', i % 7 FROM generate_series(1, 200) AS i;
CREATE PUBLICATION web FOR TABLE public.person, public.visit;

SELECT format('CREATE SERVER web FOREIGN DATA WRAPPER walhouse OPTIONS (host %L, port %L, dbname %L)',
    split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()) \gexec
SELECT format('CREATE USER MAPPING FOR CURRENT_USER SERVER web OPTIONS (user %L)', current_user) \gexec
CALL walhouse.create_feed('web', server => 'web', publication => 'web');
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.date', '2025-01-01', '2027-12-31') \g /dev/null
SELECT walhouse.create_dimension('dw.person', $$ SELECT id, name, city FROM web.person $$, key => '{id}', scd => '{"*": 2, "name": 1}') \g /dev/null
SELECT walhouse.create_fact('dw.visit', $$ SELECT id, at, person, pages FROM web.visit $$, key => '{id}', event_time => 'at',
    dimensions => '{"person_sk": "dw.person(person)", "date_sk": "dw.date(at)"}') \g /dev/null
CALL walhouse.run('web');

UPDATE public.person SET city = 'Rome' WHERE id % 2 = 0;
UPDATE public.person SET city = 'Paris', name = upper(name) WHERE id % 3 = 0;
DELETE FROM public.person WHERE id IN (5, 6, 7);
INSERT INTO public.person VALUES (6, 'Back', 'Again'), (31, 'Late', 'Comer');
UPDATE public.person SET id = 107 WHERE id = 8;
INSERT INTO public.visit SELECT 1000 + i, 1 + i, now() - interval '1 second', 0 FROM generate_series(1, 40) AS i;
UPDATE public.visit SET at = at - interval '2 months' WHERE id % 10 = 0;
DELETE FROM public.visit WHERE id % 13 = 0;
CALL walhouse.run('web');

-- What is planted below is written behind the house's back.
SET walhouse.allow_writes = on;
\ir lib/star_violations.sql
BEGIN;
SELECT plan(10);

SELECT is((SELECT string_agg(state, ' ') FROM walhouse.model), 'live live live', 'the models live');
SELECT is_empty('SELECT * FROM pg_temp.star_violations()', 'no rule is broken');
SELECT is_empty($$
    SELECT relation, v.* FROM walhouse.model CROSS JOIN LATERAL walhouse.verify(relation) AS v
    WHERE kind <> 'date' AND (missing, unexpected, different) <> (0, 0, 0)
$$, 'verify agrees');

-- Each fault is planted, seen, and taken back.
CREATE FUNCTION pg_temp.planted(fault text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    EXECUTE fault;
    SELECT string_agg(violation, ', ' ORDER BY violation) INTO seen FROM pg_temp.star_violations();
    RAISE EXCEPTION USING ERRCODE = 'P0099', MESSAGE = coalesce(seen, 'nothing');
EXCEPTION WHEN SQLSTATE 'P0099' THEN
    RETURN SQLERRM;
END $$;

SELECT alike(pg_temp.planted('UPDATE dw.person SET valid_to = ''infinity'' WHERE valid_to < ''infinity'''),
    '%a version overlaps the next%', 'an overlap is seen');
SELECT alike(pg_temp.planted('UPDATE dw.person SET is_current = true WHERE id = 6'), '%several current%', 'two current versions are seen');
SELECT alike(pg_temp.planted('UPDATE dw.person SET valid_from = ''2000-01-01'' WHERE valid_from = ''-infinity'' AND person_sk > 0'),
    '%does not begin at -infinity%', 'a late first version is seen');
SELECT alike(pg_temp.planted('DELETE FROM dw.person WHERE id = 10'), '%person_sk does not resolve in dw.person%', 'a fact in the air is seen');
SELECT alike(pg_temp.planted('DELETE FROM dw.person WHERE id = 10 AND is_current'), '%has no current version%', 'a lost current version is seen');
SELECT alike(pg_temp.planted('UPDATE dw.person SET valid_to = ''infinity'', is_current = true WHERE id = 5'),
    '%is of no key of the query%', 'a deleted key that is current is seen');
SELECT alike(pg_temp.planted('UPDATE dw.visit SET load_id = -5 WHERE id = 11'), '%names no load%', 'a row without a load is seen');

SELECT * FROM finish();
ROLLBACK;

SELECT walhouse.drop_model('dw.visit') \g /dev/null
SELECT walhouse.drop_model('dw.person') \g /dev/null
SELECT walhouse.drop_model('dw.date') \g /dev/null
CALL walhouse.drop_feed('web');
DROP PUBLICATION web;
DROP SERVER web CASCADE;
DROP SCHEMA dw;
DROP TABLE public.person, public.visit;
