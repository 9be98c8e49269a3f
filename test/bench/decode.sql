-- What the bench's part `decode` decodes. Each procedure makes n changes; all but do_big commit after 100 of them.
\set ON_ERROR_STOP on

CREATE TABLE narrow (id bigint PRIMARY KEY, customer_id integer, amount numeric(10,2), at timestamptz);
CREATE FUNCTION narrow_rows(first bigint, last bigint) RETURNS SETOF narrow LANGUAGE sql AS $$
	SELECT i, i * 31 % 20000, i * 7 % 1000 + 0.95, timestamptz '2025-01-01 UTC' + i * interval '1 second' FROM generate_series(first, last) i;
$$;
CREATE PROCEDURE do_narrow(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. n / 100 - 1 LOOP
		INSERT INTO narrow SELECT * FROM narrow_rows(b * 100, b * 100 + 99);
		COMMIT;
	END LOOP;
END $$;
CREATE PROCEDURE do_big(n bigint) LANGUAGE sql AS $$
	INSERT INTO narrow SELECT * FROM narrow_rows(0, n - 1);
$$;

CREATE TABLE wide
(
	id bigint PRIMARY KEY,
	i2 smallint, i4 integer, i8 bigint, n1 numeric, n2 numeric(12,2), s1 text, s2 text, s3 varchar(40), c1 char(3),
	tz timestamptz, ts timestamp, d1 date, t1 time, f8 double precision, f4 real, o1 boolean, o2 boolean, u1 uuid, j1 jsonb,
	ai integer[], at text[], y1 bytea, e1 text, e2 integer
);
-- Of 100 changes 60 are new rows, 30 change rows of the transaction before, and 10 remove some of its others.
CREATE PROCEDURE do_wide(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 1 .. n / 100 LOOP
		INSERT INTO wide
			SELECT b * 100 + i, i, i * 1000, b * 1000003, i * 1.25 + b / 7.0, i * 99.99, 'some text of this row ' || i, md5(b::text),
				'Karl Johans gate ' || i, 'NOK', timestamptz '2025-01-01 UTC' + i * interval '1 hour',
				timestamp '2025-03-01' + b * interval '1 second', date '2025-01-01' + i, time '08:00' + i * interval '1 minute', i / 7.0,
				i / 3.0, i % 2 = 0, i % 3 = 0, md5(i::text)::uuid,
				jsonb_build_object('status', 'paid', 'items', i, 'tags', jsonb_build_array('new', 'gift'), 'sum', i * 1.5),
				ARRAY[i, b, i + b], ARRAY['red', 'size ' || i], decode(md5(i::text), 'hex'), NULL, NULL
			FROM generate_series(1, 60 + CASE WHEN b = 1 THEN 40 ELSE 0 END) i;
		UPDATE wide SET i4 = i4 + 1, n2 = n2 + 0.01, s3 = s3 || ' b', e2 = i4, tz = tz + interval '1 day'
		WHERE id BETWEEN (b - 1) * 100 + 1 AND (b - 1) * 100 + 30;
		DELETE FROM wide WHERE id BETWEEN (b - 1) * 100 + 31 AND (b - 1) * 100 + 40;
		COMMIT;
	END LOOP;
END $$;

-- Updates that leave two values of 8 kB outside the row as they are.
CREATE TABLE toasted (id bigint PRIMARY KEY, a integer, t1 text, t2 text);
ALTER TABLE toasted ALTER t1 SET STORAGE EXTERNAL, ALTER t2 SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT i, 0, repeat('walhouse', 1024), repeat('esuohlaw', 1024) FROM generate_series(0, 999) i;
CREATE PROCEDURE do_toasted(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. n / 100 - 1 LOOP
		UPDATE toasted SET a = a + 1 WHERE id BETWEEN b * 100 % 1000 AND b * 100 % 1000 + 99;
		COMMIT;
	END LOOP;
END $$;

CREATE PUBLICATION bench FOR ALL TABLES;
