-- P3 for mini-dimensions: one random log of persons and sales, built at a random position and cut into random loads, gives the
-- combinations, the history and the facts of an oracle that walks through each person's history in a loop; a fact that stops and comes back
-- gives the same, one of bookings sums up to it, a rollup counts it, and so does one build at the end. What as_known() tells of each load is what stood there after it. Other logs:
-- \set seed 0.7 before the file, or more transactions.
-- The mistakes that it must find stand in test/mutants/list.
\getenv srcdir PG_ABS_SRCDIR
\set random :srcdir '/test/lib/random.sql'
\set usual_transactions 120
\set ECHO none
\i :random
\set ECHO all
SET client_min_messages = warning;
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.person (id int PRIMARY KEY, a text, b numeric, c boolean, d date);
CREATE TABLE shop.sale (id int PRIMARY KEY, person int, cash boolean, sold timestamptz, amount int);
SELECT handfeed.add('shop', 'shop.person'), handfeed.add('shop', 'shop.sale') \g /dev/null

-- ---- The source: random rows and changes; sales of persons who are not there, or not any more, before, at and after the clock.
CREATE FUNCTION oracle.change(clock timestamptz, zero text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p int := oracle.pick('1', '2', '3', '4', '5', '6', '7', '8');
    s int := 1 + floor(random() * 60);
    n shop.person := ROW (p, oracle.pick('', 'x', 'X', NULL), oracle.pick('1.0', '1.00', '1', 'NaN', NULL)::numeric, random() < .5, oracle.pick('infinity', '2026-01-01', NULL)::date);
    x shop.sale := ROW (s, oracle.pick('1', '2', '3', '4', '5', '6', '7', '8', '9', NULL)::int, CASE WHEN random() < .3 THEN random() < .5 END,
        clock + oracle.pick('-3 days', '-1 hour', '-1 us', '0', '1 us', '2 hours', '2 days', '5 days')::interval, oracle.pick('1', '2', zero, '5', '7')::int);
BEGIN
    CASE floor(random() * 12)::int
        WHEN 0 THEN DELETE FROM shop.person WHERE id = p;
        WHEN 1 THEN IF random() < .1 THEN TRUNCATE shop.person; ELSE DELETE FROM shop.sale WHERE id = s; END IF;
        WHEN 2, 3, 4 THEN INSERT INTO shop.person SELECT (n).* ON CONFLICT (id) DO UPDATE SET a = n.a, c = n.c;
        WHEN 5, 6 THEN INSERT INTO shop.person SELECT (n).* ON CONFLICT (id) DO UPDATE SET b = n.b, d = n.d;
        WHEN 7 THEN UPDATE shop.person SET id = id % 7 + 1 WHERE id = p AND NOT EXISTS (SELECT FROM shop.person WHERE id = p % 7 + 1);
        ELSE INSERT INTO shop.sale SELECT (x).* ON CONFLICT (id) DO UPDATE SET person = x.person, cash = x.cash, sold = CASE WHEN random() < .5 THEN x.sold ELSE sale.sold END, amount = x.amount;
    END CASE;
END $$;
CREATE PROCEDURE oracle.generate(transactions int) LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := '2026-01-01';
BEGIN
    FOR t IN 1 .. transactions LOOP
        FOR n IN 1 .. 1 + floor(random() * 4) LOOP PERFORM oracle.change(clock, CASE WHEN t < 20 THEN '3' ELSE '0' END); END LOOP;
        IF random() < .1 THEN UPDATE shop.sale SET amount = 1 WHERE amount = 0; END IF;
        IF random() < .6 THEN clock := clock + oracle.pick('1 us', '1 hour', '1 day', '-1 hour')::interval; END IF;
        PERFORM handfeed.commit('shop', clock);
    END LOOP;
    UPDATE shop.sale SET amount = 1 WHERE amount = 0;
    PERFORM handfeed.commit('shop', clock);
END $$;

-- ---- The oracle: a person's versions, by the rules; a sale's is the last one that had begun.
CREATE TABLE oracle.version (id int, a text, b numeric, c boolean, d date, valid_from timestamptz, valid_to timestamptz);
CREATE FUNCTION oracle.walk() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p int; txn record; entry record; open oracle.version; boundary timestamptz; next timestamptz; live boolean;
BEGIN
    FOR p IN 1 .. 8 LOOP
        open := NULL; boundary := NULL;
        FOR txn IN SELECT end_lsn, clock FROM shop_log.txn ORDER BY 1 LOOP
            SELECT l.op::text, l.seq, l.a, l.b, l.c, l.d INTO entry FROM shop_log.person l
            WHERE l.lsn = txn.end_lsn AND l.id = p ORDER BY l.op = 'B', l.seq DESC, l.op DESC LIMIT 1;
            CONTINUE WHEN NOT FOUND;
            live := entry.op IN ('I', 'U') AND NOT EXISTS (SELECT FROM shop_log.person t WHERE t.lsn = txn.end_lsn AND t.op = 'T' AND t.seq > entry.seq);
            CONTINUE WHEN NOT live AND open.id IS NULL;
            CONTINUE WHEN live AND open.id IS NOT NULL AND (entry.a, entry.b, entry.c, entry.d)::text = (open.a, open.b, open.c, open.d)::text;
            next := CASE WHEN boundary IS NULL THEN '-infinity' ELSE greatest(txn.clock, boundary + interval '1 us') END;
            IF open.id IS NOT NULL THEN
                open.valid_to := next;
                INSERT INTO oracle.version SELECT open.*;
                open := NULL;
            END IF;
            IF live THEN open := ROW (p, entry.a, entry.b, entry.c, entry.d, next, 'infinity'); END IF;
            boundary := next;
        END LOOP;
        IF open.id IS NOT NULL THEN INSERT INTO oracle.version SELECT open.*; END IF;
    END LOOP;
END $$;
CREATE FUNCTION oracle.as_of(p int, t timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT COALESCE((SELECT ROW (v.a, trim_scale(v.b), v.c, v.d)::text FROM oracle.version v WHERE v.id = p AND v.valid_from <= t ORDER BY v.valid_from DESC LIMIT 1), '(,,,)') $$;
CREATE VIEW oracle.sale AS
SELECT s.id, CASE WHEN s.cash THEN '-2' WHEN s.person IS NULL THEN '-1' ELSE oracle.as_of(s.person, s.sold) END AS was,
    CASE WHEN s.cash THEN '-2' WHEN s.person IS NULL THEN '-1' ELSE oracle.as_of(s.person, 'infinity') END AS "is"
FROM shop.sale s;

-- The sales of a fact that differ from the oracle's: by the combination's surrogate key, by the history's, and by the views.
CREATE FUNCTION oracle.differing(fact text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format($q$
        WITH have AS (SELECT f.id, CASE WHEN f.profile_sk < 0 THEN f.profile_sk::text ELSE ROW (p.a, p.b, p.c, p.d)::text END AS by_combination,
            CASE WHEN f.profile_history_sk < 0 THEN f.profile_history_sk::text ELSE ROW (h.a, trim_scale(h.b), h.c, h.d)::text END AS by_history,
            CASE WHEN w.profile_sk < 0 THEN w.profile_sk::text ELSE ROW (w.profile_a, w.profile_b, w.profile_c, w.profile_d)::text END AS was,
            CASE WHEN i.profile_sk < 0 THEN i.profile_sk::text ELSE ROW (i.profile_a, i.profile_b, i.profile_c, i.profile_d)::text END AS "is"
            FROM dw.%1$I f JOIN dw.profile p USING (profile_sk) JOIN dw.profile_history h USING (profile_history_sk)
                JOIN dw.%2$I w ON w.id = f.id JOIN dw.%3$I i ON i.id = f.id),
        want AS (SELECT id, was AS by_combination, was AS by_history, was, "is" FROM oracle.sale)
        SELECT count(*) FROM ((TABLE have EXCEPT ALL TABLE want) UNION ALL (TABLE want EXCEPT ALL TABLE have)) q $q$, fact, fact || '_as_was', fact || '_as_is') INTO result;
    RETURN result;
END $$;
CREATE FUNCTION oracle.history_differing() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
    RETURN (WITH have AS (SELECT ROW (id, a, b, c, d, valid_from, valid_to)::text FROM dw.profile_history WHERE profile_history_sk > 0 AND NOT is_inferred),
        want AS (SELECT v::text FROM oracle.version v)
    SELECT count(*) FROM ((TABLE have EXCEPT ALL TABLE want) UNION ALL (TABLE want EXCEPT ALL TABLE have)) q); END $$;
-- Bookings of a sale that do not cancel each other, by the combination, against the sales; and groups of the rollup against the fact's.
CREATE FUNCTION oracle.booked_differing() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
    RETURN (WITH booked AS (SELECT f.id, CASE WHEN f.profile_sk < 0 THEN f.profile_sk::text ELSE ROW (p.a, p.b, p.c, p.d)::text END AS was, f.amount
            FROM dw.booked f JOIN dw.profile p USING (profile_sk)),
        have AS (SELECT id, was, sum(amount) FROM booked GROUP BY 1, 2 HAVING sum(amount) <> 0),
        want AS (SELECT id, o.was, s.amount + 1 FROM oracle.sale o JOIN shop.sale s USING (id))
    SELECT count(*) FROM ((TABLE have EXCEPT ALL TABLE want) UNION ALL (TABLE want EXCEPT ALL TABLE have)) q); END $$;
CREATE FUNCTION oracle.rollup_differing() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
    RETURN (WITH have AS (SELECT profile_sk, n, persons, last FROM dw.by_profile),
        want AS (SELECT profile_sk, count(*), count(DISTINCT person), max(sold) FROM dw.sale GROUP BY 1)
    SELECT count(*) FROM ((TABLE have EXCEPT ALL TABLE want) UNION ALL (TABLE want EXCEPT ALL TABLE have)) q); END $$;
-- Combinations that are there twice, that are missing, and that nobody ever had, but for the one of nothing.
CREATE FUNCTION oracle.combinations_differing() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
    RETURN (WITH have AS (SELECT ROW (a, b, c, d)::text AS row FROM dw.profile WHERE profile_sk > 0),
        want AS (SELECT DISTINCT ROW (a, trim_scale(b), c, d)::text AS row FROM oracle.version)
    SELECT count(*) FROM ((SELECT row FROM have WHERE row <> '(,,,)' EXCEPT ALL SELECT row FROM want WHERE row <> '(,,,)') UNION ALL (TABLE want EXCEPT ALL TABLE have)) q); END $$;

-- ---- The run
SELECT setseed(:seed) \g /dev/null
CALL oracle.generate(:transactions);
SELECT oracle.walk() \g /dev/null
SELECT walhouse.create_mini_dimension('dw.profile', 'SELECT id, a, b, c, d FROM shop.person', '{id}'),
    walhouse.create_fact('dw.sale', 'SELECT id, person, cash, sold FROM shop.sale', '{id}', 'sold', '{"profile_sk": {"dimension": "dw.profile(person)", "not_applicable_if": "cash"}}'),
    walhouse.create_fact('dw.part', 'SELECT id, person, cash, sold, 1 / amount AS part FROM shop.sale', '{id}', 'sold',
        '{"profile_sk": {"dimension": "dw.profile(person)", "not_applicable_if": "cash"}}', 'year'),
    walhouse.create_fact('dw.booked', 'SELECT id, person, cash, sold, amount + 1 AS amount FROM shop.sale', '{id}', 'sold',
        '{"profile_sk": {"dimension": "dw.profile(person)", "not_applicable_if": "cash"}}', corrections => 'reverse', measures => '{amount}') \g /dev/null
SELECT walhouse.create_rollup('dw.by_profile', 'dw.sale', '{profile_sk}', '{"n": "count(*)", "persons": "count(distinct person)", "last": "max(sold)"}', bucket => 'none') \g /dev/null
CREATE TABLE oracle.cut AS SELECT end_lsn FROM (SELECT *, row_number() OVER (ORDER BY end_lsn) AS n FROM shop_log.txn) t
WHERE CASE WHEN n < 20 THEN n = 3 + floor(random() * 2) ELSE random() < .4 END OR n = 15 OR end_lsn = (SELECT max(end_lsn) FROM shop_log.txn);
CREATE TABLE oracle.was (load_id bigint, id int, profile_sk bigint, profile_history_sk bigint);
CREATE TABLE oracle.stops (load_id bigint);
SELECT handfeed.reach('shop', min(end_lsn)) FROM oracle.cut \g /dev/null
CALL walhouse.build('dw.profile');
CALL walhouse.build('dw.sale');
CALL walhouse.build('dw.part');
CALL walhouse.build('dw.booked');
CALL walhouse.build('dw.by_profile');
\set ON_ERROR_STOP off
\set VERBOSITY terse
\o /dev/null
\set ECHO none
SELECT step FROM (SELECT end_lsn, 1 AS n, format('SELECT handfeed.reach(''shop'', %L)', end_lsn) AS step FROM oracle.cut
    UNION ALL SELECT end_lsn, 2, 'SELECT walhouse.resume(relation) FROM walhouse.model WHERE state = ''stopped''' FROM oracle.cut
        WHERE random() < .5 OR end_lsn = (SELECT max(end_lsn) FROM oracle.cut)
    UNION ALL SELECT end_lsn, 3, 'CALL walhouse.load(''shop'')' FROM oracle.cut
    UNION ALL SELECT end_lsn, 4, 'INSERT INTO oracle.was SELECT (SELECT max(load_id) FROM walhouse.load), id, profile_sk, profile_history_sk FROM dw.sale' FROM oracle.cut
    UNION ALL SELECT end_lsn, 5, 'INSERT INTO oracle.stops SELECT max(load_id) FROM walhouse.load WHERE (SELECT state FROM walhouse.model WHERE relation = ''dw.part''::regclass) = ''stopped''' FROM oracle.cut
    UNION ALL SELECT end_lsn, 6, 'SELECT 1 / (missing + unexpected + different = 0)::int FROM walhouse.verify() WHERE random() < .3' FROM oracle.cut) s ORDER BY end_lsn, n \gexec
\set ECHO all
\o
\set QUIET off
-- Enough happened, nothing differs from the oracle, and the recomputation agrees.
SELECT count(*) > 60 AS versions, (SELECT count(*) > 30 FROM dw.booked WHERE is_reversal) AS reversals, (SELECT count(*) > 25 FROM oracle.sale) AS sales, (SELECT count(DISTINCT load_id) > 20 FROM oracle.was) AS loads,
    (SELECT count(*) > 5 FROM oracle.stops WHERE load_id IS NOT NULL) AS stops, (SELECT count(*) > 0 FROM oracle.sale WHERE was = '(,,,)') AS inferred FROM oracle.version;
SELECT relation, state FROM walhouse.model WHERE state <> 'live';
SELECT oracle.history_differing() AS history, oracle.combinations_differing() AS combinations, oracle.differing('sale') AS sale, oracle.differing('part') AS part,
    oracle.booked_differing() AS booked, oracle.rollup_differing() AS rollup;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
-- What was known after each load is what stood there then.
SELECT count(*) AS loads_that_differ FROM (SELECT DISTINCT load_id FROM oracle.was) l WHERE EXISTS (
    (SELECT id, profile_sk, profile_history_sk FROM oracle.was w WHERE w.load_id = l.load_id EXCEPT ALL SELECT id, profile_sk, profile_history_sk FROM walhouse.as_known(NULL::dw.sale, load => l.load_id))
    UNION ALL (SELECT id, profile_sk, profile_history_sk FROM walhouse.as_known(NULL::dw.sale, load => l.load_id) EXCEPT ALL SELECT id, profile_sk, profile_history_sk FROM oracle.was w WHERE w.load_id = l.load_id));
-- Built at the end, in one go; and declared anew.
CALL walhouse.build('dw.profile'); CALL walhouse.build('dw.sale'); CALL walhouse.build('dw.part'); CALL walhouse.build('dw.booked'); CALL walhouse.build('dw.by_profile');
SELECT oracle.history_differing() AS history, oracle.combinations_differing() AS combinations, oracle.differing('sale') AS sale, oracle.differing('part') AS part,
    oracle.booked_differing() AS booked, oracle.rollup_differing() AS rollup;
SELECT walhouse.drop_model('dw.by_profile'), walhouse.drop_model('dw.sale'), walhouse.drop_model('dw.part'), walhouse.drop_model('dw.booked'), walhouse.drop_model('dw.profile') \g /dev/null
SELECT walhouse.create_mini_dimension('dw.profile', 'SELECT id, a, b, c, d FROM shop.person', '{id}'),
    walhouse.create_fact('dw.sale', 'SELECT id, person, cash, sold FROM shop.sale', '{id}', 'sold', '{"profile_sk": {"dimension": "dw.profile(person)", "not_applicable_if": "cash"}}') \g /dev/null
CALL walhouse.build('dw.profile'); CALL walhouse.build('dw.sale');
SELECT oracle.history_differing() AS history, oracle.combinations_differing() AS combinations, oracle.differing('sale') AS sale;

\set QUIET on
SELECT walhouse.drop_model('dw.sale'), walhouse.drop_model('dw.profile') \g /dev/null
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, oracle, handfeed CASCADE;
