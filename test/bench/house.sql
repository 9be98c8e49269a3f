-- The bench's warehouse: mirrors of two tables, a type-2 dimension, a fact in monthly partitions.
\set ON_ERROR_STOP on
CREATE EXTENSION walhouse;
CREATE SERVER source FOREIGN DATA WRAPPER walhouse OPTIONS (host :'host', dbname 'shop');
CREATE USER MAPPING FOR CURRENT_USER SERVER source OPTIONS (user 'bench');
CALL walhouse.create_feed('bench', server => 'source', publication => 'shop');
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.customer', $$ SELECT customer_id, name, city, segment FROM bench.customers $$,
	key => '{customer_id}', scd => '{"*": 2, "name": 1}');
SELECT walhouse.create_fact('dw.sales',
	$$ SELECT order_id, line_no, ordered_at, customer_id, product_id, quantity, quantity * unit_price AS amount FROM bench.items $$,
	key => '{order_id,line_no}', event_time => 'ordered_at', dimensions => '{"customer_sk": "dw.customer(customer_id)"}',
	partition_by => 'month');
CALL walhouse.run('bench');
