-- The demo's star: dimensions and facts over the mirrors of feed "shop", declared by the warehouse's owner.
\set ON_ERROR_STOP on
CREATE SCHEMA dw;

SELECT walhouse.create_date_dimension('dw.date', '2020-01-01', '2035-12-31');

-- A new name or e-mail address corrects all versions of a customer (type 1); a new address or segment opens one (type 2).
SELECT walhouse.create_dimension('dw.customer',
	$$ SELECT customer_id, name, email, street, city, country, segment FROM shop.customers $$,
	key => '{customer_id}', scd => '{"*": 2, "name": 1, "email": 1}');

SELECT walhouse.create_dimension('dw.product',
	$$ SELECT product_id, name, category, list_price FROM shop.products $$,
	key => '{product_id}', scd => '{"*": 2, "name": 1}');

SELECT walhouse.create_fact('dw.sales',
	$$ SELECT order_id, line_no, ordered_at, customer_id, product_id, quantity, returned,
		quantity * unit_price AS amount, (quantity - returned) * unit_price AS net
	FROM shop.order_items $$,
	key => '{order_id,line_no}', event_time => 'ordered_at',
	dimensions => '{"customer_sk": "dw.customer(customer_id)",
		"product_sk": "dw.product(product_id)", "order_date_sk": "dw.date(ordered_at)"}',
	partition_by => 'month');

SELECT walhouse.create_fact('dw.orders',
	$$ SELECT order_id, ordered_at, customer_id, channel, status, shipping FROM shop.orders $$,
	key => '{order_id}', event_time => 'ordered_at',
	dimensions => '{"customer_sk": "dw.customer(customer_id)", "order_date_sk": "dw.date(ordered_at)"}',
	partition_by => 'month');

SELECT walhouse.create_fact('dw.returns',
	$$ SELECT return_id, returned_at, customer_id, product_id, quantity, refund, reason FROM shop.returns $$,
	key => '{return_id}', event_time => 'returned_at',
	dimensions => '{"customer_sk": "dw.customer(customer_id)",
		"product_sk": "dw.product(product_id)", "return_date_sk": "dw.date(returned_at)"}',
	partition_by => 'year');
