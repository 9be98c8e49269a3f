-- Outriggers: the views of a dimension that refers to others, as they were and as they are.
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
CREATE TABLE shop.person (id int PRIMARY KEY, name text, country text, region int, boss int, since timestamptz, born date);
CREATE TABLE shop.region (country text, region bigint, name text, PRIMARY KEY (country, region));
CREATE TABLE shop.country (country text PRIMARY KEY, name text);
SELECT handfeed.add('shop', 'shop.' || t) FROM unnest(ARRAY['person', 'region', 'country']) t \g /dev/null
CREATE SCHEMA dw;
CREATE FUNCTION dw.at(t timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT handfeed.commit('shop', t); SELECT handfeed.reach('shop') $$;
SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-12-31') \g /dev/null
SELECT walhouse.create_time_dimension('dw.time', 'hour') \g /dev/null
SELECT walhouse.create_dimension('dw.country', 'SELECT country, name FROM shop.country', '{country}') \g /dev/null
SELECT walhouse.create_dimension('dw.region', 'SELECT country, region, name FROM shop.region', '{country,region}', '{"*": 2}',
    outriggers => '{"country_sk": "dw.country(country)"}') \g /dev/null
SELECT walhouse.create_dimension('dw.country_now', 'SELECT country, name FROM shop.country', '{country}', '{"*": 1}', 'ignore', false) \g /dev/null
SELECT walhouse.create_fact('dw.fact', 'SELECT id, since FROM shop.person', '{id}', 'since') \g /dev/null
\set QUIET off

-- What a declaration refuses; what it made is gone again.
\set person 'SELECT id, name, country, region, boss, since, born FROM shop.person'
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '[1]');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"country_sk": 1}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"country_sk": "dw.country"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"country_sk": "dw.county(country)"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"country_sk": "dw.fact(id)"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"country_sk": "dw.country(county)"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"region_sk": "dw.region(country)"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"country_sk": "dw.country(born)"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"born": "dw.date(born)"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"valid_from": "dw.date(born)"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"load_id": "dw.date(born)"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"": "dw.date(born)"}');
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => NULL);
SELECT to_regclass('dw.bad'), to_regclass('dw.bad_as_was'), (SELECT count(*) FROM walhouse.model WHERE relation::text = 'dw.bad') AS models;
SELECT handfeed.make('other', 'UTC') \g /dev/null
CREATE TABLE other.country (country text PRIMARY KEY);
SELECT handfeed.add('other', 'other.country') \g /dev/null
SELECT walhouse.create_dimension('dw.elsewhere', 'SELECT country FROM other.country', '{country}') \g /dev/null
SELECT walhouse.create_dimension('dw.bad', :'person', '{id}', outriggers => '{"country_sk": "dw.elsewhere(country)"}');

-- A composite key, itself, dates and times of day, and dimensions that keep no versions; columns whose names meet.
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name, country, region, boss, since, born, name AS home_name FROM shop.person', '{id}',
    '{"*": 2, "name": 1, "home_name": 1}', 'tombstone',
    outriggers => '{"home_sk": "dw.region(country, region)", "boss_sk": "dw.person(boss)", "born_sk": "dw.date(born)",
                    "since_date_sk": "dw.date(since)", "since hour": "dw.time(since)", "now_sk": "dw.country_now(country)"}');
SELECT walhouse.create_dimension('dw.mover', 'SELECT id, country FROM shop.person', '{id}', '{"country": 3}', 'ignore',
    outriggers => '{"in_sk": "dw.country(country)", "left_sk": "dw.country(country_previous)"}') \g /dev/null
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dw.person_as_was'::regclass
    AND attname !~ '^(born|since_date|since hour)_[^d]' AND attname !~ '_day_';
