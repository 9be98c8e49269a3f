-- The peer that people write by hand: the copy of load.sql's tables, and triggers that keep a star of the same shape current. The
-- worker of a subscription has an empty search_path, so every name is qualified.
\set ON_ERROR_STOP on
CREATE SCHEMA dw;
CREATE TABLE dw.customer
(
	customer_sk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer_id bigint NOT NULL, name text, city text, segment text,
	valid_from timestamptz NOT NULL, valid_to timestamptz NOT NULL DEFAULT 'infinity',
	UNIQUE (customer_id, valid_from)
);
CREATE TABLE dw.product (product_sk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, product_id bigint NOT NULL UNIQUE, name text, category text);
CREATE TABLE dw.date (date_sk bigint PRIMARY KEY, date date NOT NULL UNIQUE);
INSERT INTO dw.date SELECT to_char(d, 'YYYYMMDD')::bigint, d FROM generate_series(date '2024-12-01', date '2026-03-31', '1 day') d;
CREATE TABLE dw.sales
(
	order_id bigint, line_no integer, ordered_at timestamptz, customer_id bigint, product_id bigint, quantity integer, amount numeric,
	customer_sk bigint NOT NULL, product_sk bigint NOT NULL, date_sk bigint NOT NULL,
	PRIMARY KEY (order_id, line_no, ordered_at)
) PARTITION BY RANGE (ordered_at);
SELECT format('CREATE TABLE dw.sales_%s PARTITION OF dw.sales FOR VALUES FROM (%L) TO (%L)', to_char(m, 'YYYYMM'), m, m + interval '1 month')
FROM generate_series(timestamptz '2024-12-01 UTC', '2026-03-01 UTC', '1 month') m \gexec

CREATE FUNCTION dw.on_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP <> 'INSERT' THEN
		DELETE FROM dw.sales WHERE order_id = OLD.order_id AND line_no = OLD.line_no AND ordered_at = OLD.ordered_at;
	END IF;
	IF TG_OP <> 'DELETE' THEN
		INSERT INTO dw.sales VALUES (NEW.order_id, NEW.line_no, NEW.ordered_at, NEW.customer_id, NEW.product_id, NEW.quantity,
			NEW.quantity * NEW.unit_price,
			(SELECT c.customer_sk FROM dw.customer c WHERE c.customer_id = NEW.customer_id AND c.valid_from <= NEW.ordered_at
				ORDER BY c.valid_from DESC LIMIT 1),
			(SELECT p.product_sk FROM dw.product p WHERE p.product_id = NEW.product_id),
			(SELECT d.date_sk FROM dw.date d WHERE d.date = (NEW.ordered_at AT TIME ZONE 'UTC')::date));
	END IF;
	RETURN NULL;
END $$;
CREATE FUNCTION dw.on_customers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	at timestamptz := pg_catalog.clock_timestamp();
BEGIN
	UPDATE dw.customer SET name = NEW.name WHERE customer_id = NEW.customer_id AND name IS DISTINCT FROM NEW.name;
	IF (OLD.city, OLD.segment) IS DISTINCT FROM (NEW.city, NEW.segment) THEN
		UPDATE dw.customer SET valid_to = at WHERE customer_id = NEW.customer_id AND valid_to = 'infinity';
		INSERT INTO dw.customer (customer_id, name, city, segment, valid_from) VALUES (NEW.customer_id, NEW.name, NEW.city, NEW.segment, at);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER fact AFTER INSERT OR UPDATE OR DELETE ON public.items FOR EACH ROW EXECUTE FUNCTION dw.on_items();
CREATE TRIGGER dimension AFTER UPDATE ON public.customers FOR EACH ROW EXECUTE FUNCTION dw.on_customers();
ALTER TABLE public.items ENABLE ALWAYS TRIGGER fact;
ALTER TABLE public.customers ENABLE ALWAYS TRIGGER dimension;
