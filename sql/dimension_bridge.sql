-- Bridges: the association's versions, cut where its members' versions change, and the groups whose weights are not whole.
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
CREATE TABLE shop.person (id bigint PRIMARY KEY, name text, since timestamptz);
CREATE TABLE shop.branch (code text, number int, name text, PRIMARY KEY (code, number));
CREATE TABLE shop.holder (account int, person int, branch text, number int, since date, share numeric(5, 4), PRIMARY KEY (account, person));
CREATE TABLE shop.entry (id int PRIMARY KEY, account int, booked timestamptz, amount numeric);
SELECT handfeed.add('shop', 'shop.' || t) FROM unnest(ARRAY['person', 'branch', 'holder', 'entry']) t \g /dev/null
CREATE SCHEMA dw;
CREATE FUNCTION dw.at(t timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT handfeed.commit('shop', t); SELECT handfeed.reach('shop') $$;
SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-12-31') \g /dev/null
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name FROM shop.person', '{id}') \g /dev/null
SELECT walhouse.create_dimension('dw.branch', 'SELECT code, number, name FROM shop.branch', '{code,number}') \g /dev/null
\set QUIET off

-- What a declaration refuses; what it made is gone again.
\set holder 'SELECT account, person, branch, number, since, share FROM shop.holder'
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account}', '{"person_sk": "dw.person(person)"}');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', NULL);
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{}');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '["dw.person(person)"]');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{"person_sk": "dw.person(human)"}');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{"person_sk": "dw.person(branch)"}');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{"share": "dw.person(person)"}');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{"valid_to": "dw.person(person)"}');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{"": "dw.person(person)"}');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{"person_sk": "dw.person(person)"}', 'part');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{"person_sk": "dw.person(person)"}', 'account');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{"person_sk": "dw.person(person)"}', 'branch');
SELECT walhouse.create_bridge('dw.bad', :'holder', '{account,person}', '{"a_sk": "dw.person(account)", "person_sk": "dw.person(person)"}', 'share');
SELECT to_regclass('dw.bad'), to_regclass('dw.bad_members');

-- Members by key, by columns outside of it, and a date.
SELECT walhouse.create_bridge('dw.holder', :'holder', '{account,person}',
    '{"person_sk": "dw.person(person)", "branch_sk": "dw.branch(branch, number)", "since_sk": "dw.date(since)"}', 'share');
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dw.holder_members'::regclass;
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dw.holder_weights'::regclass AND attnum > 0;
SELECT purpose, number, column_name, key FROM walhouse.dimension_reference ORDER BY number;
SELECT options ->> 'weight' AS weight, options -> 'unknown' AS unknown FROM walhouse.model WHERE relation = 'dw.holder'::regclass;
CALL walhouse.build('dw.person'); CALL walhouse.build('dw.branch'); CALL walhouse.build('dw.holder');
SELECT count(*) AS rows FROM dw.holder;

