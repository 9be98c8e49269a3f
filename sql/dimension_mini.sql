-- Mini-dimensions: the combinations that members have had, the history of which one when, and facts with both keys.
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
CREATE COLLATION public.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE shop.person (id int PRIMARY KEY, name text, band text COLLATE public.nocase, rate numeric(6, 3), since date, score real);
CREATE TABLE shop.sale (id int PRIMARY KEY, person int, cash boolean, broken boolean, sold timestamptz, amount numeric);
CREATE TABLE shop.club (person int, club int, PRIMARY KEY (person, club));
SELECT handfeed.add('shop', 'shop.' || t) FROM unnest(ARRAY['person', 'sale', 'club']) t \g /dev/null
CREATE SCHEMA dw;
CREATE FUNCTION dw.at(t timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT handfeed.commit('shop', t); SELECT handfeed.reach('shop') $$;
\set QUIET off

-- What a declaration refuses; what it made is gone again.
SELECT walhouse.create_mini_dimension('dw.bad', 'SELECT id FROM shop.person', '{id}');
SELECT walhouse.create_mini_dimension('dw.bad', 'SELECT id, band FROM shop.person', '{band}');
SELECT walhouse.create_mini_dimension('dw.bad', 'SELECT id, band, score FROM shop.person', '{id}');
SELECT walhouse.create_mini_dimension('dw.bad', 'SELECT id, band AS combination FROM shop.person', '{id}');
SELECT walhouse.create_mini_dimension('dw.bad', 'SELECT id, band AS bad_sk FROM shop.person', '{id}');
SELECT walhouse.create_mini_dimension('dw.bad', 'SELECT id, band AS bad_history_sk FROM shop.person', '{id}');
SELECT walhouse.create_mini_dimension('dw.bad', 'SELECT id, band AS valid_to FROM shop.person', '{id}');
CREATE TABLE dw.bad_history (x int);
SELECT walhouse.create_mini_dimension('dw.bad', 'SELECT id, band FROM shop.person', '{id}');
DROP TABLE dw.bad_history;
SELECT to_regclass('dw.bad'), (SELECT count(*) FROM walhouse.model) AS models;

-- Two models: the combinations, without a feed, and their history.
SELECT walhouse.create_mini_dimension('dw.profile', 'SELECT id, band, rate, since, score > 0.5 AS is_good FROM shop.person', '{id}');
SELECT relation, kind, feed_id IS NULL AS no_feed, query, key, state FROM walhouse.model ORDER BY model_id;
SELECT string_agg(format('%s %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dw.profile'::regclass AND attnum > 0;
SELECT string_agg(format('%s %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dw.profile_history'::regclass AND attnum > 0;
SELECT walhouse.create_fact('dw.bad', 'SELECT id, person, sold FROM shop.sale', '{id}', 'sold', '{"profile_sk": "dw.profile(person, id)"}');
SELECT walhouse.create_fact('dw.bad', 'SELECT id, person, sold, amount AS profile_history_sk FROM shop.sale', '{id}', 'sold', '{"profile_sk": "dw.profile(person)"}');
SELECT walhouse.create_fact('dw.sale', 'SELECT id, person, cash, broken, sold, amount FROM shop.sale', '{id}', 'sold',
    '{"profile_sk": {"dimension": "dw.profile(person)", "not_applicable_if": "cash", "error_if": "broken"}}');
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dw.sale'::regclass AND attnum > 0;
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dw.sale_as_was'::regclass;
SELECT role, column_name, d.relation, f.key, history_role FROM walhouse.fact_dimension f JOIN walhouse.model d ON d.model_id = dimension_id ORDER BY role;
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'dw.sale'::regclass AND NOT indisunique;

-- Built from a state: four members, three combinations; text is told apart by its bytes.
INSERT INTO shop.person VALUES (1, 'Ann', 'low', 1.0, '2020-01-01', 0.1), (2, 'Bob', 'low', 1.00, '2020-01-01', 0.2), (3, 'Cy', 'LOW', 1, '2020-01-01', 0.3),
    (4, 'Di', NULL, NULL, 'infinity', NULL);
SELECT dw.at('2026-01-01') \g /dev/null
CALL walhouse.build('dw.profile'); CALL walhouse.build('dw.sale');
SELECT band, rate, since, is_good FROM dw.profile WHERE profile_sk > 0 ORDER BY band COLLATE "C";
SELECT count(*) FILTER (WHERE profile_sk < 0) AS others FROM dw.profile;

-- Sales as of their time; a NULL key, flags, and a person who is not there yet.
INSERT INTO shop.sale VALUES (1, 1, false, false, '2026-01-01 12:00+00', 10), (2, 4, NULL, NULL, '2026-01-01 12:00+00', 20), (3, NULL, false, false, '2026-01-01 12:00+00', 30),
    (4, 1, true, false, '2026-01-01 12:00+00', 40), (5, 1, true, true, '2026-01-01 12:00+00', 50), (6, 9, false, false, '2026-01-01 12:00+00', 60), (7, 9, false, false, '2025-07-01', 70);
SELECT dw.at('2026-01-02') \g /dev/null
-- Names are no business of a profile.
UPDATE shop.person SET name = 'Anna' WHERE id = 1;
SELECT dw.at('2026-01-03') \g /dev/null
UPDATE shop.person SET band = 'high', score = 0.9 WHERE id IN (1, 2);
SELECT dw.at('2026-01-04') \g /dev/null
INSERT INTO shop.sale VALUES (8, 1, false, false, '2026-01-03 12:00+00', 80), (9, 1, false, false, '2026-01-04 12:00+00', 90), (10, 2, false, false, '2026-01-04 12:00+00', 100),
    (11, 1, false, false, '2026-02-01', 110);
SELECT dw.at('2026-01-05') \g /dev/null
CALL walhouse.load('shop');
SELECT id, person, profile_band, profile_rate, profile_since, profile_is_good, CASE WHEN profile_sk < 0 THEN profile_sk END AS sk, CASE WHEN profile_history_sk < 0 THEN profile_history_sk END AS history
FROM dw.sale_as_was ORDER BY id;
SELECT count(*) AS combinations, count(*) FILTER (WHERE band IS NULL AND rate IS NULL AND since IS NULL AND is_good IS NULL) AS nothing FROM dw.profile WHERE profile_sk > 0;
SELECT dimension, key FROM walhouse.inferred_member;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
SELECT max(load_id) AS early FROM walhouse.load \gset

-- Person 9 comes: the history's surrogate key stays, and the sales get the combination, in the same load.
SELECT id, profile_history_sk AS history_before FROM dw.sale WHERE id = 6 \gset sale_
INSERT INTO shop.person VALUES (9, 'Ida', 'high', 1, '2020-01-01', 0.8);
SELECT dw.at('2026-01-06') \g /dev/null
UPDATE shop.person SET band = 'mid' WHERE id = 9;
SELECT dw.at('2026-01-07') \g /dev/null
CALL walhouse.load('shop');
SELECT id, profile_band, profile_history_sk = :sale_history_before AS stays FROM dw.sale_as_was WHERE person = 9 ORDER BY id;
SELECT inserted, updated FROM walhouse.load_model WHERE model_id = (SELECT model_id FROM walhouse.model WHERE relation = 'dw.sale'::regclass) ORDER BY load_id DESC LIMIT 1;
SELECT count(*) AS moved FROM walhouse.moved;
CREATE VIEW dw.wrong AS SELECT s.id FROM dw.sale s JOIN dw.profile p USING (profile_sk) JOIN dw.profile_history h USING (profile_history_sk)
WHERE (p.band COLLATE "C", p.rate, p.since, p.is_good) IS DISTINCT FROM (h.band COLLATE "C", h.rate, h.since, h.is_good) OR (profile_sk < 0) <> (profile_history_sk < 0);
SELECT count(*) AS wrong FROM dw.wrong;

-- Sale 11 lies ahead of the clock: each change of the person's profile gives it both keys, until its time has passed.
SELECT profile_band FROM dw.sale_as_was WHERE id = 11;
UPDATE shop.person SET band = 'vip' WHERE id = 1;
SELECT dw.at('2026-01-08') \g /dev/null
CALL walhouse.load('shop');
SELECT id, profile_band FROM dw.sale_as_was WHERE person = 1 AND NOT cash ORDER BY id;
DELETE FROM shop.person WHERE id = 1;
SELECT dw.at('2026-02-02') \g /dev/null
CALL walhouse.load('shop');
INSERT INTO shop.person VALUES (1, 'Ann', 'back', 1, NULL, NULL);
INSERT INTO shop.sale VALUES (12, 1, false, false, '2026-02-02 12:00+00', 120);
SELECT dw.at('2026-02-03') \g /dev/null
CALL walhouse.load('shop');
SELECT w.id, w.profile_band AS was, i.profile_band AS "is" FROM dw.sale_as_was w JOIN dw.sale_as_is i USING (id) WHERE w.person IN (1, 9) OR w.person IS NULL ORDER BY id;
SELECT count(*) AS rows, sum(amount), (SELECT count(*) FROM dw.wrong) AS wrong FROM dw.sale_as_is;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- What was known: before person 9 came the profile was nothing, though the row has the same version now.
SELECT k.id, p.band, p.profile_sk > 0 AS has_combination, k.profile_history_sk = s.profile_history_sk AS same_version
FROM walhouse.as_known(NULL::dw.sale, load => :early) k JOIN dw.profile p USING (profile_sk) JOIN dw.sale s USING (id) ORDER BY id;

-- A fact that is stopped while its dimension goes on is right where it stands, and follows later.
SELECT walhouse.create_fact('dw.quotient', 'SELECT id, person, sold, 1 / amount AS part FROM shop.sale', '{id}', 'sold', '{"profile_sk": "dw.profile(person)"}') \g /dev/null
CALL walhouse.build('dw.quotient');
INSERT INTO shop.sale VALUES (13, 8, false, false, '2026-02-03 12:00+00', 130);
SELECT dw.at('2026-02-04') \g /dev/null
CALL walhouse.load('shop');
INSERT INTO shop.sale VALUES (14, 8, false, false, '2026-02-03 12:00+00', 0);
INSERT INTO shop.person VALUES (8, 'Eve', 'low', 1, '2020-01-01', 0.1);
SELECT dw.at('2026-02-05') \g /dev/null
CALL walhouse.load('shop');
SELECT relation, state FROM walhouse.model WHERE relation::text IN ('dw.sale', 'dw.quotient') ORDER BY relation::text;
SELECT (SELECT profile_band FROM dw.sale_as_was WHERE id = 13) AS sale, (SELECT profile_band FROM dw.quotient_as_was WHERE id = 13) AS quotient, (SELECT count(*) FROM walhouse.moved) AS moved;
SELECT model, missing, unexpected, different FROM walhouse.verify('dw.quotient');
UPDATE shop.sale SET amount = 1 WHERE id = 14;
SELECT dw.at('2026-02-06') \g /dev/null
CALL walhouse.load('shop');
SELECT id, profile_band FROM dw.quotient_as_was WHERE person = 8 ORDER BY id;
SELECT model, missing, unexpected, different FROM walhouse.verify('dw.quotient');

-- A fact may refer to the history alone; the member that it infers has a combination when a mini-dimension asks for it.
SELECT walhouse.create_fact('dw.direct', 'SELECT id, id + 100 AS person, sold FROM shop.sale', '{id}', 'sold', '{"profile_sk": "dw.profile_history(person)"}') \g /dev/null
CALL walhouse.build('dw.direct');
INSERT INTO shop.sale VALUES (15, 101, false, false, '2026-02-05 12:00+00', 150);
SELECT dw.at('2026-02-07') \g /dev/null
CALL walhouse.load('shop');
SELECT s.id, s.profile_band, s.profile_sk > 0 AS has_combination FROM dw.sale_as_was s JOIN dw.direct d ON d.profile_sk = s.profile_history_sk WHERE s.id = 15;

-- A mini-dimension as an outrigger: a customer's present profile is type 5. And as a bridge's member.
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name FROM shop.person', '{id}', '{"*": 1}', outriggers => '{"profile_sk": "dw.profile(id)"}') \g /dev/null
SELECT walhouse.create_bridge('dw.club', 'SELECT person, club FROM shop.club', '{person,club}', '{"profile_sk": "dw.profile(person)"}') \g /dev/null
CALL walhouse.build('dw.person'); CALL walhouse.build('dw.club');
INSERT INTO shop.club VALUES (2, 1), (9, 1), (77, 1);
SELECT dw.at('2026-02-08') \g /dev/null
CALL walhouse.load('shop');
UPDATE shop.person SET band = 'top' WHERE id = 2;
SELECT dw.at('2026-02-09') \g /dev/null
CALL walhouse.load('shop');
SELECT id, name, w.profile_band AS was, i.profile_band AS "is" FROM dw.person_as_was w JOIN dw.person_as_is i USING (person_sk, id, name) WHERE person_sk > 0 AND id < 100 ORDER BY id, w.valid_from;
SELECT m.person, p.band, m.valid_from::date AS "from", m.valid_to::date AS "to" FROM dw.club_members m LEFT JOIN dw.profile p USING (profile_sk) ORDER BY m.person, m.valid_from;

-- A build of the history makes its surrogate keys anew, and the facts after it; combinations stay.
SELECT count(*) AS wrong FROM dw.wrong;
DROP VIEW dw.wrong;
CREATE TABLE before AS SELECT id, profile_sk, profile_band FROM dw.sale_as_was;
CALL walhouse.build('dw.profile_history');
SELECT relation, state FROM walhouse.model WHERE state <> 'live' ORDER BY relation::text;
CALL walhouse.build('dw.sale'); CALL walhouse.build('dw.quotient'); CALL walhouse.build('dw.direct');
SELECT count(*) AS differ FROM (TABLE before EXCEPT SELECT id, profile_sk, profile_band FROM dw.sale_as_was) x;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
SELECT v.model, missing, unexpected, different FROM (VALUES ('dw.profile'::regclass), ('dw.profile_history'), ('dw.sale')) m (model) CROSS JOIN LATERAL walhouse.verify(m.model, 3) v ORDER BY v.model::text;
-- What a mistake would leave.
BEGIN;
SET LOCAL walhouse.allow_writes = on;
UPDATE dw.profile SET band = 'oops' WHERE band COLLATE "C" = 'LOW';
SELECT model, missing, unexpected, different FROM walhouse.verify('dw.profile');
DELETE FROM dw.profile WHERE band COLLATE "C" = 'oops';
SELECT model, missing, unexpected, different FROM walhouse.verify('dw.profile');
UPDATE dw.sale SET profile_sk = (SELECT min(profile_sk) FROM dw.profile WHERE profile_sk > 0) WHERE id = 12;
SELECT model, missing, unexpected, different FROM walhouse.verify('dw.sale');
SELECT v.model, missing, unexpected, different FROM (VALUES ('dw.profile'::regclass), ('dw.sale')) m (model) CROSS JOIN LATERAL walhouse.verify(m.model, 1000) v ORDER BY v.model::text;
ROLLBACK;

-- Who refers to it may read both; neither goes before the facts, the history not before the combinations, and both go together.
CREATE ROLE walhouse_test_mini;
GRANT USAGE ON SCHEMA shop, shop_log TO walhouse_test_mini;
GRANT USAGE, CREATE ON SCHEMA dw TO walhouse_test_mini;
GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO walhouse_test_mini;
GRANT SELECT ON dw.profile TO walhouse_test_mini;
SET ROLE walhouse_test_mini;
SELECT walhouse.create_fact('dw.mine', 'SELECT id, person, sold FROM shop.sale', '{id}', 'sold', '{"profile_sk": "dw.profile(person)"}');
RESET ROLE;
GRANT SELECT ON dw.profile_history TO walhouse_test_mini;
SET ROLE walhouse_test_mini;
SELECT walhouse.create_fact('dw.mine', 'SELECT id, person, sold FROM shop.sale', '{id}', 'sold', '{"profile_sk": "dw.profile(person)"}');
SELECT walhouse.drop_model('dw.profile');
RESET ROLE;
INSERT INTO shop.sale VALUES (16, 66, false, false, '2026-02-09 12:00+00', 160);
SELECT dw.at('2026-02-10') \g /dev/null
CALL walhouse.build('dw.mine');
CALL walhouse.load('shop');
SELECT id, profile_band, profile_sk > 0 AS has_combination FROM dw.mine_as_is WHERE id IN (9, 16) ORDER BY id;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
SELECT walhouse.drop_model('dw.profile');
SELECT walhouse.drop_model('dw.profile_history');
SELECT walhouse.drop_model('dw.mine'), walhouse.drop_model('dw.sale'), walhouse.drop_model('dw.quotient'), walhouse.drop_model('dw.person'), walhouse.drop_model('dw.club');
SELECT walhouse.drop_model('dw.profile');
SELECT walhouse.drop_model('dw.direct');
SELECT walhouse.drop_model('dw.profile_history');
SELECT walhouse.drop_model('dw.profile');
SELECT count(*) AS models, (SELECT count(*) FROM walhouse.dimension_reference) AS refs, to_regclass('dw.profile') AS profile, to_regclass('dw.profile_history_query') AS query FROM walhouse.model;
-- A history that somebody dropped by hand does not hold the rest.
SELECT walhouse.create_mini_dimension('dw.band', 'SELECT id, band FROM shop.person', '{id}') \g /dev/null
SET walhouse.allow_writes = on;
DROP TABLE dw.band_history;
RESET walhouse.allow_writes;
SELECT walhouse.drop_model('dw.band');
SELECT count(*) AS models, to_regclass('dw.band') AS band, to_regclass('dw.band_history_query') AS query FROM walhouse.model;

\set QUIET on
DROP TABLE before;
DROP OWNED BY walhouse_test_mini; DROP ROLE walhouse_test_mini;
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
DROP COLLATION public.nocase;
