-- The fact of the bench's part `load`: three look-ups, monthly partitions.
SELECT walhouse.create_fact('dw.sales',
	$$ SELECT order_id, line_no, ordered_at, customer_id, product_id, quantity, quantity * unit_price AS amount FROM star.items $$,
	key => '{order_id,line_no}', event_time => 'ordered_at',
	dimensions => '{"customer_sk": "dw.customer(customer_id)", "product_sk": "dw.product(product_id)", "date_sk": "dw.date(ordered_at)"}',
	partition_by => 'month');
