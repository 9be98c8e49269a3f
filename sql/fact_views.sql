-- The two views of a fact, dimensions in several roles, degenerate dimensions, members that stand for no member, and inferred ones.
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
CREATE TABLE shop.person (id int PRIMARY KEY, name text, city text);
CREATE TABLE shop.card (id int PRIMARY KEY, brand text);
CREATE TABLE shop.sale (id int PRIMARY KEY, invoice text, buyer int, payer int, card int, cash boolean, broken boolean, sold timestamptz, due date, amount numeric);
SELECT handfeed.add('shop', 'shop.' || t) FROM unnest(ARRAY['person', 'card', 'sale']) t \g /dev/null
CREATE SCHEMA dw;
CREATE FUNCTION dw.at(t timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT handfeed.commit('shop', t); SELECT handfeed.reach('shop') $$;
SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-12-31') \g /dev/null
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name, city FROM shop.person', '{id}', '{"*": 2, "name": 1}') \g /dev/null
SELECT walhouse.create_dimension('dw.card', 'SELECT id, brand FROM shop.card', '{id}', '{"*": 1}', 'tombstone') \g /dev/null
\set QUIET off

-- What a declaration refuses.
SELECT walhouse.create_fact('dw.bad', 'SELECT id, card, sold FROM shop.sale', '{id}', 'sold', '{"card_sk": 1}');
SELECT walhouse.create_fact('dw.bad', 'SELECT id, card, sold FROM shop.sale', '{id}', 'sold', '{"card_sk": {"null": "unknown"}}');
SELECT walhouse.create_fact('dw.bad', 'SELECT id, card, sold FROM shop.sale', '{id}', 'sold', '{"card_sk": {"dimension": "dw.card(card)", "null": "nothing"}}');
SELECT walhouse.create_fact('dw.bad', 'SELECT id, card, sold FROM shop.sale', '{id}', 'sold', '{"card_sk": {"dimension": "dw.card(card)", "error_if": "card"}}');
SELECT walhouse.create_fact('dw.bad', 'SELECT id, card, sold FROM shop.sale', '{id}', 'sold', '{"card_sk": {"dimension": "dw.card(card)", "not_applicable_if": "cash"}}');
SELECT walhouse.create_fact('dw.bad', 'SELECT id, card, sold FROM shop.sale', '{id}', 'sold', '{"card_sk": {"dimension": "dw.card(card)", "if": "cash"}}');

-- A person in two roles, a date in two; the invoice's number is a degenerate dimension: a column of the query, and no more.
SELECT walhouse.create_fact('dw.sale', 'SELECT id, invoice, buyer, payer, card, cash, broken, sold, due, amount FROM shop.sale', '{id}', 'sold',
    '{"buyer_sk": "dw.person(buyer)", "payer_sk": {"dimension": "dw.person(payer)", "null": "not_applicable"},
      "card_sk": {"dimension": "dw.card(card)", "not_applicable_if": "cash", "error_if": "broken"},
      "sold_sk": "dw.date(sold)", "due date": {"dimension": "dw.date(due)", "null": "not_applicable"}}');
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'dw.sale_as_was'::regclass
    AND attname !~ '^(sold|due date)_[^d]' AND attname !~ '_day_';
SELECT relowner = (SELECT relowner FROM pg_class WHERE oid = 'dw.sale'::regclass) AS same_owner
FROM pg_class WHERE oid = 'dw.sale_as_is'::regclass;
CALL walhouse.build('dw.person'); CALL walhouse.build('dw.card'); CALL walhouse.build('dw.sale');

INSERT INTO shop.person VALUES (1, 'Ann', 'Ulm'), (2, 'Bob', 'Rom');
INSERT INTO shop.card VALUES (7, 'visa');
SELECT dw.at('2026-01-01') \g /dev/null
INSERT INTO shop.sale VALUES (1, 'A-1', 1, 2, 7, false, false, '2026-01-02', '2026-02-01', 10),
    (2, 'A-1', 1, NULL, 7, true, false, '2026-01-02', NULL, 20),
    (3, 'A-2', NULL, 9, NULL, NULL, NULL, '2026-01-02', 'infinity', 30),
    (4, 'A-3', 2, 2, 7, true, true, '2026-01-03', '2026-02-01', 40);
SELECT dw.at('2026-01-10') \g /dev/null
UPDATE shop.person SET city = 'Bonn', name = 'Anna' WHERE id = 1;
DELETE FROM shop.person WHERE id = 2;
SELECT dw.at('2026-01-11') \g /dev/null
INSERT INTO shop.sale VALUES (5, 'A-4', 1, 1, 8, false, false, '2026-01-12', '2026-02-01', 50);
DELETE FROM shop.card WHERE id = 7;
SELECT dw.at('2026-01-13') \g /dev/null
CALL walhouse.load('shop');
SELECT id, invoice, buyer_name, buyer_city, payer_name, payer_city, card_brand, card_is_deleted AS del, sold_date, "due date_date" AS due FROM dw.sale_as_was ORDER BY id;
SELECT id, invoice, buyer_name, buyer_city, payer_name, payer_city, card_brand, card_is_deleted AS del, sold_date, "due date_date" AS due FROM dw.sale_as_is ORDER BY id;
-- -1 unknown, -2 not applicable, -3 error.
SELECT id, CASE WHEN buyer_sk < 0 THEN buyer_sk END AS buyer, CASE WHEN payer_sk < 0 THEN payer_sk END AS payer, CASE WHEN card_sk < 0 THEN card_sk END AS card,
    "due date" AS due FROM dw.sale ORDER BY id;
SELECT count(*) FILTER (WHERE person_sk < 0) AS others FROM dw.person;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;
-- A changed flag moves the row.
UPDATE shop.sale SET cash = false, broken = NULL WHERE id IN (2, 4);
SELECT dw.at('2026-01-14') \g /dev/null
CALL walhouse.load('shop');
SELECT id, card, card_brand FROM dw.sale_as_was ORDER BY id;
-- Both views give every row once, and leave out the dimensions that a query does not name.
SELECT (SELECT count(*) FROM dw.sale) AS fact, (SELECT count(*) FROM dw.sale_as_was) AS was, (SELECT count(*) FROM dw.sale_as_is) AS "is";
EXPLAIN (COSTS OFF) SELECT sum(amount) FROM dw.sale_as_was;

-- Inferred members, and how long they have waited.
SELECT dimension, key, since = started AS since_the_load, age > '0' AS has_age FROM walhouse.inferred_member JOIN walhouse.load USING (load_id) ORDER BY 1::text, 2;
INSERT INTO shop.person VALUES (9, 'Ida', 'Kiel');
SELECT dw.at('2026-01-15') \g /dev/null
CALL walhouse.load('shop');
SELECT dimension, key FROM walhouse.inferred_member ORDER BY 1::text, 2;
CREATE ROLE walhouse_test_reader;
SET ROLE walhouse_test_reader;
SELECT count(*) FROM walhouse.inferred_member;
RESET ROLE;
DROP ROLE walhouse_test_reader;

-- What stands for no member is not deleted, however the view looks members up.
SELECT walhouse.create_dimension('dw.owner', 'SELECT id, name FROM shop.person', '{id}', on_delete => 'tombstone') \g /dev/null
SELECT walhouse.create_fact('dw.paid', 'SELECT id, payer, broken, sold FROM shop.sale', '{id}', 'sold',
    '{"payer_sk": {"dimension": "dw.owner(payer)", "error_if": "broken"}}') \g /dev/null
CALL walhouse.build('dw.owner'); CALL walhouse.build('dw.paid');
SELECT id, w.payer_name, w.payer_is_deleted AS was, i.payer_is_deleted AS "is" FROM dw.paid_as_was w JOIN dw.paid_as_is i USING (id) ORDER BY id;
SELECT walhouse.drop_model('dw.paid'), walhouse.drop_model('dw.owner') \g /dev/null

-- The views go with the model; not before what others have made of them.
CREATE VIEW dw.mine AS SELECT id FROM dw.sale_as_is;
SELECT walhouse.drop_model('dw.sale');
DROP VIEW dw.mine;
SELECT walhouse.drop_model('dw.sale');
SELECT count(*) FROM walhouse.model_view;
SELECT to_regclass('dw.sale_as_was'), to_regclass('dw.sale_as_is');

\set QUIET on
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
