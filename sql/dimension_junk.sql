-- Junk dimensions: the combinations of a few columns that facts have met.
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
CREATE TYPE public.channel AS ENUM ('web', 'shop');
CREATE TABLE shop.sale (id int PRIMARY KEY, channel text, gift boolean, rate numeric, "way in" public.channel, broken boolean, sold date);
SELECT handfeed.add('shop', 'shop.sale') \g /dev/null
CREATE SCHEMA dw;
\set QUIET off
SELECT walhouse.create_junk_dimension('dw.flags', '{channel text,gift boolean,rate numeric,"\"way in\" public.channel"}');
SELECT walhouse.create_fact('dw.sale', 'SELECT id, channel, gift, rate, "way in", broken, sold FROM shop.sale', '{id}', 'sold',
    '{"flags_sk": {"dimension": "dw.flags(channel, gift, rate, \"way in\")", "error_if": "broken"}}', 'year');
SELECT walhouse.create_fact('dw.other', 'SELECT id, channel, gift, rate, "way in", sold FROM shop.sale WHERE gift', '{id}', 'sold',
    '{"flags_sk": "dw.flags(channel, gift, rate, \"way in\")"}', 'year');
INSERT INTO shop.sale VALUES (1, 'mail', true, 1.0, 'web', false, '2026-01-01'), (2, 'mail', true, 1.00, 'web', NULL, '2026-01-01'),
    (3, 'mail', true, 1, 'shop', false, '2026-01-01'), (4, NULL, NULL, NULL, NULL, false, '2026-01-01'), (5, '', NULL, NULL, NULL, false, '2026-01-01');
SELECT handfeed.commit('shop', '2026-01-02'), handfeed.reach('shop') \g /dev/null
CALL walhouse.build('dw.sale'); CALL walhouse.build('dw.other');
SELECT count(*), count(DISTINCT combination) FROM dw.flags;
SELECT id, flags_channel, flags_gift, flags_rate, "flags_way in", min(id) OVER (PARTITION BY flags_sk) AS same_as FROM dw.sale_as_was ORDER BY id;
-- Combinations come with facts; those that are there stay, whoever meets them.
INSERT INTO shop.sale VALUES (6, 'mail', true, 1.000, 'web', false, '2026-01-01'), (7, 'NaN', false, 'NaN', NULL, false, '2026-01-01'), (8, 'x', true, 0, NULL, true, '2026-01-01');
UPDATE shop.sale SET gift = false WHERE id = 1;
DELETE FROM shop.sale WHERE id = 3;
SELECT handfeed.commit('shop', '2026-01-03'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT id, flags_channel, flags_gift, flags_rate, "flags_way in", min(id) OVER (PARTITION BY flags_sk) AS same_as FROM dw.sale_as_was ORDER BY id;
SELECT (SELECT count(*) FROM dw.other_as_is o JOIN dw.sale s USING (id) WHERE o.flags_sk = s.flags_sk) AS shared, count(*) AS members FROM dw.flags WHERE flags_sk > 0;
CALL walhouse.build('dw.sale');
SELECT count(*) AS members FROM dw.flags WHERE flags_sk > 0;
SELECT model, expected = found AS same, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
BEGIN;
SET LOCAL walhouse.allow_writes = on;
UPDATE dw.flags SET channel = 'fax' WHERE channel = 'NaN';
SELECT model, missing, unexpected, different FROM walhouse.verify('dw.flags');
DELETE FROM dw.flags WHERE channel = 'fax';
SELECT model, missing, unexpected, different FROM walhouse.verify('dw.sale');
ROLLBACK;

-- Dates are found whatever the session's DateStyle; text is told apart by its bytes, whatever its collation.
CREATE COLLATION public.nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE shop.call (id int PRIMARY KEY, line text COLLATE public.nocase, called date);
SELECT handfeed.add('shop', 'shop.call') \g /dev/null
SELECT walhouse.create_junk_dimension('dw.day', '{called date,line text}') \g /dev/null
SELECT walhouse.create_dimension('dw.call', 'SELECT id, called, line FROM shop.call', '{id}', outriggers => '{"day_sk": "dw.day(called, line)"}') \g /dev/null
SELECT walhouse.create_fact('dw.calls', 'SELECT id, line, called, date ''2026-01-13'' AS at FROM shop.call', '{id}', 'at', '{"day_sk": "dw.day(called, line)"}', 'year') \g /dev/null
CALL walhouse.build('dw.call'); CALL walhouse.build('dw.calls');
INSERT INTO shop.call VALUES (1, 'Fax', 'infinity'), (2, 'fax', 'infinity'), (3, 'FAX', '-infinity'), (4, NULL, '2026-01-13'), (5, 'fax', 'infinity');
SELECT handfeed.commit('shop', '2026-01-04'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SET datestyle = 'German';
SELECT count(*) AS calls, count(day_sk) AS days, count(DISTINCT day_sk) AS distinct, count(*) FILTER (WHERE day_called = called AND day_line IS NOT DISTINCT FROM line COLLATE "C") AS same
FROM dw.call_as_is WHERE id > 0;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
SELECT count(*) FROM walhouse.as_known(NULL::dw.calls, at => now()) k JOIN dw.calls c USING (id, at, day_sk);
RESET datestyle;

-- What is refused.
SELECT walhouse.create_junk_dimension('dw.bad', '{}');
SELECT walhouse.create_junk_dimension('dw.bad', '{channel}');
SELECT walhouse.create_junk_dimension('dw.bad', '{channel nonsense}');
SELECT walhouse.create_junk_dimension('dw.bad', '{at timestamptz}');
SELECT walhouse.create_junk_dimension('dw.bad', '{a int,a text}');
SELECT walhouse.create_junk_dimension('dw.bad', '{load_id int}');
SELECT walhouse.create_fact('dw.bad', 'SELECT id, channel, sold FROM shop.sale', '{id}', 'sold', '{"flags_sk": "dw.flags(channel)"}');
SELECT walhouse.drop_model('dw.flags');

\set QUIET on
SELECT walhouse.drop_model('dw.calls'), walhouse.drop_model('dw.call'), walhouse.drop_model('dw.day'),
    walhouse.drop_model('dw.sale'), walhouse.drop_model('dw.other'), walhouse.drop_model('dw.flags') \g /dev/null
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
DROP TYPE public.channel;
DROP COLLATION public.nocase;
