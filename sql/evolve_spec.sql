-- walhouse.spec and walhouse.apply_spec: every kind of model with every option goes into the specification and comes out of it; what is
-- there is kept; a dry run says what would be done, and does nothing.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT handfeed.make('shop', 'UTC');
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, region text, since timestamptz, share numeric, "odd name" text);
CREATE TABLE shop.regions (region text PRIMARY KEY, country text);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer int, payer int, at date, amount int, channel text, gift boolean, sent boolean);
SELECT handfeed.add('shop', 'shop.customers');
SELECT handfeed.add('shop', 'shop.regions');
SELECT handfeed.add('shop', 'shop.orders');
INSERT INTO shop.regions VALUES ('north', 'A');
INSERT INTO shop.customers VALUES (1, 'Ann', 'north', '2026-01-01', 1, 'x'), (2, 'Bob', 'north', '2026-01-01', 1, 'y');
INSERT INTO shop.orders VALUES (1, 1, 2, '2026-01-01', 10, 'web', false, true), (2, 2, NULL, '2026-01-02', 20, 'shop', true, false);
SELECT handfeed.commit('shop', '2026-01-10');
SELECT handfeed.reach('shop');
CREATE SCHEMA dw;
CREATE TABLE dw.holiday (date date, name text);

SELECT walhouse.create_date_dimension('dw.day', '2026-01-01', '2026-12-31', fiscal_year_start_month => 4, fiscal_calendar => '4-4-5', holidays => 'dw.holiday');
SELECT walhouse.create_time_dimension('dw.hour', 'hour');
SELECT walhouse.create_junk_dimension('dw.flags', '{channel text,gift boolean}');
SELECT walhouse.create_dimension('dw.region', 'SELECT region, country FROM shop.regions', '{region}', scd => '{"*": 1}', on_delete => 'tombstone');
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name, region, since, "odd name" FROM shop.customers WHERE id > 0', '{id}',
    scd => '{"*": 2, "name": 6}', on_delete => 'purge', unknown => false, effective => 'since', outriggers => '{"region_sk": "dw.region(region)"}');
SELECT walhouse.create_dimension('dw.plain', 'SELECT c.id, c.name, r.country FROM shop.customers c LEFT JOIN shop.regions r USING (region)', '{id}');
SELECT walhouse.create_bridge('dw.household', 'SELECT id, region, share FROM shop.customers', '{id}', '{"region_sk": "dw.region(region)"}');
SELECT walhouse.create_mini_dimension('dw.profile', 'SELECT id, region FROM shop.customers', '{id}');
SELECT walhouse.create_fact('dw.sales', 'SELECT id, customer, payer, at, amount, channel, gift, sent FROM shop.orders', '{id}', 'at',
    '{"customer_sk": "dw.customer(customer)", "day_sk": "dw.day(at)", "flags_sk": "dw.flags(channel, gift)", "profile_sk": "dw.profile(customer)",
      "payer_sk": {"dimension": "dw.plain(payer)", "null": "not_applicable", "error_if": "gift"}}', partition_by => 'year',
    milestones => '{"sent_at": "sent"}', lags => '{"to_send": ["at", "sent_at"]}');
SELECT walhouse.create_fact('dw.bookings', 'SELECT id, at, amount FROM shop.orders', '{id}', 'booked_at', corrections => 'reverse', measures => '{amount}');
SELECT walhouse.create_rollup('dw.daily', 'dw.sales', '{channel}', '{"n": "count(*)", "channels": "count(distinct channel)", "amount": "sum(amount)", "most": "max(amount)"}', bucket => 'month');
SELECT walhouse.create_rollup('dw.total', 'dw.sales', '{}', '{"amount": "avg(amount)"}', bucket => 'none');
SELECT walhouse.create_periodic_snapshot('dw.stock', 'dw.sales', '{channel}', '{"amount": "balance(amount)", "orders": "balance(*)", "latest": "last(amount)"}', 'week', fill => false);

