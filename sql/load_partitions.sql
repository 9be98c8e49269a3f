-- To which partitions each load wrote, and how many changes it read: what loads say is what became of the rows, whichever way they were written.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'America/New_York') \g /dev/null
CREATE TABLE shop.customer (id int PRIMARY KEY, city text);
CREATE TABLE shop.sale (id int PRIMARY KEY, customer int, at timestamptz, plain timestamp, day date, amount numeric);
SELECT handfeed.add('shop', t) FROM unnest('{shop.customer,shop.sale}'::regclass[]) t \g /dev/null
INSERT INTO shop.sale SELECT i, i % 5, t, t, t, i FROM generate_series(1, 40) i, LATERAL (SELECT timestamptz '2026-01-01' + i * interval '90 h' AS t) t;
SELECT handfeed.commit('shop', '2026-01-01 12:00+00') \g /dev/null
CREATE SCHEMA dw;
CREATE SCHEMA oracle;
-- Facts of each type of event time; twins that are written by SQL; with rollups and without; with partitions that somebody made.
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, city FROM shop.customer', '{id}', '{"*": 2}') \g /dev/null
CREATE FUNCTION oracle.declare(name text, event_time name, grid text) RETURNS regclass LANGUAGE sql AS $$
    SELECT walhouse.create_fact(name, 'SELECT id, customer, at, plain, day, amount FROM shop.sale', '{id}', event_time, '{"customer_sk": "dw.customer(customer)"}', grid) $$;
SELECT oracle.declare('dw.month', 'at', 'month'), oracle.declare('dw.year', 'plain', 'year'), oracle.declare('dw.day', 'day', 'day'),
    oracle.declare('dw.month_sql', 'at', 'month'), oracle.declare('dw.day_sql', 'day', 'day') \g /dev/null
ALTER TABLE dw.month_sql ADD CONSTRAINT "by SQL" CHECK (true);
ALTER TABLE dw.day_sql ADD CONSTRAINT "by SQL" CHECK (true);
SELECT walhouse.create_fact('dw.joined', 'SELECT s.id, s.customer, s.at, s.amount, c.city FROM shop.sale s LEFT JOIN shop.customer c ON c.id = s.customer', '{id}', 'at', '{"customer_sk": "dw.customer(customer)"}', 'month') \g /dev/null
SELECT walhouse.create_rollup('dw.by_month', 'dw.month', '{}', '{"total": "sum(amount)"}', 'month'),
    walhouse.create_rollup('dw.by_month_sql', 'dw.month_sql', '{}', '{"total": "sum(amount)"}', 'month') \g /dev/null
CREATE TABLE dw.day_old PARTITION OF dw.day FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
CREATE TABLE dw.day_sql_old PARTITION OF dw.day_sql FOR VALUES FROM (MINVALUE) TO ('2025-01-01') PARTITION BY HASH (id);
CREATE TABLE dw.day_sql_old_0 PARTITION OF dw.day_sql_old FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE dw.day_sql_old_1 PARTITION OF dw.day_sql_old FOR VALUES WITH (MODULUS 2, REMAINDER 1);

-- The oracle: rows of before and after, and where they are.
CREATE VIEW oracle.now AS
    SELECT 'dw.month'::regclass AS fact, id, tableoid::regclass AS leaf, load_id FROM dw.month UNION ALL SELECT 'dw.month_sql', id, tableoid, load_id FROM dw.month_sql
    UNION ALL SELECT 'dw.year', id, tableoid, load_id FROM dw.year UNION ALL SELECT 'dw.joined', id, tableoid, load_id FROM dw.joined UNION ALL SELECT 'dw.day', id, tableoid, load_id FROM dw.day
    UNION ALL SELECT 'dw.day_sql', id, CASE WHEN tableoid IN ('dw.day_sql_old_0'::regclass, 'dw.day_sql_old_1'::regclass) THEN 'dw.day_sql_old'::regclass ELSE tableoid END, load_id FROM dw.day_sql;
CREATE TABLE oracle.before AS TABLE oracle.now;
CREATE TABLE oracle.load (load_id bigint, kind text, fact regclass, said text, expected text, rows_read bigint, logged bigint);
-- Gaps, of too many how wide the widest are together.
CREATE FUNCTION oracle.gaps(gaps tsmultirange) RETURNS text LANGUAGE sql AS $$
    SELECT COALESCE(CASE WHEN count(*) < 16 THEN ' without ' || NULLIF(gaps::text, '{}') ELSE ' without ' || sum(width) END, '')
    FROM (SELECT upper(g) - lower(g) AS width FROM unnest(gaps) g ORDER BY 1 DESC LIMIT 16) w $$;
