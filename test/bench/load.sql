-- The source of the bench's part `load`: the tables of source.sql, products, and what is done to them beside do_inserts and
-- do_updates, which commit after 100 rows. Keys of each kind of change are a range of their own.
\ir source.sql
DROP TABLE IF EXISTS products;
CREATE TABLE products (product_id bigint PRIMARY KEY, name text NOT NULL, category text NOT NULL);

CREATE OR REPLACE FUNCTION item_rows(first bigint, n bigint, customers bigint) RETURNS SETOF items LANGUAGE sql AS $$
	SELECT (first + i) / 4, (first + i) % 4, timestamptz '2025-01-01 UTC' + interval '1 second' * (i * 7919 % 31536000),
		i / 4 * 31 % customers, i * 17 % 1000, 1 + i % 5, 9.90 + i % 100
	FROM generate_series(0, n - 1) i;
$$;

-- One transaction.
CREATE OR REPLACE PROCEDURE do_big(n bigint, customers bigint) LANGUAGE sql AS $$
	INSERT INTO items SELECT * FROM item_rows(4000000000, n, customers);
$$;

-- A transaction for each row.
CREATE OR REPLACE PROCEDURE do_small(n bigint, customers bigint) LANGUAGE plpgsql AS $$
DECLARE
	r items;
BEGIN
	FOR r IN SELECT * FROM item_rows(8000000000, n, customers) LOOP
		INSERT INTO items VALUES (r.*);
		COMMIT;
	END LOOP;
END $$;

CREATE OR REPLACE PROCEDURE do_deletes(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. n / 100 - 1 LOOP
		DELETE FROM items WHERE order_id BETWEEN b * 25 AND b * 25 + 24;
		COMMIT;
	END LOOP;
END $$;

-- Changes of n members, spread over all keys; other ones in each round.
CREATE OR REPLACE PROCEDURE do_members(keys bigint, n bigint, round bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. n / 100 - 1 LOOP
		UPDATE members SET city = 'town ' || round, updated_at = clock_timestamp()
		WHERE member_id = ANY (ARRAY(SELECT 1 + ((b * 100 + i) * 611953::bigint + round * 15485863) % keys FROM generate_series(0, 99) i));
		COMMIT;
	END LOOP;
END $$;

-- The i-th transaction of n new rows, and of an update of so many other tables; the time of its commit.
CREATE OR REPLACE PROCEDURE do_send(i bigint, n bigint, customers bigint, others integer, INOUT at double precision DEFAULT 0)
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO items SELECT * FROM item_rows(12000000000 + i * 4 * n, n, customers);
	FOR o IN 1 .. others LOOP
		EXECUTE format('UPDATE other_%s SET city = $1 WHERE id = 1', o) USING 'city ' || i;
	END LOOP;
	COMMIT;
	at := extract(epoch FROM clock_timestamp());
END $$;
