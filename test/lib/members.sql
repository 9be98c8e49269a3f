-- members.sql: a random source of members, in feeds made by handfeed.sql, after random.sql; random() alone decides, so that setseed() makes it come again.
-- CREATE TABLE shop.member (k1 numeric, k2 text, a text, b float8, c numeric, d text, e timestamptz, PRIMARY KEY (k2, k1));
-- then CALL oracle.generate(transactions, truncates): so many source transactions; truncates: which part of the changes are TRUNCATEs.
CREATE FUNCTION oracle.row(k1 numeric, k2 text) RETURNS shop.member LANGUAGE sql VOLATILE AS $$
    SELECT ROW (k1, k2, oracle.pick('', 'x', NULL, 'A'), oracle.pick('NaN', '0', '-0', 'Infinity', NULL, '1', '13')::float8,
        oracle.pick('1.0', '1.00', NULL, 'NaN', '0')::numeric,
        CASE WHEN random() < .2 THEN repeat(oracle.pick('p', 'q'), 9000) || (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 150) g)
             WHEN random() < .5 THEN 'small' END,
        oracle.pick('-infinity', 'infinity', NULL, '2026-01-01')::timestamptz)::shop.member $$;

CREATE FUNCTION oracle.change(truncates float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    q numeric := oracle.pick('0', '1', '1.0', '1.00', '2');
    w text := oracle.pick('', 'x');
    n numeric := oracle.pick('0', '1', '1.0', '1.00', '2', '2.0');
    dice float8 := random();
    r shop.member;
    o shop.member;
BEGIN
    SELECT * INTO o FROM shop.member m WHERE m.k1 = q AND m.k2 = w;
    IF dice < truncates THEN
        TRUNCATE shop.member;
    ELSIF o.k1 IS NULL THEN
        INSERT INTO shop.member SELECT (oracle.row(q, w)).*;
    ELSIF dice < .25 THEN                           -- delete, and sometimes the same again
        DELETE FROM shop.member m WHERE m.k1 = q AND m.k2 = w;
        IF dice < .1 THEN INSERT INTO shop.member SELECT o.*; END IF;
    ELSIF dice < .4 AND (n = q OR NOT EXISTS (SELECT FROM shop.member m WHERE m.k1 = n AND m.k2 = w)) THEN
        UPDATE shop.member m SET k1 = n WHERE m.k1 = q AND m.k2 = w;
    ELSIF dice < .4 THEN                            -- swap two keys
        UPDATE shop.member m SET k1 = -1 WHERE m.k1 = q AND m.k2 = w;
        UPDATE shop.member m SET k1 = q WHERE m.k1 = n AND m.k2 = w;
        UPDATE shop.member m SET k1 = n WHERE m.k1 = -1 AND m.k2 = w;
    ELSE
        r := oracle.row(q, w);
        IF random() < .3 THEN r := o; END IF;
        UPDATE shop.member m SET b = r.b, e = r.e WHERE m.k1 = q AND m.k2 = w;
        IF random() < .6 THEN UPDATE shop.member m SET a = r.a, c = r.c, d = r.d WHERE m.k1 = q AND m.k2 = w; END IF;
    END IF;
END $$;

CREATE PROCEDURE oracle.generate(transactions int, truncates float8 DEFAULT .03) LANGUAGE plpgsql AS $$
DECLARE
    clock timestamptz := '2026-01-01';
BEGIN
    FOR t IN 1 .. transactions LOOP
        FOR n IN 1 .. 1 + floor(random() * 5) LOOP PERFORM oracle.change(truncates); END LOOP;
        IF random() < .5 THEN clock := clock + oracle.pick('1 us', '2 us', '1 day', '-1 hour')::interval; END IF;
        PERFORM handfeed.commit('shop', clock);
    END LOOP;
END $$;
