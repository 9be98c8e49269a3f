-- What a model's owner has in its query runs as that owner, and changes no settings of others: of the session that calls, or of models
-- of other owners that are loaded with it.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.item (id int PRIMARY KEY, name text, sold timestamptz);
SELECT handfeed.add('shop', 'shop.item') \g /dev/null
INSERT INTO shop.item VALUES (1, 'a', '2026-01-01');
SELECT handfeed.commit('shop', '2026-01-01'), handfeed.reach('shop') \g /dev/null
CREATE ROLE walhouse_test_sly;
GRANT USAGE ON SCHEMA shop, shop_log TO walhouse_test_sly;
GRANT SELECT ON shop.item, shop_log.item, shop_log.txn TO walhouse_test_sly;
CREATE SCHEMA sly AUTHORIZATION walhouse_test_sly;
CREATE SCHEMA dw;
SET ROLE walhouse_test_sly;
-- An operator that tells who runs it, and a function that puts it in front of PostgreSQL's own.
CREATE FUNCTION sly.is_greater(pg_lsn, pg_lsn) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> 'walhouse_test_sly' THEN
        RAISE WARNING 'another role runs this';
    END IF;
    RETURN pg_catalog.pg_lsn_gt($1, $2);
END $$;
CREATE OPERATOR sly.> (FUNCTION = sly.is_greater, LEFTARG = pg_lsn, RIGHTARG = pg_lsn);
CREATE FUNCTION sly.name(name text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'sly, pg_catalog', false), pg_catalog.set_config('TimeZone', 'Asia/Tokyo', false);
    RETURN name;
END $$;
SELECT walhouse.create_dimension('sly.item', 'SELECT id, sly.name(name) AS name FROM shop.item', '{id}') \g /dev/null
SELECT walhouse.create_mini_dimension('sly.kind', 'SELECT id, sly.name(name) AS name FROM shop.item', '{id}') \g /dev/null
SELECT walhouse.create_fact('sly.sale', 'SELECT id, sold, sly.name(name) AS name FROM shop.item', '{id}', 'sold') \g /dev/null
SELECT walhouse.create_fact('sly.book', 'SELECT id, sold, sly.name(name) AS name, 1 AS amount FROM shop.item', '{id}', 'booked_at', corrections => 'reverse', measures => '{amount}') \g /dev/null
RESET ROLE;
SELECT walhouse.create_dimension('dw.item', 'SELECT id, name FROM shop.item', '{id}') \g /dev/null
\set QUIET off

SHOW search_path;
SET TimeZone = 'UTC';
CALL walhouse.build('sly.item');
SHOW search_path;
SHOW TimeZone;
CALL walhouse.build('sly.kind_history');
SHOW search_path;
SHOW TimeZone;
CALL walhouse.build('sly.sale');
SHOW search_path;
SHOW TimeZone;
CALL walhouse.build('sly.book');
SHOW search_path;
SHOW TimeZone;
CALL walhouse.build('dw.item');
SET search_path = public;
UPDATE shop.item SET name = 'b';
SELECT handfeed.commit('shop', '2026-01-02'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SHOW search_path;
SHOW TimeZone;
SELECT missing, unexpected, different FROM walhouse.verify('sly.item');
SHOW search_path;
SELECT name FROM sly.item WHERE id = 1 ORDER BY valid_from;
SELECT name FROM dw.item WHERE id = 1 ORDER BY valid_from;

-- Who looks at inferred members runs no casts of the dimension's owner.
SET ROLE walhouse_test_sly;
SET walhouse.allow_writes = on;
CREATE TYPE sly.odd AS (id int);
CREATE FUNCTION sly.shown(sly.odd) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> 'walhouse_test_sly' THEN
        RAISE WARNING 'another role runs this cast';
    END IF;
    RETURN ($1).id;
END $$;
CREATE CAST (sly.odd AS text) WITH FUNCTION sly.shown(sly.odd);
ALTER TABLE sly.item ALTER COLUMN id TYPE sly.odd USING CASE WHEN id IS NOT NULL THEN ROW(id)::sly.odd END;
UPDATE sly.item SET is_inferred = true WHERE (id).id = 1 AND is_current;
RESET walhouse.allow_writes;
RESET ROLE;
SELECT dimension, key FROM walhouse.inferred_member WHERE dimension = 'sly.item'::regclass;
-- Rows that row security hides from the caller are not shown through it.
GRANT USAGE ON SCHEMA sly TO pg_monitor;
GRANT SELECT ON sly.item TO pg_monitor;
ALTER TABLE sly.item ENABLE ROW LEVEL SECURITY;
SET ROLE pg_monitor;
SELECT dimension, key FROM walhouse.inferred_member WHERE dimension = 'sly.item'::regclass;
RESET ROLE;

-- Another owner gets what stands beside the model, too, and goes on with it.
CREATE ROLE walhouse_test_heir;
GRANT USAGE ON SCHEMA shop, shop_log TO walhouse_test_heir;
GRANT USAGE, CREATE ON SCHEMA dw TO walhouse_test_heir;
GRANT SELECT ON shop.item, shop_log.item, shop_log.txn TO walhouse_test_heir;
SELECT walhouse.create_dimension('dw.since', 'SELECT id, name, sold FROM shop.item', '{id}', effective => 'sold') \g /dev/null
SELECT walhouse.create_fact('dw.sale', 'SELECT id, sold, 1.5 AS price FROM shop.item', '{id}', 'sold') \g /dev/null
SELECT walhouse.create_rollup('dw.sales', 'dw.sale', '{}', '{"least": "min(price)", "sum": "sum(price)"}', bucket => 'none') \g /dev/null
CALL walhouse.build('dw.since'); CALL walhouse.build('dw.sale'); CALL walhouse.build('dw.sales');
ALTER TABLE dw.since OWNER TO walhouse_test_heir;
ALTER TABLE dw.sale OWNER TO walhouse_test_heir;
ALTER TABLE dw.sales OWNER TO walhouse_test_heir;
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'dw'::regnamespace AND relkind IN ('r', 'p', 'v')
    AND relname ~ '^s' ORDER BY 1;
INSERT INTO shop.item VALUES (2, 'c', '2026-01-03');
UPDATE shop.item SET name = 'd', sold = '2026-01-02' WHERE id = 1;
SELECT handfeed.commit('shop', '2026-01-03'), handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT relation::regclass, state, error FROM walhouse.model WHERE relation::text LIKE 'dw.s%' ORDER BY relation::text;
SET ROLE walhouse_test_heir;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
SELECT walhouse.drop_model('dw.sales'), walhouse.drop_model('dw.sale'), walhouse.drop_model('dw.since');
RESET ROLE;

\set QUIET on
DROP OWNED BY walhouse_test_heir;
DROP ROLE walhouse_test_heir;
SELECT walhouse.drop_model('dw.item'), walhouse.drop_model('sly.item'), walhouse.drop_model('sly.kind'), walhouse.drop_model('sly.sale'), walhouse.drop_model('sly.book') \g /dev/null
SELECT handfeed.remove('shop') \g /dev/null
SET client_min_messages = error;
DROP SCHEMA handfeed, dw, sly CASCADE;
DROP OWNED BY walhouse_test_sly;
DROP ROLE walhouse_test_sly;