-- Person 1 is renamed while holding; 2 comes after the association, is deleted, and comes back; 3 never comes. Branches change, too.
INSERT INTO shop.person VALUES (1, 'Ann');
INSERT INTO shop.branch VALUES ('N', 1, 'North');
INSERT INTO shop.holder VALUES (70, 1, 'N', 1, '2026-01-01', 0.75), (70, 2, NULL, 1, '2020-01-01', 0.25), (71, 3, 'S', 2, NULL, 0.5);
SELECT dw.at('2026-01-01') \g /dev/null
INSERT INTO shop.person VALUES (2, 'Bob');
SELECT dw.at('2026-01-02') \g /dev/null
UPDATE shop.person SET name = 'Anna' WHERE id = 1;
SELECT dw.at('2026-01-03') \g /dev/null
UPDATE shop.branch SET name = 'Nord' WHERE code = 'N';
UPDATE shop.holder SET share = 0.5 WHERE account = 70;
SELECT dw.at('2026-01-04') \g /dev/null
DELETE FROM shop.person WHERE id = 2;
SELECT dw.at('2026-01-05') \g /dev/null
INSERT INTO shop.person VALUES (2, 'Rob');
SELECT dw.at('2026-01-07') \g /dev/null
DELETE FROM shop.holder WHERE account = 70 AND person = 2;
UPDATE shop.holder SET share = 1 WHERE account = 70;
DELETE FROM shop.person WHERE id = 1;
SELECT dw.at('2026-01-08') \g /dev/null
CALL walhouse.load('shop');
SELECT m.account, m.person, p.name, p.is_inferred AS inf, b.name AS branch, m.branch_sk < 0 AS null_branch, m.since_sk, m.share, m.valid_from::date AS "from", m.valid_to::date AS "to", m.is_current
FROM dw.holder_members m LEFT JOIN dw.person p USING (person_sk) LEFT JOIN dw.branch b USING (branch_sk) ORDER BY 1, 2, m.valid_from;
-- 71 has half of a weight; 70 was whole since 08.
SELECT * FROM dw.holder_weights ORDER BY account;
UPDATE shop.holder SET share = NULL WHERE account = 70;
INSERT INTO shop.holder VALUES (71, 4, 'N', 1, NULL, 0.5), (72, 1, NULL, NULL, NULL, 'NaN'), (73, 1, NULL, NULL, NULL, 1), (73, 2, NULL, NULL, NULL, NULL);
SELECT dw.at('2026-01-09') \g /dev/null
CALL walhouse.load('shop');
SELECT * FROM dw.holder_weights ORDER BY account;

-- An amount is allotted to those who held the account then, all of it and once.
SELECT walhouse.create_fact('dw.entry', 'SELECT id, account, booked, amount FROM shop.entry', '{id}', 'booked') \g /dev/null
UPDATE shop.holder SET share = 1 WHERE account = 70;
INSERT INTO shop.entry SELECT i, 70, '2026-01-01 12:00+00'::timestamptz + i * interval '6 hours', 100 FROM generate_series(0, 29) i;
SELECT dw.at('2026-01-10') \g /dev/null
CALL walhouse.build('dw.entry');
CALL walhouse.load('shop');
SELECT m.person, p.name, sum(e.amount * m.share) AS amount, count(*) FROM dw.entry e JOIN dw.holder_members m
    ON m.account = e.account AND m.valid_from <= e.booked AND e.booked < m.valid_to LEFT JOIN dw.person p USING (person_sk)
GROUP BY 1, 2 ORDER BY 1, min(m.valid_from);
SELECT sum(amount) AS all FROM dw.entry;

-- Weights of floating-point numbers, and none; the group's column may be a member's under another name.
SELECT walhouse.create_bridge('dw.floating', 'SELECT account, account AS account_id, person, share::float8 / 10 AS share FROM shop.holder', '{account,person}',
    '{"person_sk": "dw.person(person)", "account_sk": "dw.person(account_id)"}', 'share') \g /dev/null
