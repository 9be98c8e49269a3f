-- P3 for bookings and milestones: one random log, cut into random loads and built at a random position, gives the rows of an oracle that
-- looked at the sources after each transaction and walks through what each key was in a loop, and those of builds at the end; over
-- one table and over two, with images that cannot be placed and images that the query cannot compute, deletes and re-inserts, swapped
-- keys, TRUNCATE. Other logs: \set seed 0.7 before the file, or more transactions.
\getenv srcdir PG_ABS_SRCDIR
\set random :srcdir '/test/lib/random.sql'
\set usual_transactions 90
\set ECHO none
\i :random
\set ECHO all
SET walhouse.allow_writes = on;
SELECT handfeed.make('shop', 'America/New_York') \g /dev/null
CREATE TABLE shop.head (h int PRIMARY KEY, city text, rate int, is_open boolean, due date);
CREATE TABLE shop.item (l numeric, h int, at timestamptz, amount numeric, weight float8, pieces int, is_paid boolean, is_sent boolean, head int,
    PRIMARY KEY (h, l));
CREATE TABLE shop.town (city text PRIMARY KEY, size int);
SELECT handfeed.add('shop', t) FROM unnest('{shop.head,shop.item,shop.town}'::regclass[]) t \g /dev/null

-- ---- The sources: random rows and changes
CREATE FUNCTION oracle.flag() RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT oracle.pick('t', 't', 'f', 'f', NULL)::boolean $$;
CREATE FUNCTION oracle.item(l numeric, h int) RETURNS shop.item LANGUAGE sql VOLATILE AS $$
    SELECT ROW (l, h, oracle.pick('2026-01-31 23:59', '2026-02-01', '2026-03-15', '2026-01-03', '2027-01-01', 'infinity', NULL)::timestamptz,
        oracle.pick('1.0', '1.00', NULL, 'NaN', '0', '-7.5', '1e30')::numeric, oracle.pick('0', '-0', 'NaN', '-Infinity', NULL, '2.5')::float8,
        CASE WHEN random() < .04 THEN 0 ELSE oracle.pick('1', '2', '5', '10', '-2147483648', NULL)::int END, oracle.flag(), oracle.flag(),
        oracle.pick('1', '2', '3', NULL)::int)::shop.item $$;
CREATE FUNCTION oracle.change() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    q int := 1 + floor(random() * 3); w numeric := oracle.pick('0', '1.0', '1.00', '2'); n numeric := oracle.pick('0', '1', '1.0', '2');
    dice float8 := random();
    new shop.item := oracle.item(w, q); old shop.item;
BEGIN
    SELECT * INTO old FROM shop.item i WHERE i.h = q AND i.l = w;
    IF dice < .02 THEN TRUNCATE shop.item;
    ELSIF dice < .04 THEN DELETE FROM shop.head WHERE h = q;
    ELSIF dice < .25 THEN
        INSERT INTO shop.head VALUES (q, oracle.pick('Rome', 'Ulm', 'Oslo', NULL), CASE WHEN random() < .1 THEN 0 ELSE oracle.pick('1', '2', '3', '4')::int END, oracle.flag(), '2026-06-01')
        ON CONFLICT (h) DO UPDATE SET city = EXCLUDED.city, is_open = EXCLUDED.is_open,
            rate = CASE WHEN random() < .5 THEN EXCLUDED.rate ELSE head.rate END;
    ELSIF dice < .3 THEN
        INSERT INTO shop.town VALUES (oracle.pick('Rome', 'Ulm', 'Oslo'), floor(random() * 4)) ON CONFLICT (city) DO UPDATE SET size = EXCLUDED.size;
    ELSIF old.h IS NULL THEN INSERT INTO shop.item SELECT new.*;
    ELSIF dice < .45 THEN                           -- delete, and sometimes the same again
        DELETE FROM shop.item i WHERE i.h = q AND i.l = w;
        IF dice < .35 THEN INSERT INTO shop.item SELECT old.*; END IF;
    ELSIF dice < .55 AND (n = w OR NOT EXISTS (SELECT FROM shop.item i WHERE i.h = q AND i.l = n)) THEN
        UPDATE shop.item i SET l = n WHERE i.h = q AND i.l = w;
    ELSIF dice < .55 THEN                           -- swap two keys
        UPDATE shop.item i SET l = -1 WHERE i.h = q AND i.l = w;
        UPDATE shop.item i SET l = w WHERE i.h = q AND i.l = n;
        UPDATE shop.item i SET l = n WHERE i.h = q AND i.l = -1;
    ELSE
        UPDATE shop.item i SET is_paid = new.is_paid, is_sent = new.is_sent WHERE i.h = q AND i.l = w;
        IF random() < .5 THEN UPDATE shop.item i SET amount = new.amount, weight = new.weight WHERE i.h = q AND i.l = w; END IF;
        IF random() < .3 THEN UPDATE shop.item i SET head = new.head WHERE i.h = q AND i.l = w; END IF;
        IF random() < .4 THEN UPDATE shop.item i SET at = new.at, pieces = new.pieces WHERE i.h = q AND i.l = w; END IF;
    END IF;
