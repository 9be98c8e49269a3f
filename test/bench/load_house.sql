-- A warehouse of the bench's part `load`: change log and mirrors alone, or with a star over them: a type-2 dimension, a fact with
-- three look-ups in monthly partitions. Variables: host, db (the source's database), feed, and star (0 or 1).
\set ON_ERROR_STOP on
CREATE EXTENSION walhouse;
CREATE SERVER source FOREIGN DATA WRAPPER walhouse OPTIONS (host :'host', dbname :'db');
CREATE USER MAPPING FOR CURRENT_USER SERVER source OPTIONS (user 'bench');
CALL walhouse.create_feed(:'feed', server => 'source', publication => 'shop');
\if :star
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.date', '2024-12-01', '2026-03-31');
SELECT walhouse.create_dimension('dw.customer', $$ SELECT customer_id, name, city, segment FROM star.customers $$,
	key => '{customer_id}', scd => '{"*": 2, "name": 1}');
SELECT walhouse.create_dimension('dw.product', $$ SELECT product_id, name, category FROM star.products $$,
	key => '{product_id}', scd => '{"*": 1}');
\ir load_fact.sql
CALL walhouse.run('star');
\endif