CREATE PROCEDURE oracle.note() LANGUAGE sql AS $$
    WITH touched AS (
        SELECT DISTINCT COALESCE(n.fact, b.fact) AS fact, p.*
        FROM oracle.now n FULL JOIN oracle.before b USING (fact, id, leaf, load_id)
             JOIN walhouse.fact_partitions(COALESCE(n.fact, b.fact)) p ON p.partition = leaf
        WHERE n.id IS NULL OR b.id IS NULL
    )
    INSERT INTO oracle.load
    SELECT x.load_id, l.kind, m.relation, x.partitions || ' ' || x.partitions_from || ' ' || x.partitions_to || oracle.gaps(x.partition_gaps),
        (SELECT count(*) || ' ' || min(t."from") || ' ' || max(t."to") || oracle.gaps(tsmultirange(tsrange(min(t."from"), max(t."to"))) - range_agg(tsrange(t."from", t."to"))) FROM touched t WHERE t.fact = m.relation HAVING count(*) > 0), x.rows_read,
        (SELECT count(*) FROM shop_log.sale g WHERE g.lsn > x.from_lsn AND g.lsn <= x.to_lsn AND g.op <> 'B') + CASE m.relation WHEN 'dw.joined'::regclass THEN n ELSE 0 END
    FROM walhouse.load_model x JOIN walhouse.load l USING (load_id) JOIN walhouse.model m USING (model_id),
        LATERAL (SELECT count(*) AS n FROM shop_log.customer g WHERE g.lsn > x.from_lsn AND g.lsn <= x.to_lsn AND g.op <> 'B') c
    WHERE m.kind = 'fact' AND x.load_id > COALESCE((SELECT max(o.load_id) FROM oracle.load o WHERE o.kind = 'load'), 0) AND NOT EXISTS (SELECT FROM oracle.load o WHERE o.load_id = x.load_id);
    TRUNCATE oracle.before;
    INSERT INTO oracle.before TABLE oracle.now $$;
\set QUIET off

-- Builds: where there are rows.
SELECT handfeed.reach('shop');
CALL walhouse.build('dw.customer');
\set ECHO none
SELECT format('CALL walhouse.build(%L)', 'dw.' || name) FROM unnest('{month,month_sql,year,day,day_sql,joined,by_month,by_month_sql}'::text[]) name \gexec
\set ECHO all
CALL oracle.note();
SELECT fact, said, said = expected AS as_expected, rows_read FROM oracle.load ORDER BY fact::text;

