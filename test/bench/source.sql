-- The bench's source tables and what is done to them; each procedure commits after 100 rows.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
DROP TABLE IF EXISTS customers, items, narrow, wide;

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
			SELECT (b * 100 + i) / 4, (b * 100 + i) % 4, timestamptz '2025-01-01 UTC' + interval '1 second' * ((b * 100 + i) * 7919 % 31536000),
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

CREATE TABLE narrow (id bigint PRIMARY KEY, a integer, b text);
CREATE OR REPLACE PROCEDURE do_narrow(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. n / 100 - 1 LOOP
		INSERT INTO narrow SELECT b * 100 + i, i, 'row ' || i FROM generate_series(0, 99) i;
		COMMIT;
	END LOOP;
END $$;

CREATE TABLE wide
(
	id bigint PRIMARY KEY,
	i1 integer, i2 integer, i3 integer, i4 integer, b1 bigint, b2 bigint, b3 bigint,
	n1 numeric, n2 numeric(12,2), n3 numeric(12,2), d1 date, d2 date, t1 timestamptz, t2 timestamptz, t3 timestamp,
	f1 double precision, f2 double precision, o1 boolean, o2 boolean, u1 uuid, s1 text, s2 text, s3 text, s4 text,
	v1 varchar(40), v2 varchar(40), c1 char(3), e1 text, e2 text
);
CREATE OR REPLACE PROCEDURE do_wide(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. n / 100 - 1 LOOP
		INSERT INTO wide
			SELECT b * 100 + i, i, i * 1000, -i, b, b * 1000003, i * 7919, b, i * 1.25, i * 99.99, b + i / 100.0,
				date '2025-01-01' + i, date '2025-06-01' - i, timestamptz '2025-01-01 UTC' + i * interval '1 hour',
				timestamptz '2025-01-01 UTC' + b * interval '1 second', timestamp '2025-03-01' + i * interval '1 minute',
				i / 7.0, b / 3.0, i % 2 = 0, i % 3 = 0, md5(i::text)::uuid, 'some text of this row ' || i, 'and some more', md5(b::text),
				'status ' || i % 7, 'Karl Johans gate ' || i, 'Oslo', 'NOK', NULL, NULL
			FROM generate_series(0, 99) i;
		COMMIT;
	END LOOP;
END $$;
