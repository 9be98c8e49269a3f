-- P3 for dimensions with an effective column, and for the facts on them: one random log of changes that come late, early, twice at one
-- instant and without a time, cut into random loads, gives the rows of an oracle that walks through the history of each key in a
-- loop; and so do one build at the end, the recomputation from a later horizon, and what was known at an earlier load. All ways of
-- deleting, all types of columns, all types of effective columns. One fact stops now and then, and catches up; one books corrections;
-- a rollup stands on the surrogate keys of a third.
-- Other logs: \set seed 0.7 before the file, or more transactions.
\getenv srcdir PG_ABS_SRCDIR
\set random :srcdir '/test/lib/random.sql'
\if :{?seed}
\else
\set seed 0.6
\endif
\set usual_transactions 80
\set ECHO none
\i :random
\set ECHO all
SET client_min_messages = warning;
SELECT handfeed.make('shop', 'Europe/Berlin') \g /dev/null
CREATE TABLE shop.member (k1 numeric, k2 text, a text, b float8, c numeric, d text, f text, e timestamptz, day date, local timestamp, PRIMARY KEY (k2, k1));
CREATE TABLE shop.visit (id int PRIMARY KEY, k1 numeric, k2 text, at timestamptz, amount int);
SELECT handfeed.add('shop', 'shop.member'), handfeed.add('shop', 'shop.visit') \g /dev/null

-- ---- The source: random rows and changes; few times, so that they meet, around the change of clocks in spring
CREATE FUNCTION oracle.time(clock timestamptz) RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN random() < .12 THEN oracle.pick(NULL, 'infinity', '-infinity')::timestamptz
                WHEN random() < .4 THEN clock + oracle.pick('0', '-1 us', '1 us', '3 days')::interval
                ELSE '2026-03-20'::timestamptz + floor(random() * 24) * interval '12 hours' END $$;
CREATE FUNCTION oracle.row(k1 numeric, k2 text, clock timestamptz) RETURNS shop.member LANGUAGE sql VOLATILE AS $$
    SELECT ROW (k1, k2, oracle.pick('', 'x', NULL, 'A'), oracle.pick('NaN', '0', '-0', 'Infinity', NULL, '13')::float8,
        oracle.pick('1.0', '1.00', NULL, 'NaN')::numeric, oracle.pick('p', 'q', NULL),
        CASE WHEN random() < .1 THEN repeat('r', 9000) || (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 150) g) ELSE oracle.pick('s', NULL) END,
        t.e, (t.e AT TIME ZONE 'Europe/Berlin')::date, t.e AT TIME ZONE 'Europe/Berlin')::shop.member
    FROM (SELECT oracle.time(clock) AS e) t $$;