SELECT array_agg(attname ORDER BY attnum) = (SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dw.person_as_is'::regclass) AS same_columns,
    bool_or(attname = 'load_id') AS has_load
FROM pg_attribute WHERE attrelid = 'dw.person_as_was'::regclass;
SELECT purpose, number, column_name, dimension_id::text <> '' AS has_id, key FROM walhouse.dimension_reference
WHERE model_id = (SELECT model_id FROM walhouse.model WHERE relation = 'dw.person'::regclass) ORDER BY number;
SELECT model_id <> 0 AS has_model, purpose, view FROM walhouse.model_view v WHERE view::text LIKE 'dw.person%' ORDER BY purpose;

CALL walhouse.build('dw.country'); CALL walhouse.build('dw.region'); CALL walhouse.build('dw.country_now'); CALL walhouse.build('dw.person'); CALL walhouse.build('dw.mover');
INSERT INTO shop.country VALUES ('DE', 'Germany'), ('IT', 'Italy');
INSERT INTO shop.region VALUES ('DE', 1, 'Ulm'), ('IT', 1, 'Rom');
SELECT dw.at('2026-01-01') \g /dev/null
-- Ida's key is not there, Kim has a NULL in it.
INSERT INTO shop.person VALUES (1, 'Ann', 'DE', 1, NULL, '2026-01-31 23:30+00', '2026-05-05'), (2, 'Bob', 'IT', 1, 1, NULL, '2020-01-01'),
    (3, 'Ida', 'FR', 1, 9, '2026-02-01 10:30+00', 'infinity'), (4, 'Kim', 'DE', NULL, 2, NULL, NULL);
SELECT dw.at('2026-01-02') \g /dev/null
CALL walhouse.load('shop');
UPDATE shop.region SET name = 'Roma' WHERE country = 'IT';
SELECT dw.at('2026-01-03') \g /dev/null
UPDATE shop.country SET name = 'Italia' WHERE country = 'IT';
SELECT dw.at('2026-01-04') \g /dev/null
UPDATE shop.person SET since = '2026-03-01' WHERE id = 2;
SELECT dw.at('2026-01-05') \g /dev/null
UPDATE shop.country SET name = 'Repubblica' WHERE country = 'IT';
UPDATE shop.region SET name = 'Neu-Ulm' WHERE country = 'DE';
SELECT dw.at('2026-01-06') \g /dev/null
UPDATE shop.person SET country = 'DE' WHERE id = 2;
DELETE FROM shop.person WHERE id = 4;
SELECT dw.at('2026-01-07') \g /dev/null
DELETE FROM shop.region WHERE country = 'DE';
SELECT dw.at('2026-01-08') \g /dev/null
UPDATE shop.person SET boss = 3 WHERE id = 1;
SELECT dw.at('2026-01-09') \g /dev/null
CALL walhouse.load('shop');

-- Bob lived in Rom in Italy; when his second version began it was Roma, and since a day Italia, which Roma's own version did not know
-- when it began. Then he was in Neu-Ulm. Today all that was Repubblica.
SELECT id, valid_from::date AS "from", is_current AS cur, country, home_name_2 AS home, home_country_name AS in, now_name, boss_name AS boss
FROM dw.person_as_was ORDER BY id, valid_from;
SELECT id, valid_from::date AS "from", is_current AS cur, country, home_name_2 AS home, home_country_name AS in, now_name, boss_name AS boss
FROM dw.person_as_is ORDER BY id, valid_from;
SELECT w.id, w.country, w.country_previous AS left, w.in_name, w.left_name, i.left_name AS left_now FROM dw.mover_as_was w JOIN dw.mover_as_is i USING (mover_sk) WHERE mover_sk > 0 ORDER BY id;
-- The surrogate keys: those of NULL, of what is not there, of what the calendar has not, and of rows that stand for no member.
SELECT person_sk < 0 AS other, id, valid_from::date AS "from", CASE WHEN home_sk > 0 THEN 1 ELSE home_sk END AS home, CASE WHEN boss_sk > 0 THEN 1 ELSE boss_sk END AS boss,
    born_sk AS born, since_date_sk AS since, "since hour" AS hour, CASE WHEN now_sk > 0 THEN 1 ELSE now_sk END AS now, CASE WHEN home_country_sk > 0 THEN 1 ELSE home_country_sk END AS country
FROM dw.person_as_was ORDER BY person_sk < 0, id, valid_from, person_sk;
-- They are those of the versions themselves; Ann's last one began when her region was gone, and has its last one.
SELECT count(*) AS rows, count(*) FILTER (WHERE r.country = p.country AND r.region = p.region AND r.valid_from <= p.valid_from AND p.valid_from < r.valid_to) AS held,
    count(*) FILTER (WHERE r.name IS NOT DISTINCT FROM p.home_name_2) AS named
FROM dw.person_as_was p JOIN dw.region r ON r.region_sk = p.home_sk WHERE p.home_sk > 0;
SELECT (SELECT count(*) FROM dw.person) AS dimension, (SELECT count(*) FROM dw.person_as_was) AS was, (SELECT count(*) FROM dw.person_as_is) AS "is";
-- Region's own view: its country when the region's version began.
SELECT country, region, name, country_name FROM dw.region_as_was WHERE region_sk > 0 ORDER BY country, valid_from;

-- A query that names no outrigger reads none; one that names some reads these.
CREATE FUNCTION dw.reads(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    RETURN (SELECT string_agg(r #>> '{}', ', ' ORDER BY r #>> '{}') FROM jsonb_path_query(plan, '$.**."Relation Name"') r);
END $$;
SELECT dw.reads('SELECT id, name, valid_from FROM dw.person_as_was');
SELECT dw.reads('SELECT id, left_name FROM dw.mover_as_was');
SELECT dw.reads('SELECT id, home_country_name FROM dw.person_as_is');

-- Builds make new surrogate keys, and the views follow.
CREATE TABLE before AS SELECT to_jsonb(p) - 'person_sk' - 'home_sk' - 'boss_sk' - 'now_sk' - 'home_country_sk' AS row, person_sk < 0 AS other FROM dw.person_as_was p;
CALL walhouse.build('dw.country'); CALL walhouse.build('dw.region'); CALL walhouse.build('dw.country_now');
SELECT relation, state FROM walhouse.model WHERE relation::text IN ('dw.person', 'dw.mover', 'dw.region') ORDER BY relation::text;
CALL walhouse.build('dw.person');
SELECT count(*) AS differ FROM (TABLE before EXCEPT SELECT to_jsonb(p) - 'person_sk' - 'home_sk' - 'boss_sk' - 'now_sk' - 'home_country_sk', person_sk < 0 FROM dw.person_as_was p) x;
SELECT count(*) AS unmatched FROM dw.person_as_was p LEFT JOIN dw.region r ON r.region_sk = p.home_sk WHERE p.home_sk IS NOT NULL AND r.region_sk IS NULL;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- A fact's inferred member has no attributes, and so the unknown outrigger.
SELECT walhouse.create_fact('dw.visit', 'SELECT id, boss, since FROM shop.person', '{id}', 'since', '{"boss_sk": "dw.person(boss)"}') \g /dev/null
CALL walhouse.build('dw.visit');
SELECT p.id, p.is_inferred, p.home_sk, p.home_name_2, p.born_sk FROM dw.visit f JOIN dw.person_as_is p ON p.person_sk = f.boss_sk ORDER BY f.id;

-- Rights: the views read as their owner, who must be allowed to, along chains too.
CREATE ROLE walhouse_test_outrigger;
GRANT USAGE ON SCHEMA shop, shop_log TO walhouse_test_outrigger;
GRANT USAGE, CREATE ON SCHEMA dw TO walhouse_test_outrigger;
GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO walhouse_test_outrigger;
SET ROLE walhouse_test_outrigger;
SELECT walhouse.create_dimension('dw.mine', :'person', '{id}', outriggers => '{"home_sk": "dw.region(country, region)"}');
RESET ROLE;
GRANT SELECT ON dw.region TO walhouse_test_outrigger;
SET ROLE walhouse_test_outrigger;
SELECT walhouse.create_dimension('dw.mine', :'person', '{id}', outriggers => '{"home_sk": "dw.region(country, region)"}');
RESET ROLE;
GRANT SELECT ON dw.country TO walhouse_test_outrigger;
SET ROLE walhouse_test_outrigger;
SELECT walhouse.create_dimension('dw.mine', :'person', '{id}', outriggers => '{"home_sk": "dw.region(country, region)"}');
CALL walhouse.build('dw.mine');
SELECT id, home_country_name FROM dw.mine_as_is WHERE id = 1 AND is_current;
RESET ROLE;
SELECT relname, relowner::regrole FROM pg_class WHERE relname LIKE 'mine\_%' AND relkind = 'v' ORDER BY 1;

-- A dimension is not dropped before those that refer to it, and its views go with it; itself it does not hold.
SELECT walhouse.drop_model('dw.country');
SELECT walhouse.drop_model('dw.date');
SELECT walhouse.drop_model('dw.region');
SELECT walhouse.drop_model('dw.mine');
SELECT walhouse.drop_model('dw.visit'), walhouse.drop_model('dw.mover'), walhouse.drop_model('dw.person'), walhouse.drop_model('dw.region'), walhouse.drop_model('dw.country'), walhouse.drop_model('dw.date');
SELECT count(*) AS refs FROM walhouse.dimension_reference;
SELECT count(*) AS views FROM pg_class WHERE relname LIKE '%\_as\_%' AND relnamespace = 'dw'::regnamespace AND relname NOT LIKE 'fact%';

SET client_min_messages = warning;
SELECT walhouse.drop_model('dw.fact'), walhouse.drop_model('dw.country_now'), walhouse.drop_model('dw.elsewhere'), walhouse.drop_model('dw.time') \g /dev/null
DROP OWNED BY walhouse_test_outrigger; DROP ROLE walhouse_test_outrigger;
DROP TABLE before;
SELECT handfeed.remove('shop'), handfeed.remove('other') \g /dev/null
DROP SCHEMA dw CASCADE;
DROP SCHEMA handfeed CASCADE;
