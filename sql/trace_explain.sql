-- explain_row: each row of a star names its load, the logged changes that made it, the sources of its values and why it has its dimension rows.
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
CREATE TABLE shop.customer (id int PRIMARY KEY, name text, city text);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer int, at timestamptz, channel text);
CREATE TABLE shop.line (id int, no int, pieces int, price numeric, PRIMARY KEY (id, no));
CREATE INDEX ON shop.line (id);
CREATE INDEX ON shop.orders (id);
SELECT handfeed.add('shop', 'shop.customer'), handfeed.add('shop', 'shop.orders'), handfeed.add('shop', 'shop.line') \g /dev/null
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-12-31') \g /dev/null
SELECT walhouse.create_dimension('dw.customer', 'SELECT id AS customer_id, upper(name) AS name, city FROM shop.customer', '{customer_id}', '{"*": 2, "name": 1}') \g /dev/null
SELECT walhouse.create_fact('dw.sale', 'SELECT l.id, l.no, o.customer, o.at, l.pieces, l.pieces * l.price AS amount FROM shop.line l JOIN shop.orders o ON o.id = l.id', '{id,no}', 'at',
    '{"customer_sk": "dw.customer(customer)", "date_sk": "dw.date(at)"}') \g /dev/null
SELECT walhouse.create_fact('dw.order', 'SELECT id, customer, at, channel FROM shop.orders WHERE channel <> ''test''', '{id}', 'at', '{"customer_sk": "dw.customer(customer)"}') \g /dev/null
CALL walhouse.build('dw.customer'); CALL walhouse.build('dw.sale'); CALL walhouse.build('dw.order');
-- told: what explain_row says, without what differs from run to run; loads by their number since the start.
CREATE FUNCTION dw.told(model regclass, key jsonb, "column" name DEFAULT NULL) RETURNS TABLE (item text, name text, load text, hour timestamptz, context text[], details jsonb)
LANGUAGE sql AS $$
    SELECT item, name, CASE WHEN load_id > 0 THEN (SELECT 'load ' || count(*) FROM walhouse.load l JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'shop' AND l.kind = 'load' AND l.load_id <= e.load_id) END,
        commit_time, context, CASE WHEN item = 'load' THEN details - '{from_lsn,to_lsn,started,duration_ms}'::text[]
            WHEN item = 'row' THEN details - 'load_id' - 'customer_sk' WHEN item = 'dimension' THEN details - name WHEN item = 'cut' THEN details - '{searched_from,range_from}'::text[] ELSE details END
    FROM walhouse.explain_row(model, key, "column") WITH ORDINALITY e ORDER BY ordinality $$;
