-- In a database that the bench's part `load` keeps current, what waits for the rows of do_send(i, n). Variable: relation.
CREATE VIEW public.awaited AS SELECT order_id, line_no FROM :relation
	WHERE ordered_at >= timestamptz '2025-01-01 UTC' AND ordered_at < timestamptz '2025-02-01 UTC';
CREATE PROCEDURE public.do_await(i bigint, n bigint, INOUT at double precision DEFAULT 0) LANGUAGE plpgsql AS $$
DECLARE
	since timestamptz := clock_timestamp();
BEGIN
	WHILE NOT EXISTS (SELECT FROM public.awaited a WHERE a.order_id = (12000000000 + i * 4 * n + n - 1) / 4 AND a.line_no = (n - 1) % 4) LOOP
		IF clock_timestamp() > since + interval '60 s' THEN
			RAISE EXCEPTION 'transaction % does not come', i;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.0001);
	END LOOP;
	at := extract(epoch FROM clock_timestamp());
END $$;