-- One partition; those of an old and a new event time; a row that goes; one that is written and stays as it is; infinity.
CREATE PROCEDURE oracle.take(change text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE change;
    PERFORM handfeed.commit('shop', (SELECT max(commit_time) + interval '1 h' FROM shop_log.txn));
    PERFORM handfeed.reach('shop');
    COMMIT;
    CALL walhouse.load('shop');
    COMMIT;
    CALL oracle.note();
END $$;
CREATE VIEW oracle.last AS SELECT fact, said, said IS NOT DISTINCT FROM expected AS as_expected, rows_read, rows_read = logged AS all_read FROM oracle.load
    WHERE load_id = (SELECT max(load_id) FROM oracle.load) ORDER BY fact::text;
CALL oracle.take($$ UPDATE shop.sale SET amount = -1 WHERE id = 7 $$);
TABLE oracle.last;
CALL oracle.take($$ UPDATE shop.sale SET at = '2026-08-01', plain = '2031-08-01', day = '2024-08-01' WHERE id = 7 $$);
TABLE oracle.last;
CALL oracle.take($$ DELETE FROM shop.sale WHERE id = 7 $$);
TABLE oracle.last;
CALL oracle.take($$ UPDATE shop.sale SET amount = amount WHERE id = 8; INSERT INTO shop.sale VALUES (50, 1, 'infinity', 'infinity', 'infinity', 0) $$);
TABLE oracle.last;
-- More than the log of the fact: the dimension of a row that is ahead of the clock gets a version. Twice the hour, once a gap of an hour.
CALL oracle.take($$ INSERT INTO shop.sale VALUES (51, 4, '2026-03-08 06:59+00', '2026-03-08 02:30', '2026-03-08', 0), (52, 4, '2026-11-01 05:30+00', '2026-11-01 01:30', '2026-11-01', 0) $$);
TABLE oracle.last;
CALL oracle.take($$ INSERT INTO shop.customer VALUES (4, 'Ulm') $$);
TABLE oracle.last;

-- At random, by both ways.
CREATE VIEW oracle.dice AS SELECT id, random() AS one, timestamptz '2024-12-01' + id * random() * interval '400 h' AS t FROM shop.sale ORDER BY id;
CREATE PROCEDURE oracle.many(n int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n LOOP
        CALL oracle.take($c$
            -- Drawn once, in the order of keys, whatever the order in which the table is read.
            WITH d AS MATERIALIZED (TABLE oracle.dice) DELETE FROM shop.sale s USING d WHERE d.id = s.id AND one < .04;
            WITH d AS MATERIALIZED (TABLE oracle.dice) UPDATE shop.sale s SET (at, plain, day) = ROW (t, t, t) FROM d WHERE d.id = s.id AND one < .06;
            WITH d AS MATERIALIZED (TABLE oracle.dice) UPDATE shop.sale s SET amount = amount + 1 FROM d WHERE d.id = s.id AND one < .1;
            INSERT INTO shop.customer VALUES (random() * 5, random()::text) ON CONFLICT (id) DO UPDATE SET city = excluded.city;
            INSERT INTO shop.sale SELECT nextval('oracle.id'), random() * 6, t, t, t, 0 FROM (SELECT timestamptz '2026-01-01' + random() * interval '600 days' AS t) t $c$);
    END LOOP;
END $$;
CREATE SEQUENCE oracle.id START 100;
SELECT setseed(.42) \g /dev/null
CALL oracle.many(14);
SET walhouse.load_path = sql;
CALL oracle.many(8);
RESET walhouse.load_path;
SELECT fact, count(*) AS loads, count(*) FILTER (WHERE said IS DISTINCT FROM expected) AS differences, count(*) FILTER (WHERE rows_read IS DISTINCT FROM logged) AS miscounted,
    count(*) FILTER (WHERE said LIKE '% without {%') > 0 AS gaps, count(*) FILTER (WHERE said LIKE '1 %') > 0 AS one, count(*) FILTER (WHERE said ~ '^([3-9]|..+) ') > 0 AS many
FROM oracle.load WHERE kind = 'load' GROUP BY fact ORDER BY fact::text;
SELECT count(*) FILTER (WHERE rows_read IS DISTINCT FROM rows_read_of[1] + rows_read_of[2]) AS differences, count(*) FILTER (WHERE 0 < ALL (rows_read_of)) > 5 AS of_both
FROM walhouse.load_model WHERE model_id = (SELECT model_id FROM walhouse.model WHERE relation = 'dw.joined'::regclass) AND rows_read > 0;
SELECT count(*) AS differences FROM walhouse.verify() WHERE missing + unexpected + different > 0;

-- Within the budget of 250 bytes: the row, its line pointer, and its entries in two indexes. Gaps take 40 bytes, and 24 for each.
SELECT max(pg_column_size(x.*)) + 4 + 28 + 20 <= 250 AS within_budget, max(pg_column_size(x.*)) > 100 AS is_measured FROM walhouse.load_model x WHERE x.partitions > 1 AND x.partition_gaps IS NULL;
SELECT max(pg_column_size(x.*) - 40 - 24 * (SELECT count(*) FROM unnest(x.partition_gaps))) + 4 + 28 + 20 <= 250 AS within_budget FROM walhouse.load_model x WHERE x.partition_gaps IS NOT NULL;

-- Which partitions these were is told by their bounds; summaries by the hour keep these.
SELECT p.partition, p."from", p."to" FROM walhouse.fact_partitions('dw.year') p;
SELECT count(*) FROM walhouse.fact_partitions('dw.customer');
SELECT count(*) FROM walhouse.fact_partitions('shop_log.sale');
CREATE TABLE oracle.sum AS SELECT model_id, min(partitions_from) AS f, max(partitions_to) AS t FROM walhouse.load_model x
    WHERE load_id < (SELECT max(load_id) FROM walhouse.load_model y WHERE y.model_id = x.model_id) GROUP BY 1;
SELECT walhouse.summarize_loads('shop', 'infinity') > 20 AS summed_up;
SELECT count(*) FROM oracle.sum o JOIN (SELECT model_id, min(partitions_from) AS f, max(partitions_to) AS t FROM walhouse.load_summary GROUP BY 1) s USING (model_id)
WHERE (o.f, o.t) IS DISTINCT FROM (s.f, s.t);

\set QUIET on
DROP VIEW oracle.now;
SELECT walhouse.drop_model(m) FROM unnest('{dw.by_month,dw.by_month_sql,dw.month,dw.month_sql,dw.year,dw.day,dw.day_sql,dw.joined,dw.customer}'::regclass[]) m \g /dev/null
DELETE FROM walhouse.load_summary WHERE feed_id = (SELECT feed_id FROM walhouse.feed WHERE name = 'shop');
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, oracle, handfeed CASCADE;