SELECT e ->> 'model' AS model, e ->> 'declare' AS declare, (e -> 'arguments') - 'query' AS arguments, e -> 'arguments' ? 'query' AS has_query
FROM jsonb_array_elements(walhouse.spec('shop') -> 'models') e;
SELECT walhouse.spec('shop') AS spec \gset
SELECT action, model, statement FROM walhouse.apply_spec(:'spec', dry_run => true);
SELECT walhouse.spec_statement(e #- '{arguments,query}') FROM jsonb_array_elements(walhouse.spec('shop') -> 'models') e;

-- all gone, and all there again, in one statement
\o /dev/null
SELECT walhouse.drop_model(m) FROM unnest('{dw.stock,dw.total,dw.daily,dw.bookings,dw.sales,dw.profile,dw.household,dw.plain,dw.customer,dw.region,dw.flags,dw.hour,dw.day}'::text[]) m;
\o
SELECT walhouse.spec('shop');
SELECT action, model FROM walhouse.apply_spec(:'spec', dry_run => true);
SELECT count(*) FROM walhouse.model m JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'shop';
SELECT action, model, statement ~ '^SELECT walhouse.create_' AS declares FROM walhouse.apply_spec(:'spec');
SELECT walhouse.spec('shop') = :'spec'::jsonb AS is_the_same;
SELECT DISTINCT action FROM walhouse.apply_spec(:'spec');
-- also where the caller's search_path puts another operator in front of PostgreSQL's
CREATE FUNCTION dw.differs(regclass, regclass) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR dw.= (FUNCTION = dw.differs, LEFTARG = regclass, RIGHTARG = regclass);
SET search_path = dw, pg_catalog;
SELECT DISTINCT action FROM walhouse.apply_spec(:'spec');
RESET search_path;
DROP FUNCTION dw.differs CASCADE;
CALL walhouse.build('dw.region');
CALL walhouse.build('dw.customer');
CALL walhouse.build('dw.plain');
CALL walhouse.build('dw.profile_history');
CALL walhouse.build('dw.sales');
CALL walhouse.build('dw.stock');
SELECT amount, channel FROM dw.stock WHERE period_start = '2025-12-29' ORDER BY channel;

-- written by hand: other words for the same are the same, defaults need not be given; what differs and what is extra is only told
SELECT action, model, left(statement, 50) FROM walhouse.apply_spec('{"models": [
    {"model": "dw.plain", "declare": "create_dimension", "arguments":
        {"query": "select C.id, C.name, R.country from shop.customers C left join shop.regions R using (region)", "key": ["id"]}},
    {"model": "dw.region", "declare": "create_dimension", "arguments":
        {"query": "SELECT region, upper(country) AS country FROM shop.regions", "key": ["region"], "scd": {"*": 1}, "on_delete": "tombstone"}},
    {"model": "dw.total", "declare": "create_rollup", "arguments":
        {"fact": "dw.sales", "group_by": [], "measures": {"amount": " avg( amount )"}, "bucket": "none"}}]}');

-- what there is to refuse, which leaves nothing behind
SELECT * FROM walhouse.apply_spec('{"models": [{"declare": "create_dimension"}]}');
SELECT * FROM walhouse.apply_spec('{"models": [{"model": "dw.x", "declare": "drop_model", "arguments": {}}]}');
SELECT * FROM walhouse.apply_spec('{"models": [{"model": "dw.x", "declare": "create_dimension", "arguments": {"query": "SELECT region FROM shop.regions", "key": ["region"], "colour": 1}}]}');
SELECT * FROM walhouse.apply_spec('{"models": [{"model": "dw.x", "declare": "create_dimension", "arguments": {"query": "SELECT region FROM shop.regions", "key": ["region"]}},
    {"model": "dw.y", "declare": "create_dimension", "arguments": {"query": "SELECT 1; DROP TABLE shop.regions", "key": ["region"]}}]}');
SELECT to_regclass('dw.x');
SELECT * FROM walhouse.apply_spec('{}');

\set ECHO none
\o /dev/null
SELECT walhouse.drop_model(m) FROM unnest('{dw.stock,dw.total,dw.daily,dw.bookings,dw.sales,dw.profile,dw.household,dw.plain,dw.customer,dw.region,dw.flags,dw.day}'::text[]) m;
SELECT handfeed.remove('shop');
DROP SCHEMA dw, handfeed CASCADE;