END $$;

-- ---- The oracle: what each query gave after each transaction; an image that cannot be computed has is_bad
CREATE TABLE oracle.seen (kind text, number int, lsn pg_lsn, clock timestamptz, is_bad boolean, h int, l numeric, at timestamptz, amount numeric, weight float8,
    pieces int, city text, is_paid boolean, is_sent boolean, is_open boolean, due date);
CREATE FUNCTION oracle.see(number int, lsn pg_lsn, clock timestamptz) RETURNS void LANGUAGE sql AS $$
    INSERT INTO oracle.seen SELECT 'one', number, lsn, clock, pieces = 0, h, l, at, amount, weight, CASE WHEN pieces <> 0 THEN 10 / pieces END, NULL,
        is_paid, is_sent, NULL, NULL FROM shop.item WHERE pieces <> 5 IS NOT FALSE;
    INSERT INTO oracle.seen SELECT 'two', number, lsn, clock, coalesce(pieces = 0 OR rate = 0, false), i.h, l, at,
        CASE WHEN rate <> 0 THEN amount * (12 / rate) END, weight, CASE WHEN pieces <> 0 THEN 10 / pieces END, city, is_paid, is_sent, is_open, due
        FROM shop.item i LEFT JOIN shop.head o ON o.h = i.head;
$$;
CREATE PROCEDURE oracle.generate(transactions int) LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := '2026-01-01'; so_far timestamptz := '2000-01-01'; lsn pg_lsn;
BEGIN
    FOR t IN 1 .. transactions LOOP
        FOR n IN 1 .. 1 + floor(random() * 4) LOOP PERFORM oracle.change(); END LOOP;
        IF t < 5 OR t = transactions OR random() < .4 THEN -- the images of the build and the last ones can be computed
            UPDATE shop.item SET pieces = 1 WHERE pieces = 0;
            UPDATE shop.head SET rate = 1 WHERE rate = 0;
        END IF;
        IF random() < .6 THEN clock := clock + oracle.pick('1 us', '10 hours', '1 day', '-1 hour')::interval; END IF;
        lsn := handfeed.commit('shop', clock);
        so_far := greatest(so_far, clock);
        PERFORM oracle.see(t, lsn, so_far);
    END LOOP;
END $$;

CREATE TABLE oracle.booking (kind text, h int, l numeric, at timestamptz, amount numeric, weight float8, pieces int, city text, is_open boolean,
    booked_at timestamptz, booked_lsn pg_lsn, is_reversal boolean);
