-- The bench's source tables and what is done to them; each procedure commits after 100 rows.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
DROP TABLE IF EXISTS customers, items;

CREATE TABLE customers (customer_id bigint PRIMARY KEY, name text NOT NULL, city text NOT NULL, segment text NOT NULL);
CREATE TABLE items
(
	order_id bigint,
	line_no integer,
	ordered_at timestamptz NOT NULL,
	customer_id bigint NOT NULL,
	product_id bigint NOT NULL,
	quantity integer NOT NULL,
	unit_price numeric(10,2) NOT NULL,
	PRIMARY KEY (order_id, line_no)
);

-- Order lines of the last twelve months, in no order of time.
CREATE OR REPLACE PROCEDURE do_inserts(n bigint, customers bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. n / 100 - 1 LOOP
		INSERT INTO items
			SELECT (b * 100 + i) / 4, (b * 100 + i) % 4, timestamptz '2025-01-01 UTC' + interval '1 second' * ((b * 100 + i) * 7919::bigint % 31536000),
				(b * 100 + i) / 4 * 31 % customers, (b * 100 + i) * 17 % 1000, 1 + i % 5, 9.90 + i
			FROM generate_series(0, 99) i;
		COMMIT;
	END LOOP;
END $$;

CREATE OR REPLACE PROCEDURE do_updates(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. n / 100 - 1 LOOP
		UPDATE items SET quantity = quantity + 1 WHERE order_id BETWEEN b * 25 AND b * 25 + 24;
		COMMIT;
	END LOOP;
END $$;

-- Customers move: each update opens a version of the dimension.
CREATE OR REPLACE PROCEDURE do_moves(n bigint, customers bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. n / 100 - 1 LOOP
		UPDATE customers c SET city = 'city ' || (b * 7 + c.customer_id) % 500
		WHERE customer_id BETWEEN b * 100 % customers AND b * 100 % customers + 99;
		COMMIT;
	END LOOP;
END $$;