CREATE FUNCTION oracle.change(clock timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    q numeric := oracle.pick('0', '1', '1.0', '1.00', '2');
    w text := oracle.pick('', 'x');
    n numeric := oracle.pick('0', '1', '1.0', '1.00', '2', '2.0');
    dice float8 := random();
    r shop.member := oracle.row(q, w, clock);
    o shop.member;
BEGIN
    SELECT * INTO o FROM shop.member m WHERE m.k1 = q AND m.k2 = w;
    IF dice < .02 THEN
        TRUNCATE shop.member;
    ELSIF o.k1 IS NULL THEN
        INSERT INTO shop.member SELECT r.*;
    ELSIF dice < .2 THEN                            -- delete, and sometimes the same again
        DELETE FROM shop.member m WHERE m.k1 = q AND m.k2 = w;
        IF dice < .06 THEN INSERT INTO shop.member SELECT o.*; END IF;
    ELSIF dice < .3 AND (n = q OR NOT EXISTS (SELECT FROM shop.member m WHERE m.k1 = n AND m.k2 = w)) THEN
        UPDATE shop.member m SET k1 = n WHERE m.k1 = q AND m.k2 = w;
    ELSIF dice < .36 THEN                           -- nothing
        UPDATE shop.member m SET a = a WHERE m.k1 = q AND m.k2 = w;
    ELSE                                            -- a new time alone, or with other values
        IF random() < .3 THEN o.e := r.e; o.day := r.day; o.local := r.local; r := o; END IF;
        IF random() < .3 THEN r.a := o.a; r.b := o.b; r.c := o.c; END IF;
        UPDATE shop.member m SET (a, b, c, d, f, e, day, local) = ROW (r.a, r.b, r.c, r.d, r.f, r.e, r.day, r.local) WHERE m.k1 = q AND m.k2 = w;
    END IF;
END $$;
CREATE FUNCTION oracle.visit(clock timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    i int := floor(random() * 30);
    q numeric := oracle.pick('0', '1', '1.0', '2', '3', NULL);
    w text := oracle.pick('', 'x');
    t timestamptz := '2026-03-18'::timestamptz + random() * interval '20 days';
BEGIN
    IF random() < .1 THEN DELETE FROM shop.visit WHERE id = i; RETURN; END IF;
    IF random() < .3 THEN t := oracle.time(clock); END IF;
    INSERT INTO shop.visit VALUES (i, q, w, t, CASE WHEN random() < .04 THEN 0 ELSE 5 END)
    ON CONFLICT (id) DO UPDATE SET k1 = excluded.k1, k2 = excluded.k2, at = excluded.at, amount = excluded.amount;
END $$;
CREATE PROCEDURE oracle.generate(transactions int) LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := '2026-03-24';
BEGIN
    FOR t IN 1 .. transactions LOOP
        FOR n IN 1 .. 1 + floor(random() * 3) LOOP PERFORM oracle.change(clock); END LOOP;
        FOR n IN 1 .. floor(random() * 3) LOOP PERFORM oracle.visit(clock); END LOOP;
        IF random() < .5 THEN clock := clock + oracle.pick('1 us', '1 hour', '7 hours', '-1 hour')::interval; END IF;
        PERFORM handfeed.commit('shop', clock);
    END LOOP;
END $$;

-- ---- The oracle. rules: the way of deleting, the effective column, and whether all, some or no columns have type 2
CREATE TABLE oracle.start (LIKE shop.member);
CREATE TABLE oracle.rules (model text, on_delete text, effective text, types text);
INSERT INTO oracle.rules VALUES ('closed', 'close', 'e', 'mixed'), ('plain', 'close', 'local', 'all'), ('lone', 'close', 'day', 'none'),
    ('marked', 'tombstone', 'day', 'mixed'), ('kept', 'ignore', 'local', 'mixed'), ('purged', 'purge', 'e', 'mixed');
CREATE TABLE oracle.event (eff timestamptz, lsn pg_lsn, live boolean, k1 numeric, k2 text, a text, b float8, c text, d text, f text, time text);
CREATE TABLE oracle.want (model text, k1 numeric, k2 text, a text, b float8, c text, c_current text, d text, d_previous text, f text, time text,
    valid_from timestamptz, valid_to timestamptz, is_current boolean, is_deleted boolean);

CREATE FUNCTION oracle.history(rule oracle.rules, up_to pg_lsn) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    key record; txn record; entry record; x oracle.event; before oracle.event; last_live oracle.event; open oracle.want;
    is_live boolean; is_dead boolean; own timestamptz; at timestamptz;
    was_live boolean; last_at timestamptz; max_at timestamptz; image text; last_image text;
    is_first boolean; first_f text; previous_d text;
BEGIN
    DELETE FROM oracle.want WHERE model = rule.model;
    FOR key IN SELECT DISTINCT ON (k1, k2) k1, k2 FROM (SELECT k1, k2 FROM oracle.start UNION ALL SELECT k1, k2 FROM oracle.log WHERE op <> 'T') q LOOP
        -- Its events, each at its instant; was_live, last_at: of the event before, max_at: of all before.
        DELETE FROM oracle.event;
        is_dead := NULL; was_live := NULL; last_at := NULL; max_at := NULL; last_image := NULL;
        FOR txn IN SELECT '0/0'::pg_lsn AS end_lsn, '-infinity'::timestamptz AS clock UNION ALL SELECT t.end_lsn, t.clock FROM oracle.txn t WHERE t.end_lsn <= up_to ORDER BY 1 LOOP
            IF txn.end_lsn = '0/0' THEN
                SELECT 'I' AS op, 0::bigint AS seq, s.* INTO entry FROM oracle.start s WHERE s.k1 = key.k1 AND s.k2 = key.k2;
            ELSE
                SELECT l.op::text, l.seq, l.k1, l.k2, l.a, l.b, l.c, l.d, l.f, l.e, l.day, l.local INTO entry FROM oracle.log l
                WHERE l.lsn = txn.end_lsn AND l.k1 = key.k1 AND l.k2 = key.k2 ORDER BY l.op = 'B', l.seq DESC, l.op DESC LIMIT 1;
            END IF;
            CONTINUE WHEN NOT FOUND;
            is_live := entry.op IN ('I', 'U') AND entry.b <> 13 IS NOT FALSE
                AND NOT EXISTS (SELECT FROM oracle.log t WHERE t.lsn = txn.end_lsn AND t.op = 'T' AND t.seq > entry.seq);
            -- A B alone is a change where a TRUNCATE took the row.
            CONTINUE WHEN entry.op = 'B' AND NOT EXISTS (SELECT FROM oracle.log t WHERE t.lsn = txn.end_lsn AND t.op = 'T');
            is_dead := NOT is_live;
            IF is_dead AND rule.on_delete = 'purge' THEN
                DELETE FROM oracle.event;
                was_live := NULL; last_at := NULL; max_at := NULL; last_image := NULL;
            END IF;
            CONTINUE WHEN is_dead AND (rule.on_delete <> 'close' OR was_live IS NOT TRUE);
            image := CASE WHEN is_live THEN (entry.k1, entry.k2, entry.a, entry.b, entry.c, entry.d, entry.f,
                CASE rule.effective WHEN 'e' THEN entry.e::text WHEN 'day' THEN entry.day::text ELSE entry.local::text END)::text END;
            CONTINUE WHEN image = last_image;
            last_image := image;
            own := CASE rule.effective WHEN 'e' THEN entry.e WHEN 'day' THEN entry.day::timestamp AT TIME ZONE 'Europe/Berlin'
                ELSE entry.local AT TIME ZONE 'Europe/Berlin' END;
            IF own IS NULL OR NOT isfinite(own) THEN own := txn.clock; END IF;
            at := CASE WHEN is_dead THEN greatest(txn.clock, max_at) WHEN was_live = false THEN greatest(own, last_at) ELSE own END;
            DELETE FROM oracle.event o WHERE o.eff = at;
            INSERT INTO oracle.event SELECT at, txn.end_lsn, is_live, entry.k1, entry.k2, entry.a, entry.b, entry.c::text || '!', entry.d, entry.f,
                CASE rule.effective WHEN 'e' THEN entry.e::text WHEN 'day' THEN entry.day::text ELSE entry.local::text END;
            was_live := is_live; last_at := at; max_at := greatest(max_at, at);
        END LOOP;
        -- Its versions, and what they have in common.
        open := NULL; before := NULL; last_live := NULL; is_first := true; previous_d := NULL;
        FOR x IN SELECT * FROM oracle.event ORDER BY eff LOOP
            IF open.k1 IS NOT NULL AND (NOT x.live OR CASE rule.types
                    WHEN 'all' THEN (x.a, x.b, x.c, x.d, x.f)::text <> (before.a, before.b, before.c, before.d, before.f)::text
                    WHEN 'mixed' THEN (x.b, x.c)::text <> (before.b, before.c)::text ELSE false END) THEN
                open.valid_to := x.eff; open.is_current := false;
                INSERT INTO oracle.want SELECT open.*;
                open := NULL;
            END IF;
            IF x.live AND open.k1 IS NULL THEN
                open := ROW (rule.model, x.k1, x.k2, x.a, x.b, x.c, NULL, x.d, NULL, x.f, x.time,
                    CASE WHEN is_first THEN '-infinity' ELSE x.eff END, 'infinity', true, false);
            END IF;
            IF x.live THEN
                IF is_first THEN first_f := x.f; ELSIF last_live.d IS DISTINCT FROM x.d THEN previous_d := last_live.d; END IF;
                is_first := false; last_live := x;
            END IF;
            before := x;
        END LOOP;
        IF open.k1 IS NOT NULL THEN
            open.is_deleted := rule.on_delete = 'tombstone' AND is_dead;
            INSERT INTO oracle.want SELECT open.*;
        END IF;
        UPDATE oracle.want w SET k1 = last_live.k1, k2 = last_live.k2,
            a = CASE rule.types WHEN 'all' THEN w.a ELSE last_live.a END,
            b = CASE rule.types WHEN 'none' THEN last_live.b ELSE w.b END,
            c = CASE rule.types WHEN 'none' THEN last_live.c ELSE w.c END, c_current = CASE rule.types WHEN 'mixed' THEN last_live.c END,
            d = CASE rule.types WHEN 'all' THEN w.d ELSE last_live.d END, d_previous = CASE rule.types WHEN 'mixed' THEN previous_d END,
            f = CASE rule.types WHEN 'all' THEN w.f WHEN 'none' THEN last_live.f ELSE first_f END
        WHERE w.model = rule.model AND w.k1 = key.k1 AND w.k2 = key.k2;
    END LOOP;
END $$;

-- The rows of a dimension (its table, or what as_known gives) that differ from the oracle's, both ways.
CREATE FUNCTION oracle.differing(rule oracle.rules, source text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
    is_mixed boolean := rule.types = 'mixed';
    have text := format('SELECT (%L, k1, k2, a, b, c, %s, d, %s, f, eff, valid_from, valid_to, is_current, %s)::text FROM %s x WHERE x.k1 IS NOT NULL AND NOT is_inferred',
        rule.model, CASE WHEN is_mixed THEN 'c_current' ELSE 'NULL' END, CASE WHEN is_mixed THEN 'd_previous' ELSE 'NULL' END,
        CASE rule.on_delete WHEN 'tombstone' THEN 'is_deleted' ELSE 'false' END, source);
    want text := format('SELECT w::text FROM oracle.want w WHERE model = %L', rule.model);
BEGIN
    EXECUTE format('SELECT count(*) FROM ((%1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL %1$s)) q', have, want) INTO result;
    RETURN result;
END $$;
-- The rows of a fact (its table, or what as_known gives) that do not point to the version that the oracle says. What was known then may have
-- no surrogate key any more; who was not known then has that of the first version.
CREATE FUNCTION oracle.instant(timestamptz) RETURNS timestamptz LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION oracle.instant(timestamp) RETURNS timestamptz LANGUAGE sql AS $$ SELECT $1 AT TIME ZONE 'Europe/Berlin' $$;
CREATE FUNCTION oracle.instant(date) RETURNS timestamptz LANGUAGE sql AS $$ SELECT $1::timestamp AT TIME ZONE 'Europe/Berlin' $$;
CREATE FUNCTION oracle.astray(source text, is_past boolean DEFAULT false) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
    total bigint := 0;
    rule oracle.rules;
BEGIN
    FOR rule IN SELECT * FROM oracle.rules LOOP
        EXECUTE format('SELECT count(*) FROM (SELECT x.k1, x.k2, oracle.instant(x.at) AS at, x.%1$I_sk AS sk FROM %2$s x) f LEFT JOIN dw.%1$I d ON d.%1$I_sk = f.sk
            LEFT JOIN LATERAL (SELECT * FROM oracle.want w WHERE w.model = %1$L AND w.k1 = f.k1 AND w.k2 = f.k2
                AND w.valid_from <= f.at ORDER BY w.valid_from DESC LIMIT 1) w ON true
            WHERE CASE WHEN f.k1 IS NULL THEN f.sk IS DISTINCT FROM -1
                WHEN w.k1 IS NULL THEN (d.valid_from = ''-infinity'' AND d.k1 = f.k1 AND d.k2 = f.k2 AND (d.is_inferred OR %3$L)) IS NOT TRUE
                WHEN f.sk IS NULL THEN NOT %3$L OR EXISTS (SELECT FROM dw.%1$I v WHERE v.k1 = f.k1 AND v.k2 = f.k2 AND v.valid_from = w.valid_from)
                ELSE (d.valid_from = w.valid_from AND d.k1 = f.k1 AND d.k2 = f.k2 AND (NOT d.is_inferred OR %3$L)) IS NOT TRUE END', rule.model, source, is_past) INTO result;
        total := total + result;
    END LOOP;
    RETURN total;
END $$;

-- ---- The run
SELECT setseed(:seed) \g /dev/null
INSERT INTO shop.member SELECT (oracle.row(q::numeric, w, '2026-03-24')).* FROM unnest('{0,1.0}'::text[]) q, unnest('{"",x}'::text[]) w;
INSERT INTO oracle.start SELECT * FROM shop.member;
SELECT handfeed.commit('shop', '2026-03-23') \g /dev/null
UPDATE walhouse.feed SET horizon = '0/1100';
UPDATE walhouse.feed_table SET sync_lsn = '0/1100';
DELETE FROM shop_log.member;
DELETE FROM shop_log.txn;
CALL oracle.generate(:transactions);
UPDATE shop.visit SET amount = 5 WHERE amount = 0;
SELECT handfeed.commit('shop', '2026-04-01') \g /dev/null
CREATE TABLE oracle.log AS SELECT * FROM shop_log.member;
CREATE TABLE oracle.txn AS SELECT * FROM shop_log.txn;
CREATE INDEX ON oracle.log (lsn);
SELECT walhouse.create_dimension('dw.' || model, format('SELECT k1, a, b, c::text || ''!'' AS c, d, f, %I AS eff, k2 FROM shop.member WHERE b <> 13 IS NOT FALSE', effective),
    '{k1,k2}', CASE types WHEN 'all' THEN '{}' WHEN 'none' THEN '{"*": 1}' ELSE '{"a": 1, "c": 6, "d": 3, "f": 0}' END::jsonb, on_delete, effective => 'eff')
FROM oracle.rules ORDER BY model \g /dev/null
SELECT jsonb_object_agg(model || '_sk', format('dw.%s(k1, k2)', model)) AS roles FROM oracle.rules \gset
SELECT walhouse.create_fact('dw.visit', 'SELECT id, k1, k2, at FROM shop.visit', '{id}', 'at', :'roles', 'day'),
    walhouse.create_fact('dw.visit_day', 'SELECT id, k1, k2, (at AT TIME ZONE ''UTC'')::date AS at FROM shop.visit WHERE id < 20', '{id}', 'at', :'roles'),
    walhouse.create_fact('dw.frail', 'SELECT id, k1, k2, at AT TIME ZONE ''Europe/Berlin'' AS at, 10 / amount AS ratio FROM shop.visit WHERE id < 15', '{id}', 'at', :'roles'),
    walhouse.create_fact('dw.booked', 'SELECT id, k1, k2, at, amount FROM shop.visit WHERE id >= 10', '{id}', 'at', :'roles', corrections => 'reverse', measures => '{amount}') \g /dev/null
SELECT walhouse.create_rollup('dw.visits', 'dw.visit', '{closed_sk,purged_sk}', '{"n": "count(*)"}') \g /dev/null
CREATE TABLE oracle.cut AS SELECT end_lsn FROM oracle.txn WHERE random() < .3 OR end_lsn = (SELECT max(end_lsn) FROM oracle.txn);
CREATE TABLE oracle.seen (end_lsn pg_lsn, wrong bigint, stopped bigint, moved bigint);
CREATE FUNCTION oracle.step(up_to pg_lsn) RETURNS void LANGUAGE sql AS $$
    SELECT walhouse.resume(relation) FROM walhouse.model WHERE state = 'stopped';
    SELECT handfeed.reach('shop', up_to);
$$;
CREATE FUNCTION oracle.look(up_to pg_lsn, verifies boolean) RETURNS void LANGUAGE sql AS $$
    INSERT INTO oracle.seen SELECT up_to, CASE WHEN verifies THEN (SELECT sum(missing + unexpected + different) FROM walhouse.verify()) END,
        (SELECT count(*) FROM walhouse.model WHERE state <> 'live'), (SELECT count(*) FROM walhouse.moved) $$;
SELECT oracle.step(min(end_lsn)) FROM oracle.cut \g /dev/null
\set ECHO none
\o /dev/null
SELECT format('CALL walhouse.build(%L)', relation::text) FROM walhouse.model ORDER BY model_id \gexec
SELECT step FROM (SELECT end_lsn, 1 AS n, format('SELECT oracle.step(%L)', end_lsn) AS step FROM oracle.cut
    UNION ALL SELECT end_lsn, 2, 'CALL walhouse.load(''shop'')' FROM oracle.cut
    UNION ALL SELECT end_lsn, 3, format('SELECT oracle.look(%L, %L)', end_lsn, random() < .3 OR end_lsn = (SELECT max(end_lsn) FROM oracle.cut)) FROM oracle.cut) s ORDER BY end_lsn, n \gexec
SELECT oracle.history(r, 'FFFFFFFF/FFFFFFFF') FROM oracle.rules r;
\o
\set ECHO all
\set QUIET off
-- Enough happened, nothing differs from the oracle, and after every load the recomputation agreed.
SELECT count(*) > 15 AS loads, count(wrong) > 3 AS verified, sum(wrong) AS wrong, bool_or(stopped > 0) AS stopped, max(moved) > 10 AS moved FROM oracle.seen;
SELECT model, count(*) > 3 AS many FROM oracle.want GROUP BY 1 ORDER BY 1;
SELECT model, oracle.differing(r, 'dw.' || model) FROM oracle.rules r ORDER BY 1;
SELECT relation, oracle.astray(relation::text) FROM walhouse.model WHERE kind = 'fact' ORDER BY model_id;
SELECT count(*) AS ahead FROM walhouse.ahead;
-- Built at the end, in one go.
\set ECHO none
\o /dev/null
SELECT format('CALL walhouse.build(%L)', relation::text) FROM walhouse.model ORDER BY model_id \gexec
\o
\set ECHO all
SELECT model, oracle.differing(r, 'dw.' || model) FROM oracle.rules r ORDER BY 1;
SELECT relation, oracle.astray(relation::text) FROM walhouse.model WHERE kind = 'fact' ORDER BY model_id;
-- The log goes on, and its horizon moves into what the dimensions have.
\set QUIET on
CALL oracle.generate(:transactions / 3);
UPDATE shop.visit SET amount = 5 WHERE amount = 0;
SELECT handfeed.commit('shop', '2026-04-05') \g /dev/null
TRUNCATE oracle.cut, oracle.seen, oracle.log, oracle.txn;
INSERT INTO oracle.log SELECT * FROM shop_log.member;
INSERT INTO oracle.txn SELECT * FROM shop_log.txn;
INSERT INTO oracle.cut SELECT end_lsn FROM oracle.txn WHERE end_lsn > (SELECT max(position) FROM walhouse.feed_position) AND random() < .3 OR end_lsn = (SELECT max(end_lsn) FROM oracle.txn);
\set ECHO none
\o /dev/null
SELECT step FROM (SELECT end_lsn, 1 AS n, format('SELECT oracle.step(%L)', end_lsn) AS step FROM oracle.cut
    UNION ALL SELECT end_lsn, 2, 'CALL walhouse.load(''shop'')' FROM oracle.cut
    UNION ALL SELECT end_lsn, 3, format('SELECT oracle.look(%L, %L)', end_lsn, random() < .3 OR end_lsn = (SELECT max(end_lsn) FROM oracle.cut)) FROM oracle.cut) s ORDER BY end_lsn, n \gexec
-- An earlier load, while the log reaches back to it.
SELECT load_id, to_lsn FROM walhouse.load_model WHERE load_id > (SELECT max(load_id) FROM walhouse.load WHERE kind = 'build') AND model_id = (SELECT min(model_id) FROM walhouse.model)
ORDER BY load_id LIMIT 1 OFFSET 3 \gset then_
SELECT oracle.history(r, :'then_to_lsn') FROM oracle.rules r;
\o
\set ECHO all
\set QUIET off
SELECT sum(wrong) AS wrong FROM oracle.seen;
SELECT model, oracle.differing(r, format('walhouse.as_known(NULL::dw.%I, load => %s)', model, :'then_load_id')) FROM oracle.rules r ORDER BY 1;
SELECT relation, oracle.astray(format('walhouse.as_known(NULL::%s, load => %s)', relation, :'then_load_id'), true) FROM walhouse.model WHERE relation IN ('dw.visit'::regclass, 'dw.visit_day'::regclass) ORDER BY model_id;
\set QUIET on
\set ECHO none
\o /dev/null
SELECT oracle.history(r, 'FFFFFFFF/FFFFFFFF') FROM oracle.rules r;
\o
\set ECHO all
\set QUIET off
SELECT model, oracle.differing(r, 'dw.' || model) FROM oracle.rules r ORDER BY 1;
SELECT relation, oracle.astray(relation::text) FROM walhouse.model WHERE kind = 'fact' ORDER BY model_id;
-- At five horizons.
\set QUIET on
TRUNCATE oracle.seen;
\set ECHO none
\o /dev/null
SELECT step FROM (SELECT end_lsn, n, CASE n WHEN 1 THEN format('UPDATE walhouse.feed SET horizon = %L', end_lsn) WHEN 2 THEN format('DELETE FROM shop_log.member WHERE lsn <= %L', end_lsn)
        WHEN 3 THEN format('DELETE FROM shop_log.visit WHERE lsn <= %L', end_lsn) ELSE format('SELECT oracle.look(%L, true)', end_lsn) END AS step
    FROM (SELECT end_lsn FROM oracle.txn ORDER BY random() LIMIT 5) t, generate_series(1, 4) n) s ORDER BY end_lsn, n \gexec
\o
\set ECHO all
\set QUIET off
SELECT count(*), sum(wrong) AS wrong FROM oracle.seen;
SELECT sum(missing + unexpected + different) AS wrong FROM walhouse.model, walhouse.verify(relation, 10);

\set QUIET on
SELECT walhouse.drop_model('dw.visits') \g /dev/null
SELECT walhouse.drop_model(relation) FROM walhouse.model WHERE kind = 'fact' \g /dev/null
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
DELETE FROM walhouse.feed_column; DELETE FROM walhouse.feed_table; DELETE FROM walhouse.feed_position; DELETE FROM walhouse.load; DELETE FROM walhouse.feed;
DROP SCHEMA shop, shop_log, dw, oracle, handfeed CASCADE;