CREATE TABLE oracle.way (kind text, lsn pg_lsn, h int, l numeric, at timestamptz, amount numeric, weight float8, pieces int, city text, is_open boolean,
    paid_at timestamptz, sent_at timestamptz, opened_at timestamptz, to_send interval, to_due interval);
CREATE FUNCTION oracle.is_placed(s oracle.seen) RETURNS boolean LANGUAGE sql AS $$
    SELECT coalesce(isfinite(s.at), false) AND s.pieces IS DISTINCT FROM -2147483648 $$;
CREATE FUNCTION oracle.walk(what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key record; txn record; new oracle.seen; old oracle.seen; was_there boolean; is_there boolean; paid timestamptz; sent timestamptz; opened timestamptz;
BEGIN
    FOR key IN SELECT DISTINCT h, l FROM oracle.seen WHERE kind = what LOOP
        was_there := false; old := NULL; paid := NULL; sent := NULL; opened := NULL;
        FOR txn IN SELECT 0 AS number, '0/1100'::pg_lsn AS lsn, '2025-12-31'::timestamptz AS clock
                UNION ALL SELECT row_number() OVER (ORDER BY end_lsn), end_lsn, t.clock FROM shop_log.txn t ORDER BY 1 LOOP
            SELECT * INTO new FROM oracle.seen s WHERE s.kind = what AND s.number = txn.number AND s.h = key.h AND s.l = key.l;
            is_there := new.h IS NOT NULL;
            CONTINUE WHEN is_there AND new.is_bad;
            IF is_there <> was_there OR is_there AND
                (new.h, new.l, new.at, new.amount, new.weight, new.pieces, new.city, new.is_open, new.is_paid, new.is_sent, new.due)::text <>
                (old.h, old.l, old.at, old.amount, old.weight, old.pieces, old.city, old.is_open, old.is_paid, old.is_sent, old.due)::text THEN
                IF was_there AND (what = 'two' OR oracle.is_placed(old)) THEN
                    INSERT INTO oracle.booking VALUES (what, old.h, old.l, old.at, -old.amount, -old.weight, old.pieces, old.city, old.is_open, txn.clock, txn.lsn, true);
                END IF;
                IF is_there AND (what = 'two' OR oracle.is_placed(new)) THEN
                    INSERT INTO oracle.booking VALUES (what, new.h, new.l, new.at, new.amount, new.weight, new.pieces, new.city, new.is_open, txn.clock, txn.lsn, false);
                END IF;
            END IF;
            IF NOT is_there THEN
                paid := NULL; sent := NULL; opened := NULL;
            ELSIF txn.number > 0 THEN
                IF new.is_paid AND (NOT was_there OR old.is_paid IS NOT TRUE) THEN paid := coalesce(paid, txn.clock); END IF;
                IF new.is_sent AND (NOT was_there OR old.is_sent IS NOT TRUE) THEN sent := coalesce(sent, txn.clock); END IF;
                IF new.is_open AND (NOT was_there OR old.is_open IS NOT TRUE) THEN opened := coalesce(opened, txn.clock); END IF;
            END IF;
            was_there := is_there;
            old := new;
            IF is_there AND isfinite(new.at) THEN
                INSERT INTO oracle.way VALUES (what, txn.lsn, new.h, new.l, new.at, new.amount, new.weight, new.pieces, new.city, new.is_open, paid, sent, opened,
                    sent - paid, CASE WHEN what = 'two' THEN new.due::timestamp AT TIME ZONE 'America/New_York' - sent END);
            END IF;
        END LOOP;
    END LOOP;
END $$;

-- The rows of a fact that differ from the oracle's, both ways, as text.
CREATE FUNCTION oracle.differing(have text, want text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((%1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL %1$s)) q', have, want) INTO result;
    RETURN result;
END $$;
CREATE FUNCTION oracle.compare(suffix text DEFAULT '', up_to pg_lsn DEFAULT NULL, facts text[] DEFAULT '{book_one,book_two,way_one,way_two}')
RETURNS TABLE (fact text, differing bigint) LANGUAGE sql AS $$
    SELECT f, oracle.differing(format(have, f || suffix), format(want, coalesce(up_to, (SELECT max(end_lsn) FROM shop_log.txn)))) FROM (VALUES
        ('book_one', 'SELECT (h, l, at, amount, weight, p, booked_at, booked_lsn, is_reversal)::text FROM dw.%I',
         'SELECT (h, l, at, amount, weight, pieces, booked_at, booked_lsn, is_reversal)::text FROM oracle.booking WHERE kind = ''one'' AND booked_lsn <= %L'),
        ('book_two', 'SELECT (h, l, at, amount, weight, city, is_open, booked_at, booked_lsn, is_reversal)::text FROM dw.%I',
         'SELECT (h, l, at, amount, weight, city, is_open, booked_at, booked_lsn, is_reversal)::text FROM oracle.booking WHERE kind = ''two'' AND booked_lsn <= %L'),
        ('way_one', 'SELECT (h, l, at, amount, weight, p, paid_at, sent_at, to_send)::text FROM dw.%I',
         'SELECT (h, l, at, amount, weight, pieces, paid_at, sent_at, to_send)::text FROM oracle.way WHERE kind = ''one'' AND lsn = %L'),
        ('way_two', 'SELECT (h, l, at, amount, weight, city, sent_at, opened_at, to_due)::text FROM dw.%I',
         'SELECT (h, l, at, amount, weight, city, sent_at, opened_at, to_due)::text FROM oracle.way WHERE kind = ''two'' AND lsn = %L')) v (f, have, want)
    WHERE f = ANY (facts) ORDER BY 1 $$;
-- At the position at which each of them stands.
CREATE TABLE oracle.checked (fact text, "position" pg_lsn, differing bigint);
CREATE FUNCTION oracle.check() RETURNS void LANGUAGE sql AS $$
    INSERT INTO oracle.checked SELECT c.fact, p.to_lsn, c.differing FROM unnest('{book_one,book_two,way_one,way_two}'::text[]) f
        CROSS JOIN LATERAL (SELECT l.to_lsn FROM walhouse.load_model l JOIN walhouse.model m USING (model_id)
            WHERE m.relation = ('dw.' || f)::regclass AND m.state IN ('live', 'stopped') ORDER BY l.load_id DESC LIMIT 1) p
        CROSS JOIN LATERAL oracle.compare('', p.to_lsn, ARRAY[f]) c $$;

-- ---- The run
SELECT setseed(:seed) \g /dev/null
INSERT INTO shop.head VALUES (1, 'Rome', 2, true, '2026-06-01'), (2, NULL, 1, false, '2026-06-01');
INSERT INTO shop.item SELECT (oracle.item(w::numeric, q)).* FROM generate_series(1, 3) q, unnest('{0,1.0}'::text[]) w;
UPDATE shop.item SET pieces = 3 WHERE pieces = 0;
INSERT INTO shop.town VALUES ('Rome', 1);
SELECT handfeed.commit('shop', '2025-12-31') \g /dev/null
UPDATE walhouse.feed SET horizon = '0/1100';
UPDATE walhouse.feed_table SET sync_lsn = '0/1100';
UPDATE walhouse.feed_position SET position = '0/1100', clock = '2025-12-31';
DELETE FROM shop_log.head; DELETE FROM shop_log.item; DELETE FROM shop_log.town; DELETE FROM shop_log.txn;
SELECT oracle.see(0, '0/1100', '2025-12-31') \g /dev/null
CALL oracle.generate(:transactions);
SELECT oracle.walk(k) FROM unnest('{one,two}'::text[]) k \g /dev/null
SELECT walhouse.create_dimension('dw.town', 'SELECT city, size FROM shop.town', '{city}') \g /dev/null
CREATE FUNCTION oracle.declare(suffix text) RETURNS void LANGUAGE sql AS $$
    SELECT walhouse.create_fact('dw.book_one' || suffix, 'SELECT l, h, at, amount, weight, 10 / pieces AS p, is_paid, is_sent FROM shop.item WHERE pieces <> 5 IS NOT FALSE',
        '{h,l}', 'at', corrections => 'reverse', measures => '{amount,weight}');
    SELECT walhouse.create_fact('dw.book_two' || suffix, 'SELECT i.h, l, at, amount * (12 / rate) AS amount, weight, city, is_open, is_paid, is_sent, due, 10 / pieces AS p
            FROM shop.item i LEFT JOIN shop.head o ON o.h = i.head', '{h,l}', 'booked_at', '{"town_sk": "dw.town(city)"}', 'day',
        corrections => 'reverse', measures => '{amount,weight}');
    SELECT walhouse.create_fact('dw.way_one' || suffix, 'SELECT h, l, at, amount, weight, 10 / pieces AS p, is_paid, is_sent FROM shop.item WHERE pieces <> 5 IS NOT FALSE',
        '{h,l}', 'at', milestones => '{"sent_at": "is_sent", "paid_at": "is_paid"}', lags => '{"to_send": ["paid_at", "sent_at"]}');
    SELECT walhouse.create_fact('dw.way_two' || suffix, 'SELECT i.h, l, at, amount * (12 / rate) AS amount, weight, city, is_open, is_paid, is_sent, due, 10 / pieces AS p
            FROM shop.item i LEFT JOIN shop.head o ON o.h = i.head', '{h,l}', 'at', '{"town_sk": "dw.town(city)"}',
        milestones => '{"opened_at": "is_open", "sent_at": "is_sent"}', lags => '{"to_due": ["sent_at", "due"]}');
$$;
SELECT oracle.declare('') \g /dev/null
CREATE TABLE oracle.cut AS SELECT end_lsn FROM shop_log.txn WHERE end_lsn = '0/1400' OR end_lsn > '0/1400' AND random() < .3 OR end_lsn = (SELECT max(end_lsn) FROM shop_log.txn);
SELECT handfeed.reach('shop', min(end_lsn)) FROM oracle.cut \g /dev/null
CALL walhouse.build('dw.town');
CALL walhouse.build('dw.book_one');
CALL walhouse.build('dw.book_two');
CALL walhouse.build('dw.way_one');
CALL walhouse.build('dw.way_two');
\set ECHO none
\o /dev/null
SELECT step FROM (SELECT end_lsn, 1 AS n, format('SELECT handfeed.reach(''shop'', %L)', end_lsn) AS step FROM oracle.cut
    UNION ALL SELECT end_lsn, 2, 'SELECT walhouse.resume(relation) FROM walhouse.model WHERE state = ''stopped''' FROM oracle.cut
    UNION ALL SELECT end_lsn, 3, 'CALL walhouse.load(''shop'')' FROM oracle.cut
    UNION ALL SELECT end_lsn, 4, 'SELECT oracle.check()' FROM oracle.cut) s ORDER BY end_lsn, n \gexec
\o
\set ECHO all
\set QUIET off
-- Enough happened: also images that could not be computed, and models that waited for their mending.
SELECT kind, count(*) > 100 AS bookings, count(*) FILTER (WHERE is_reversal) > 50 AS reversals FROM oracle.booking GROUP BY 1 ORDER BY 1;
SELECT kind, count(*) > 100 AS rows, count(DISTINCT sent_at) > 5 AS sent FROM oracle.way GROUP BY 1 ORDER BY 1;
SELECT kind, bool_or(is_bad) AS bad FROM oracle.seen GROUP BY 1 ORDER BY 1;
SELECT relation, state, error FROM walhouse.model ORDER BY relation::text;
-- Nothing differed from the oracle after any load, and the recomputation agrees.
SELECT fact, count(DISTINCT "position") > 10 AS positions, sum(differing) AS differing FROM oracle.checked GROUP BY 1 ORDER BY 1;
SELECT * FROM oracle.compare();
SELECT model, found - expected AS more, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
-- Every booking has the version of its own time, and the bookings of a key cancel out to its row.
SELECT count(*) FROM dw.book_two b WHERE town_sk <> CASE WHEN city IS NULL THEN -1 ELSE (SELECT town_sk FROM dw.town t WHERE t.city = b.city AND
    t.valid_from <= b.booked_at ORDER BY t.valid_from DESC LIMIT 1) END;
SELECT count(*) FROM (SELECT (h, l, at, abs(amount), abs(weight), city, is_open, is_paid, is_sent, due, p)::text AS row,
    sum(CASE WHEN is_reversal THEN -1 ELSE 1 END) AS n FROM dw.book_two GROUP BY 1 HAVING sum(CASE WHEN is_reversal THEN -1 ELSE 1 END) NOT IN (0, 1)) x;
-- As they were known after a load in the middle.
SELECT load_id AS middle, to_lsn AS "position" FROM walhouse.load_model JOIN walhouse.model m USING (model_id) WHERE m.relation = 'dw.book_one'::regclass
    ORDER BY load_id OFFSET 6 LIMIT 1 \gset
CREATE VIEW dw.book_one_then AS SELECT * FROM walhouse.as_known(NULL::dw.book_one, load => :middle);
CREATE VIEW dw.book_two_then AS SELECT * FROM walhouse.as_known(NULL::dw.book_two, load => :middle);
SELECT * FROM oracle.compare('_then', (SELECT to_lsn FROM walhouse.load_model JOIN walhouse.model m USING (model_id)
    WHERE load_id <= :middle AND m.relation = 'dw.book_two'::regclass ORDER BY load_id DESC LIMIT 1), '{book_two}');
SELECT * FROM oracle.compare('_then', :'position', '{book_one}');
DROP VIEW dw.book_one_then, dw.book_two_then;
-- Built again at the end, and declared at the end.
CALL walhouse.build('dw.book_one');
CALL walhouse.build('dw.book_two');
CALL walhouse.build('dw.way_one');
CALL walhouse.build('dw.way_two');
SELECT * FROM oracle.compare();
SELECT oracle.declare('_late') \g /dev/null
CALL walhouse.build('dw.book_one_late');
CALL walhouse.build('dw.book_two_late');
CALL walhouse.build('dw.way_one_late');
CALL walhouse.build('dw.way_two_late');
SELECT * FROM oracle.compare('_late');
-- Samples of them say so, too, and where the log begins after the history, it is the rows' own.
SELECT m, missing, unexpected, different FROM unnest('{dw.book_one,dw.book_two,dw.way_one,dw.way_two}'::regclass[]) m, walhouse.verify(m, 50);
UPDATE walhouse.feed SET horizon = (SELECT end_lsn FROM shop_log.txn t WHERE NOT EXISTS (SELECT FROM oracle.seen s WHERE s.lsn = t.end_lsn AND s.is_bad)
    ORDER BY abs(end_lsn - '0/1100' - :transactions * 128) LIMIT 1);
SELECT m, found - expected AS more, missing, unexpected, different FROM unnest('{dw.book_one,dw.book_two,dw.way_one,dw.way_two}'::regclass[]) m, walhouse.verify(m);
SELECT m, missing, unexpected, different FROM unnest('{dw.book_one,dw.book_two,dw.way_one,dw.way_two}'::regclass[]) m, walhouse.verify(m, 50);

\set QUIET on
SELECT walhouse.drop_model(relation) FROM walhouse.model WHERE kind = 'fact' \g /dev/null
SELECT walhouse.drop_model('dw.town') \g /dev/null
\set ECHO none
\o /dev/null
SELECT handfeed.remove('shop');
DROP SCHEMA dw, oracle, handfeed CASCADE;
