-- What loads of facts remember of a dimension is what it has: after its own loads, those of another session, a load that was rolled back, writes
-- by hand, a build. The other fact of the same dimension is what makes a load fail.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\setenv PGDATABASE :DBNAME
\setenv PGOPTIONS '-c client_min_messages=error'
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
SET walhouse.allow_writes = on;
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.member (k int PRIMARY KEY, city text);
CREATE TABLE shop.item (id int PRIMARY KEY, k int, at timestamptz, amount int);
SELECT handfeed.add('shop', t) FROM unnest('{shop.member,shop.item}'::regclass[]) t \g /dev/null
CREATE SCHEMA dw;
CREATE SCHEMA memory;
SELECT walhouse.create_dimension('dw.member', 'SELECT k, city FROM shop.member', '{k}', '{"*": 2}') \g /dev/null
SELECT walhouse.create_fact('dw.item', 'SELECT id, k, at, amount FROM shop.item', '{id}', 'at', '{"member_sk": "dw.member(k)"}', 'month') \g /dev/null
SELECT walhouse.create_fact('dw.other', 'SELECT id, k, at, 12 / amount AS share FROM shop.item', '{id}', 'at', '{"member_sk": "dw.member(k)"}', 'month') \g /dev/null
CALL walhouse.load('shop');
CALL walhouse.build('dw.member');
CALL walhouse.build('dw.item');
CALL walhouse.build('dw.other');
CREATE FUNCTION memory.commit(day int) RETURNS void LANGUAGE sql AS $$
    SELECT handfeed.commit('shop', timestamptz '2025-12-31 06:00' + day * interval '1 day');
    SELECT handfeed.reach('shop') $$;
CREATE VIEW memory.verdict AS SELECT model::text, expected, missing, unexpected, different FROM walhouse.verify() WHERE model::text LIKE 'dw.%';

INSERT INTO shop.member SELECT k, 'Rome' FROM generate_series(1, 6) k;
INSERT INTO shop.item SELECT k, k, '2026-01-01 01:00', 3 FROM generate_series(1, 6) k;
SELECT memory.commit(1) \g /dev/null
CALL walhouse.load('shop');

-- a version begins, and the same load refers to it; a load of the dimension alone
UPDATE shop.member SET city = 'Ulm' WHERE k = 1;
SELECT memory.commit(2) \g /dev/null
INSERT INTO shop.item VALUES (11, 1, '2026-01-02 12:00', 3);
SELECT memory.commit(3) \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM memory.verdict ORDER BY model;
UPDATE shop.member SET city = 'Ulm' WHERE k = 2;
SELECT memory.commit(4) \g /dev/null
CALL walhouse.load('shop');
INSERT INTO shop.item VALUES (12, 2, '2026-01-04 12:00', 3);
SELECT memory.commit(5) \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM memory.verdict ORDER BY model;

-- in another session
UPDATE shop.member SET city = 'Ulm' WHERE k = 3;
SELECT memory.commit(6) \g /dev/null
\! psql -XqAt -c "CALL walhouse.load('shop')"
INSERT INTO shop.item VALUES (13, 3, '2026-01-06 12:00', 3);
SELECT memory.commit(7) \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM memory.verdict ORDER BY model;

-- the version that dw.item finds, and the member that it makes, are rolled back, because dw.other fails, and made again
UPDATE shop.member SET city = 'Ulm' WHERE k = 4;
SELECT memory.commit(8) \g /dev/null
INSERT INTO shop.item VALUES (14, 4, '2026-01-08 12:00', 0), (17, 99, '2026-01-08 12:00', 3);
SELECT memory.commit(9) \g /dev/null
CALL walhouse.load('shop');
SELECT relation::text, state, error IS NOT NULL AS has_failed FROM walhouse.model WHERE relation::text LIKE 'dw.%' ORDER BY 1;
SELECT * FROM memory.verdict WHERE model <> 'dw.other' ORDER BY model;
UPDATE shop.item SET amount = 1 WHERE id = 14;
SELECT memory.commit(10) \g /dev/null
CALL walhouse.load('shop');
CALL walhouse.load('shop');
SELECT * FROM memory.verdict ORDER BY model;

-- by hand: another surrogate key, one that is rolled back, and one in another session
CREATE FUNCTION memory.replace(which int, key bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m dw.member;
BEGIN
    DELETE FROM dw.member d WHERE d.k = which RETURNING * INTO m;
    m.member_sk := key;
    INSERT INTO dw.member OVERRIDING SYSTEM VALUE SELECT m.*;
    UPDATE dw.item SET member_sk = key WHERE k = which;
    UPDATE dw.other SET member_sk = key WHERE k = which;
END $$;
CREATE PROCEDURE memory.refer(number int, days int) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shop.item SELECT number * 10 + k, k, timestamptz '2026-01-01' + days * interval '1 day' - interval '30 hours', 3 FROM generate_series(1, 6) k;
    PERFORM memory.commit(days);
    COMMIT;
    CALL walhouse.load('shop');
END $$;
BEGIN;
SELECT memory.replace(6, 1006) \g /dev/null
ROLLBACK;
CALL memory.refer(2, 11);
SELECT memory.replace(5, 1005) \g /dev/null
CALL memory.refer(3, 12);
\! psql -Xq -o /dev/null -c "SET walhouse.allow_writes = on" -c "SELECT memory.replace(6, 1016)"
CALL memory.refer(4, 13);
SELECT * FROM memory.verdict ORDER BY model;

-- built again, here and there
CALL walhouse.build('dw.member');
CALL walhouse.build('dw.item');
CALL walhouse.build('dw.other');
CALL memory.refer(5, 14);
SELECT * FROM memory.verdict ORDER BY model;
\! psql -XqAt -c "CALL walhouse.build('dw.member')" -c "CALL walhouse.build('dw.item')" -c "CALL walhouse.build('dw.other')"
CALL memory.refer(6, 15);
SELECT * FROM memory.verdict ORDER BY model;

-- all of them gone, which is for the statement, and some are back
TRUNCATE shop.member;
INSERT INTO shop.member SELECT k, 'Oslo' FROM generate_series(4, 6) k;
SELECT memory.commit(16) \g /dev/null
CALL memory.refer(7, 18);
SELECT * FROM memory.verdict ORDER BY model;

-- leave nothing behind
SELECT walhouse.drop_model(m) FROM unnest('{dw.other,dw.item,dw.member}'::regclass[]) m \g /dev/null
\set ECHO none
\o /dev/null
SELECT handfeed.remove('shop');
DROP SCHEMA dw, memory, handfeed CASCADE;