SELECT walhouse.create_bridge('dw.unweighed', 'SELECT account, person FROM shop.holder', '{account,person}', '{"person_sk": "dw.person(person)"}') \g /dev/null
CALL walhouse.build('dw.floating'); CALL walhouse.build('dw.unweighed');
INSERT INTO shop.holder SELECT 80, i, NULL, NULL, NULL, 1 FROM generate_series(1, 10) i;
SELECT dw.at('2026-01-11') \g /dev/null
CALL walhouse.load('shop');
SELECT account, members, weight FROM dw.floating_weights ORDER BY account;
SELECT sum(share) = 1 AS is_one, count(*) FROM dw.floating WHERE account = 80;
SELECT to_regclass('dw.unweighed_weights'), count(*) FROM dw.unweighed_members;
-- A fact may refer to a bridge as to any dimension; the inferred members that it makes hold nothing.
SELECT walhouse.create_fact('dw.touch', 'SELECT id, account, id AS person, booked FROM shop.entry', '{id}', 'booked', '{"holder_sk": "dw.unweighed(account, person)"}') \g /dev/null
CALL walhouse.build('dw.touch');
SELECT count(*) FILTER (WHERE is_inferred) > 0 AS has_inferred, (SELECT count(*) FROM dw.unweighed_members) AS members FROM dw.unweighed;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- Members whose versions hold since a column says so: a late one cuts pieces that have been there before.
SELECT walhouse.create_dimension('dw.since', 'SELECT id, name, since FROM shop.person', '{id}', effective => 'since') \g /dev/null
SELECT walhouse.create_bridge('dw.held', 'SELECT account, person FROM shop.holder WHERE account <> 80', '{account,person}', '{"person_sk": "dw.since(person)"}') \g /dev/null
CALL walhouse.build('dw.since'); CALL walhouse.build('dw.held');
INSERT INTO shop.holder VALUES (75, 6, NULL, NULL, NULL, 1);
INSERT INTO shop.person VALUES (6, 'Eva', '2020-01-01');
SELECT dw.at('2026-01-12') \g /dev/null
UPDATE shop.person SET name = 'Eve', since = '2026-06-01' WHERE id = 6;
SELECT dw.at('2026-01-13') \g /dev/null
CALL walhouse.load('shop');
SELECT m.account, p.name, m.valid_from, m.valid_to, m.is_current FROM dw.held_members m JOIN dw.since p ON p.since_sk = m.person_sk WHERE account = 75 ORDER BY m.valid_from;
UPDATE shop.person SET name = 'Evi', since = '2023-01-01' WHERE id = 6;
SELECT dw.at('2026-01-14') \g /dev/null
CALL walhouse.load('shop');
SELECT m.account, p.name, m.valid_from, m.valid_to, m.is_current FROM dw.held_members m JOIN dw.since p ON p.since_sk = m.person_sk WHERE account = 75 ORDER BY m.valid_from;

-- Random changes: at every boundary of every dimension, the pieces of each association are one, with the version that a look-up gives.
SELECT setseed(0.4) \g /dev/null
DO $$
DECLARE n int;
BEGIN
    FOR i IN 1..200 LOOP
        n := 1 + floor(random() * 6);
        CASE floor(random() * 8)::int
            WHEN 0 THEN DELETE FROM shop.person WHERE id = n;
            WHEN 1 THEN INSERT INTO shop.person VALUES (n, 'new') ON CONFLICT (id) DO UPDATE SET name = 'p' || i;
            WHEN 2 THEN INSERT INTO shop.person VALUES (n, 'new') ON CONFLICT (id) DO UPDATE SET name = 'q' || i, since = '2026-02-01'::timestamptz + random() * interval '13 days';
            WHEN 3 THEN DELETE FROM shop.holder WHERE account % 3 = n % 3 AND person = n;
            WHEN 4 THEN INSERT INTO shop.branch VALUES ('N', n, 'b') ON CONFLICT (code, number) DO UPDATE SET name = 'b' || i;
            WHEN 5 THEN DELETE FROM shop.branch WHERE number = n;
            ELSE INSERT INTO shop.holder VALUES (90 + n % 3, n, CASE WHEN n < 5 THEN 'N' END, n, NULL, random())
                ON CONFLICT (account, person) DO UPDATE SET number = 1 + floor(random() * 6), share = random();
        END CASE;
        CONTINUE WHEN random() < 0.3;
        -- a third of the transactions commit at the same time as the one before
        PERFORM dw.at('2026-02-01 00:00+00'::timestamptz + (i - i % 3) * interval '1 hour');
    END LOOP;
END $$;
SELECT dw.at('2026-03-01') \g /dev/null
CALL walhouse.load('shop');
CREATE TABLE instants AS SELECT DISTINCT t FROM (SELECT valid_from FROM dw.person UNION SELECT valid_from FROM dw.branch UNION SELECT valid_from FROM dw.holder
    UNION SELECT valid_from FROM dw.since UNION SELECT valid_to FROM dw.since UNION SELECT valid_to FROM dw.person UNION SELECT valid_to FROM dw.branch UNION SELECT valid_to FROM dw.holder) v (t) WHERE isfinite(t)
    UNION ALL VALUES ('-infinity'::timestamptz), ('2025-01-01'), ('2026-04-01');
