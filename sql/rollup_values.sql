-- Rollups of values of every kind, held after each load to PostgreSQL's own aggregates over the fact's rows: by text, which tells
-- images apart.  NaN, infinities, -0, scales, NULL, '', texts that look like something else, buckets at their edges; the least and
-- greatest value going away.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT handfeed.make('shop', 'Europe/Berlin');
CREATE SCHEMA dw;
CREATE TYPE dw.size AS ENUM ('small', 'big');
CREATE TABLE shop.t (id int PRIMARY KEY, at timestamptz, t text, b boolean, u uuid, d date, ts timestamp, other timestamptz, by bytea,
    i2 smallint, i4 int, i8 bigint, n numeric, n2 numeric(10,2), n_2 numeric(5,-2), f4 real, f8 float8, vc varchar(5), ch char(4),
    tc text COLLATE "C", tm time, j jsonb, iv interval, s dw.size, cents numeric(12,3));
SELECT handfeed.add('shop', 'shop.t');
SELECT walhouse.create_fact('dw.f', 'SELECT id, at, t, b, u, d, ts, other, by, i2, i4, i8, n, n2, n_2, f4, f8, vc, ch, tc, tm, j, iv,
    s, cents FROM shop.t', '{id}', 'at');
SELECT walhouse.create_rollup('dw.sums', 'dw.f', '{t}', '{"a_n": "count(*)", "c_i2": "count(i2)", "s_i2": "sum(i2)", "a_i2": "avg(i2)",
    "s_i4": "sum(i4)", "a_i4": "avg(i4)", "s_i8": "sum(i8)", "a_i8": "avg(i8)", "s_n": "sum(n)", "a_n2": "avg(n)", "s_n2": "sum(n2)", "a_nn": "avg(n2)",
    "s_n_2": "sum(n_2)", "a_n_2": "avg(n_2)", "s_cents": "sum(cents)", "c_j": "count(j)", "c_iv": "count(iv)", "c_f8": "count(f8)"}');
SELECT walhouse.create_rollup('dw.ends', 'dw.f', '{b}', '{"n1": "min(n)", "n2": "max(n)", "n3": "count(distinct n)", "m1": "min(n2)", "m2": "max(n2)",
    "f1": "min(f8)", "f2": "max(f8)", "f3": "count(distinct f8)", "r1": "min(f4)", "r2": "max(f4)", "v1": "min(vc)", "v2": "max(vc)",
    "h1": "min(ch)", "h2": "max(ch)", "h3": "count(distinct ch)", "t1": "min(tc)", "t2": "max(tc)", "x1": "min(t)", "x2": "max(t)", "x3": "count(distinct t)",
    "d1": "min(d)", "d2": "max(d)", "w1": "min(ts)", "w2": "max(other)", "e1": "min(s)", "e2": "max(s)", "tm1": "max(tm)", "i1": "min(i2)", "b3": "count(distinct b)",
    "by3": "count(distinct by)", "u3": "count(distinct u)"}', bucket => 'month');
SELECT walhouse.create_rollup('dw.groups', 'dw.f', '{t,b,u,d,by,vc,ch,tc,tm,s,i8,other}', '{"n": "count(*)", "total": "sum(i4)"}', bucket => 'none');
SELECT walhouse.create_rollup('dw.hours', 'dw.f', '{}', '{"n": "count(*)"}', bucket => 'hour', bucket_column => 'other'),
       walhouse.create_rollup('dw.local_hours', 'dw.f', '{}', '{"n": "count(*)"}', bucket => 'hour', bucket_column => 'ts'),
       walhouse.create_rollup('dw.weeks', 'dw.f', '{}', '{"n": "count(*)"}', bucket => 'week', bucket_column => 'd'),
       walhouse.create_rollup('dw.quarters', 'dw.f', '{}', '{"n": "count(*)"}', bucket => 'quarter', bucket_column => 'ts'),
       walhouse.create_rollup('dw.years', 'dw.f', '{}', '{"n": "count(*)"}', bucket => 'year', bucket_column => 'other'),
       walhouse.create_rollup('dw.days', 'dw.f', '{}', '{"n": "count(*)"}', bucket => 'day', bucket_column => 'd');
SELECT attname, format_type(atttypid, atttypmod), attcollation::regcollation FROM pg_attribute WHERE attrelid IN ('dw.sums'::regclass, 'dw.ends'::regclass)
    AND attnum > 0 AND attname NOT IN ('period_start', 'load_id', 'wh_key', 'wh_state') ORDER BY attrelid, attnum;

-- The rows that differ from what PostgreSQL computes now: a query for each rollup.
CREATE TABLE dw.oracle (rollup text, query text);
INSERT INTO dw.oracle VALUES
('sums', $$SELECT (at AT TIME ZONE 'Europe/Berlin')::date, t, count(*), count(i2), sum(i2), avg(i2), sum(i4), avg(i4), sum(i8), avg(i8), trim_scale(sum(n)),
    trim_scale(round(trim_scale(sum(n)), greatest(scale(trim_scale(sum(n))), 16)) / count(n)), sum(n2), avg(n2), sum(n_2), avg(n_2), count(f8), count(j), count(iv), sum(cents) FROM dw.f GROUP BY 1, 2$$),
('ends', $$SELECT date_trunc('month', at AT TIME ZONE 'Europe/Berlin')::date, b, count(distinct t), min(t), max(t), count(distinct b), count(distinct u), min(d), max(d),
    min(ts), max(other), count(distinct by), min(i2), count(distinct n), trim_scale(min(n)), trim_scale(max(n)), min(n2), max(n2), min(f4) + 0::real, max(f4) + 0::real,
    count(distinct f8), min(f8) + 0, max(f8) + 0, min(vc), max(vc), count(distinct ch), min(ch), max(ch), min(tc), max(tc), max(tm), min(s), max(s)
    FROM dw.f GROUP BY 1, 2$$),
('groups', 'SELECT t, b, u, d, by, vc, ch, tc, tm, s, i8, other, count(*), sum(i4) FROM dw.f GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12'),
('hours', $$SELECT date_trunc('hour', other, 'Europe/Berlin'), count(*) FROM dw.f GROUP BY 1$$),
('local_hours', $$SELECT date_trunc('hour', ts), count(*) FROM dw.f GROUP BY 1$$),
('weeks', $$SELECT date_trunc('week', d::timestamp)::date, count(*) FROM dw.f GROUP BY 1$$),
('quarters', $$SELECT date_trunc('quarter', ts)::date, count(*) FROM dw.f GROUP BY 1$$),
('years', $$SELECT date_trunc('year', other AT TIME ZONE 'Europe/Berlin')::date, count(*) FROM dw.f GROUP BY 1$$),
('days', 'SELECT d, count(*) FROM dw.f GROUP BY 1');
CREATE FUNCTION dw.differing(rollup text, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    columns text := (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = format('dw.%I', rollup)::regclass AND a.attnum > 0 AND a.attname NOT IN ('load_id', 'wh_key', 'wh_state'));
BEGIN
    RETURN QUERY EXECUTE format($q$WITH have AS (SELECT ROW(%s)::text AS r FROM dw.%I), want AS (SELECT q::text AS r FROM (%s) q)
        (SELECT 'have ' || r FROM (TABLE have EXCEPT ALL TABLE want) q) UNION ALL (SELECT 'want ' || r FROM (TABLE want EXCEPT ALL TABLE have) q)$q$,
        columns, rollup, query);
END $$;
CREATE VIEW dw.wrong AS SELECT o.rollup, d FROM dw.oracle o, dw.differing(o.rollup, o.query) d;
CREATE VIEW dw.stopped AS SELECT relation, state, error FROM walhouse.model WHERE state <> 'live' ORDER BY model_id;
CREATE VIEW dw.unproven AS SELECT v.* FROM walhouse.model m, walhouse.verify(m.relation) v WHERE v.missing + v.unexpected + v.different > 0;
CREATE PROCEDURE dw.go() LANGUAGE plpgsql AS $$ BEGIN
    PERFORM handfeed.commit('shop', '2026-12-01'); PERFORM handfeed.reach('shop'); COMMIT; CALL walhouse.load('shop'); END $$;
SELECT handfeed.commit('shop', '2026-01-01');
SELECT handfeed.reach('shop');
CALL walhouse.build('dw.f');
SELECT format('CALL walhouse.build(%L)', relation) FROM walhouse.model WHERE kind = 'rollup' ORDER BY model_id \gexec

-- values
INSERT INTO shop.t (id, at) SELECT i, '2026-01-15' FROM generate_series(1, 3) i;
INSERT INTO shop.t VALUES
(10, '2026-01-15', '', true, '00000000-0000-0000-0000-000000000001', '2026-01-04', '2026-03-31 23:59:59', '2026-10-25 00:30+00', '\x00', 1, 1, 1, 1.0, 1, 149, '-0', '-0', 'a', 'a', 'a', '00:00', '{}', '1 day', 'small', 1),
(11, '2026-01-15', '', true, '00000000-0000-0000-0000-000000000001', '2026-01-05', '2026-04-01', '2026-10-25 01:30+00', '\x00', -1, 2147483647, 9223372036854775807, 1.00, 2.5, 151, 0, 0, 'B', 'a ', 'B', '24:00', '{}', '24 hours', 'small', 2),
(12, '2026-01-15', '', false, NULL, 'infinity', 'infinity', 'infinity', '', 32767, 2147483647, 9223372036854775807, 'NaN', 'NaN', 'NaN', 'NaN', 'NaN', '', '', '', NULL, 'null', NULL, 'big', 'NaN'),
(13, '2026-01-15', '', false, NULL, '-infinity', '-infinity', '-infinity', '', 32767, 2147483647, 9223372036854775807, 'Infinity', 3, 3, 'Infinity', 'Infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0.001),
(14, '2026-01-15', NULL, false, NULL, '0044-03-15 BC', '0044-03-15 BC', '0044-03-15 BC', NULL, -32768, -2147483648, -9223372036854775808, '-Infinity', -3, -3, '-Infinity', '-Infinity', 'é', 'é', 'é', '12:00', '[]', NULL, 'big', -0.001),
(15, '2026-02-15', 'NULL', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1e-30, NULL, NULL, '1e-45', '5e-324', 'NULL', 'NULL', 'NULL', NULL, NULL, NULL, NULL, NULL),
(16, '2026-02-15', '"', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1e30, NULL, NULL, NULL, NULL, ',', ',', ',', NULL, NULL, NULL, NULL, NULL),
(17, '2026-02-15', ',"),(', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0.0000, 0, 0, NULL, NULL, '\', '\', '\', NULL, NULL, NULL, NULL, NULL);
CALL dw.go();
SELECT * FROM dw.wrong;
SELECT * FROM dw.stopped;
SELECT * FROM dw.unproven;
SELECT count(*) FROM dw.groups;
SELECT period_start, n FROM dw.hours ORDER BY 1;
SELECT period_start, n FROM dw.weeks ORDER BY 1;
SELECT t, s_n, s_n2, s_n_2, a_n2 FROM dw.sums ORDER BY period_start, t COLLATE "C";

-- they go away, one by one, and come back with other images
DELETE FROM shop.t WHERE id = 12;
CALL dw.go();
SELECT t, s_n, s_n2, s_n_2, a_n2 FROM dw.sums WHERE t = '';
SELECT * FROM dw.wrong;
DELETE FROM shop.t WHERE id = 13;
CALL dw.go();
SELECT t, s_n, s_n2, s_n_2, a_n2 FROM dw.sums WHERE t = '';
SELECT * FROM dw.wrong;
UPDATE shop.t SET n = 'Infinity', n2 = 5, f8 = -1, f4 = -1 WHERE id = 10;
UPDATE shop.t SET n = '-Infinity', n2 = 'NaN', f8 = 'NaN' WHERE id = 11;
CALL dw.go();
SELECT t, s_n, s_n2, s_n_2, a_n2 FROM dw.sums WHERE t = '';
SELECT * FROM dw.wrong;
UPDATE shop.t SET n = 2.50000, n2 = NULL WHERE id = 11;
UPDATE shop.t SET n = NULL, n2 = NULL WHERE id = 10;
CALL dw.go();
SELECT t, s_n, s_n2, s_n_2, a_n2 FROM dw.sums WHERE t = '';
SELECT * FROM dw.wrong;
SELECT * FROM dw.stopped;
SELECT * FROM dw.unproven;
-- all of it is NULL, then nothing of it is there
UPDATE shop.t SET (i2, i4, i8, n, n2, n_2, f4, f8, vc, ch, tc, tm, j, iv, s, cents, t, b, u, d, ts, other, by) =
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CALL dw.go();
SELECT * FROM dw.wrong;
SELECT count(*) FROM dw.groups;
SELECT count(*) FROM dw.sums;
SELECT * FROM dw.stopped;
SELECT * FROM dw.unproven;
-- an image that changes where the value does not
UPDATE shop.t SET n = 1.0, f8 = '-0', ch = 'x' WHERE id IN (1, 2);
CALL dw.go();
UPDATE shop.t SET n = 1.000, f8 = '0', ch = 'x  ' WHERE id = 1;
CALL dw.go();
SELECT * FROM dw.wrong;
SELECT n1, n2, n3, f1, f2, f3, h1, h3 FROM dw.ends WHERE period_start = '2026-01-01';
-- sums that no bigint holds, and averages that do not end
UPDATE shop.t SET i8 = 9223372036854775807, i4 = 2147483647, n = 1::numeric / 3, n2 = 1.01 WHERE id <= 3;
CALL dw.go();
SELECT * FROM dw.wrong;
SELECT s_i8, a_i8, s_i4, a_i4, s_n, a_n2, s_n2, a_nn FROM dw.sums WHERE period_start = '2026-01-15' AND s_i8 IS NOT NULL;
-- a text that no index can hold stops the rollups that need it, until it is gone
UPDATE shop.t SET t = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i) WHERE id = 1;
CALL dw.go();
SELECT * FROM dw.stopped;
UPDATE shop.t SET t = 'short' WHERE id = 1;
CALL dw.go();
CALL walhouse.load('shop');
SELECT * FROM dw.stopped;
SELECT * FROM dw.wrong;
SELECT * FROM dw.stopped;
SELECT * FROM dw.unproven;
-- built again, nothing is another
CREATE TABLE dw.before AS SELECT 'sums' AS r, s.wh_key, (s.wh_state, s.s_n, s.a_n2)::text AS image FROM dw.sums s
    UNION ALL SELECT 'ends', e.wh_key, (e.wh_state, e.n1, e.f1)::text FROM dw.ends e;
CALL walhouse.build('dw.sums');
CALL walhouse.build('dw.ends');
SELECT * FROM dw.before EXCEPT ALL (SELECT 'sums' AS r, s.wh_key, (s.wh_state, s.s_n, s.a_n2)::text AS image FROM dw.sums s
    UNION ALL SELECT 'ends', e.wh_key, (e.wh_state, e.n1, e.f1)::text FROM dw.ends e);
SELECT * FROM dw.wrong;

\set QUIET on
SELECT walhouse.drop_model(relation) FROM (SELECT relation FROM walhouse.model ORDER BY kind = 'fact', model_id) m \g /dev/null
SET client_min_messages = error;
DROP SCHEMA dw CASCADE;
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA handfeed CASCADE;