\set QUIET off
-- One day after the other: a customer is there, orders twice, and moves twice; the application says who did it.
INSERT INTO shop.customer VALUES (1, 'ada', 'Ulm'), (2, 'bob', 'Bonn');
SELECT handfeed.commit('shop', '2026-01-01 12:00+00', '{"{\"user\": \"ann\", \"request\": 1}"}') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
UPDATE shop.customer SET city = 'Kiel' WHERE id = 1;
SELECT handfeed.commit('shop', '2026-01-03 12:00+00', '{"{\"user\": \"ben\", \"request\": 2}"}') \g /dev/null
INSERT INTO shop.orders VALUES (10, 1, '2026-01-04 09:00+00', 'web');
INSERT INTO shop.line VALUES (10, 1, 2, 3.50), (10, 2, 1, 9);
SELECT handfeed.commit('shop', '2026-01-04 12:00+00', '{"{\"user\": \"cem\", \"request\": 3}"}') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
UPDATE shop.customer SET city = 'Jena', name = 'eva' WHERE id = 1;
INSERT INTO shop.orders VALUES (11, 2, '2026-01-06 09:00+00', 'shop');
SELECT handfeed.commit('shop', '2026-01-06 12:00+00') \g /dev/null
UPDATE shop.line SET pieces = 5 WHERE no = 2;
SELECT handfeed.commit('shop', '2026-01-07 12:00+00', '{fixed,"by hand"}') \g /dev/null
UPDATE shop.orders SET channel = 'phone' WHERE id = 10;
SELECT handfeed.commit('shop', '2026-01-08 12:00+00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- A line, whose load is the last one, and whose customer has changed before and after the order.
SELECT * FROM dw.told('dw.sale', '{"id": 10, "no": 2}');
-- Of one column: its changes alone.
SELECT * FROM dw.told('dw.sale', '{"id": 10, "no": 2}', 'amount');
SELECT * FROM dw.told('dw.sale', '{"id": 10, "no": 1}', 'customer_sk');
-- Versions of a dimension: what opened and what closed each.
SELECT * FROM dw.told('dw.customer', '{"customer_id": 1}');
-- One of them.
SELECT item, name, hour FROM dw.told('dw.customer', jsonb_build_object('customer_sk', (SELECT min(customer_sk) FROM dw.customer WHERE city = 'Kiel')), 'city');
SELECT item, name, hour FROM dw.told('dw.customer', '{"customer_id": 1, "is_current": true}', 'city');
-- Deletes, truncations, rows that come again, keys that change.
DELETE FROM shop.customer WHERE id = 2;
UPDATE shop.line SET no = 3 WHERE no = 1;
SELECT handfeed.commit('shop', '2026-01-10 12:00+00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT item, name, hour, details FROM dw.told('dw.customer', '{"customer_id": 2}') WHERE item IN ('opened', 'closed', 'change');
SELECT item, name, hour, details FROM dw.told('dw.sale', '{"id": 10, "no": 3}') WHERE item IN ('opened', 'closed', 'change');
SELECT item, name, hour, details FROM dw.told('dw.sale', '{"id": 10, "no": 1}');
TRUNCATE shop.customer;
INSERT INTO shop.customer VALUES (2, 'bob', 'Mainz');
SELECT handfeed.commit('shop', '2026-01-11 12:00+00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT item, name, hour, details FROM dw.told('dw.customer', '{"customer_id": 1, "is_current": false}') WHERE item = 'closed';
SELECT item, name, hour, details FROM dw.told('dw.customer', '{"customer_id": 2, "is_current": true}') WHERE item IN ('opened', 'closed', 'change', 'value');

-- Several changes of a row in one transaction: a value is set by the transaction that changed it in sum.
UPDATE shop.customer SET city = 'Trier' WHERE id = 2;
UPDATE shop.customer SET city = 'Worms' WHERE id = 2;
UPDATE shop.customer SET name = 'bo' WHERE id = 2;
UPDATE shop.customer SET name = 'bob' WHERE id = 2;
SELECT handfeed.commit('shop', '2026-01-12 12:00+00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT item, name, hour, details FROM dw.told('dw.customer', '{"customer_id": 2, "is_current": true}') WHERE item IN ('opened', 'closed', 'change', 'value');

-- A load of many changes: no more than so many rows of the log are looked through.
SET walhouse.trace_log_rows = 1;
SELECT item, name, hour, details FROM dw.told('dw.sale', '{"id": 10, "no": 2}') WHERE item IN ('cut', 'change');
-- A log with an index by key needs no limit, and tells all.
CALL walhouse.set_log_key_index('shop', 'customer', true);
CALL walhouse.set_log_key_index('shop', 'customer', true);
SELECT item, name, load, hour, context FROM dw.told('dw.customer', '{"customer_id": 1, "is_current": false, "city": "Ulm"}') WHERE item IN ('opened', 'closed', 'change', 'value', 'cut');
SELECT source_name, log_key_index FROM walhouse.feed_table t JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'shop' ORDER BY 1;
CALL walhouse.set_log_key_index('shop', 'customer', false);
CALL walhouse.set_log_key_index('shop', 'nothing', false);
RESET walhouse.trace_log_rows;

-- Loads that were added up have the range of their hour.
SELECT walhouse.summarize_loads('shop', 'infinity') > 0 AS added_up;
SELECT item, name, hour FROM dw.told('dw.sale', '{"id": 10, "no": 2}', 'amount');
SELECT details ->> 'kind' AS kind, (details ->> 'loads')::int > 1 AS some FROM dw.told('dw.sale', '{"id": 10, "no": 2}', 'amount') WHERE item = 'load';

-- What cannot be asked.
SELECT * FROM walhouse.explain_row('dw.sale', '{"id": 10}');
SELECT * FROM walhouse.explain_row('dw.customer', '[1]');
SELECT * FROM walhouse.explain_row('dw.sale', '{"id": 10, "no": 1, "nothing": 2}');
SELECT * FROM walhouse.explain_row('dw.sale', '{"id": 10, "no": 1}', 'nothing');
SELECT * FROM walhouse.explain_row('shop.line', '{"id": 10, "no": 1}');
SELECT * FROM walhouse.explain_row(NULL, '{}');
SELECT count(*) FROM walhouse.explain_row('dw.sale', '{"id": 10, "no": 99}');
SELECT item, details - 'customer_sk' AS details FROM walhouse.explain_row('dw.customer', '{"customer_sk": -1}') WHERE item <> 'value';
SELECT item, details ->> 'date' AS date FROM walhouse.explain_row('dw.date', '{"date": "2026-01-04"}');
-- The owner's role is needed, and that is enough; of dimensions that are another's, their rows are told, and not their log.
CREATE ROLE walhouse_test_owner;
CREATE ROLE walhouse_test_fact;
GRANT USAGE ON SCHEMA shop, shop_log TO walhouse_test_owner, walhouse_test_fact;
GRANT USAGE, CREATE ON SCHEMA dw TO walhouse_test_owner, walhouse_test_fact;
GRANT SELECT ON shop.customer, shop_log.customer, shop_log.txn TO walhouse_test_owner;
GRANT SELECT ON shop.orders, shop_log.orders, shop_log.txn TO walhouse_test_fact;
GRANT SELECT ON dw.date TO walhouse_test_fact;
SET ROLE walhouse_test_owner;
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name, city FROM shop.customer', '{id}') \g /dev/null
GRANT SELECT ON dw.person TO walhouse_test_fact;
SET ROLE walhouse_test_fact;
SELECT walhouse.create_fact('dw.mine', 'SELECT id, customer, at, channel FROM shop.orders', '{id}', 'at', '{"person_sk": "dw.person(customer)", "date_sk": "dw.date(at)"}') \g /dev/null
SELECT walhouse.create_rollup('dw.monthly', 'dw.mine', '{channel}', '{"n": "count(*)"}', 'month') \g /dev/null
RESET ROLE;
CALL walhouse.build('dw.person'); CALL walhouse.build('dw.mine'); CALL walhouse.build('dw.monthly');
UPDATE shop.customer SET city = 'Celle' WHERE id = 2;
SELECT handfeed.commit('shop', '2026-01-13 12:00+00') \g /dev/null
INSERT INTO shop.orders VALUES (20, 2, '2026-01-14 09:00+00', 'web'), (21, NULL, '2026-01-14 09:00+00', 'web'), (22, 9, '2026-01-15 09:00+00', 'web');
SELECT handfeed.commit('shop', '2026-01-14 12:00+00', '{mine}') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SET ROLE walhouse_test_fact;
SELECT item, name, lsn IS NOT NULL AS has_lsn, context, details - 'person_sk' - 'from_lsn' - 'to_lsn' - 'started' - 'duration_ms' - 'load_id' AS details FROM walhouse.explain_row('dw.mine', '{"id": 20}') WHERE item <> 'value';
SELECT name, details ->> 'reason' AS reason, details ->> 'final' AS final FROM walhouse.explain_row('dw.mine', '{"id": 21}', 'person_sk') WHERE item = 'dimension';
SELECT name, details ->> 'reason' AS reason, details ->> 'final' AS final FROM walhouse.explain_row('dw.mine', '{"id": 22}', 'person_sk') WHERE item = 'dimension';
SELECT item, name, details - 'load_id' - 'started' - 'duration_ms' - 'from_lsn' - 'to_lsn' AS details FROM walhouse.explain_row('dw.monthly', '{"period_start": "2026-01-01", "channel": "web"}') WHERE item <> 'load';
SELECT count(*) AS rows FROM walhouse.as_of(NULL::dw.mine, walhouse.dataset_version('dw.mine'));
SELECT count(*) AS rows FROM walhouse.as_of(NULL::shop.orders, now());
SELECT change, count(*) FROM walhouse.diff('dw.mine', (SELECT min(load_id) FROM walhouse.load_model m JOIN walhouse.model o USING (model_id) WHERE o.relation = 'dw.mine'::regclass),
    (SELECT max(load_id) FROM walhouse.load)) GROUP BY 1;
SELECT walhouse.explain_row('dw.person', '{"id": 2}');
SELECT count(*) FROM walhouse.as_of(NULL::shop.customer, now());
SET ROLE walhouse_test_owner;
SELECT item, name, lsn IS NOT NULL AS has_lsn FROM walhouse.explain_row('dw.person', '{"id": 2, "is_current": true}') WHERE item IN ('opened', 'closed', 'change');
RESET ROLE;
SELECT item, name, lsn IS NOT NULL AS has_lsn, context FROM walhouse.explain_row('dw.mine', '{"id": 20}', 'person_sk') WHERE item = 'dimension';
CREATE ROLE walhouse_test_other;
SET ROLE walhouse_test_other;
SELECT * FROM walhouse.explain_row('dw.sale', '{"id": 10, "no": 2}');
RESET ROLE;
DROP ROLE walhouse_test_other;

\set QUIET on
SET client_min_messages = warning;
DROP FUNCTION dw.told;
SELECT walhouse.drop_model('dw.monthly') \g /dev/null
SELECT walhouse.drop_model('dw.sale'), walhouse.drop_model('dw.order'), walhouse.drop_model('dw.mine') \g /dev/null
SELECT walhouse.drop_model('dw.person') \g /dev/null
SELECT walhouse.drop_model('dw.customer'), walhouse.drop_model('dw.date') \g /dev/null
DELETE FROM walhouse.load_summary WHERE feed_id = (SELECT feed_id FROM walhouse.feed WHERE name = 'shop');
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA handfeed, dw CASCADE;
DROP ROLE walhouse_test_owner;
DROP ROLE walhouse_test_fact;