WITH held AS (SELECT h.account, h.person, i.t, h.share,
        (SELECT p.person_sk FROM dw.person p WHERE p.id = h.person AND p.valid_from <= i.t ORDER BY p.valid_from DESC LIMIT 1) AS person_sk,
        CASE WHEN h.branch IS NULL OR h.number IS NULL THEN -1 ELSE
            (SELECT b.branch_sk FROM dw.branch b WHERE b.code = h.branch AND b.number = h.number AND b.valid_from <= i.t ORDER BY b.valid_from DESC LIMIT 1) END AS branch_sk
    FROM instants i JOIN dw.holder h ON h.valid_from <= i.t AND i.t < h.valid_to),
shown AS (SELECT m.account, m.person, i.t, m.share, m.person_sk, m.branch_sk FROM instants i JOIN dw.holder_members m ON m.valid_from <= i.t AND i.t < m.valid_to)
SELECT (SELECT count(*) > 400 FROM held) AS many, (SELECT count(*) FROM (TABLE held EXCEPT ALL TABLE shown) x) AS missing, (SELECT count(*) FROM (TABLE shown EXCEPT ALL TABLE held) x) AS unexpected,
    (SELECT count(*) FROM dw.holder_members WHERE valid_from >= valid_to) AS empty;
WITH held AS (SELECT h.account, h.person, i.t,
        (SELECT p.since_sk FROM dw.since p WHERE p.id = h.person AND p.valid_from <= i.t ORDER BY p.valid_from DESC LIMIT 1) AS person_sk
    FROM instants i JOIN dw.held h ON h.valid_from <= i.t AND i.t < h.valid_to),
shown AS (SELECT m.account, m.person, i.t, m.person_sk FROM instants i JOIN dw.held_members m ON m.valid_from <= i.t AND i.t < m.valid_to)
SELECT (SELECT count(*) > 400 FROM held) AS many, (SELECT count(*) FROM (TABLE held EXCEPT ALL TABLE shown) x) AS missing, (SELECT count(*) FROM (TABLE shown EXCEPT ALL TABLE held) x) AS unexpected,
    (SELECT count(*) FROM dw.held_members WHERE valid_from >= valid_to) AS empty;
SELECT model, missing, unexpected, different FROM walhouse.verify() WHERE model IN ('dw.holder'::regclass, 'dw.person'::regclass, 'dw.since'::regclass) ORDER BY model::text;
-- A build leaves the same.
CREATE TABLE before AS SELECT to_jsonb(m) - 'person_sk' - 'branch_sk' AS row FROM dw.holder_members m;
CALL walhouse.build('dw.person'); CALL walhouse.build('dw.holder'); CALL walhouse.build('dw.branch');
SELECT (SELECT count(*) FROM (TABLE before EXCEPT ALL SELECT to_jsonb(m) - 'person_sk' - 'branch_sk' FROM dw.holder_members m) x) AS missing,
    (SELECT count(*) FROM dw.holder_members) = (SELECT count(*) FROM before) AS as_many;

-- Who declares a bridge may read its members; a member is not dropped before it, and its views go with it.
CREATE ROLE walhouse_test_bridge;
GRANT USAGE ON SCHEMA shop, shop_log TO walhouse_test_bridge;
GRANT USAGE, CREATE ON SCHEMA dw TO walhouse_test_bridge;
GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO walhouse_test_bridge;
SET ROLE walhouse_test_bridge;
SELECT walhouse.create_bridge('dw.mine', 'SELECT account, person FROM shop.holder', '{account,person}', '{"person_sk": "dw.person(person)"}');
RESET ROLE;
SELECT walhouse.drop_model('dw.person');
SELECT walhouse.drop_model('dw.touch'), walhouse.drop_model('dw.held'), walhouse.drop_model('dw.since'), walhouse.drop_model('dw.holder'), walhouse.drop_model('dw.floating'), walhouse.drop_model('dw.unweighed'), walhouse.drop_model('dw.person');
SELECT (SELECT count(*) FROM walhouse.dimension_reference) AS refs, to_regclass('dw.holder_members') AS view, to_regclass('dw.holder_weights') AS weights;

\set QUIET on
SELECT walhouse.drop_model('dw.branch'), walhouse.drop_model('dw.date'), walhouse.drop_model('dw.entry') \g /dev/null
DROP OWNED BY walhouse_test_bridge; DROP ROLE walhouse_test_bridge;
DROP TABLE before, instants;
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
