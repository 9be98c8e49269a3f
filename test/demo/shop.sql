-- The demo's source: a shop with 18 months behind it. Runs in an empty database, as its owner.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT pg_catalog.setseed(0.20) \g /dev/null

-- What it trades with: lists that make rows look like people and things.
CREATE TABLE first_name (i serial PRIMARY KEY, word text);
INSERT INTO first_name (word) SELECT unnest(string_to_array(
	'Ada Agnes Ahmed Alma Amara Anders Anna Antonio Astrid Ayse Bela Ben Bruno Camille Carla Chen Clara Daniel Dario Diego '
	'Edith Elena Elias Emil Emma Erik Eva Fatima Felix Flora Frida Georg Greta Hana Hugo Ida Ines Ingrid Ivan Jakob '
	'Jana Jonas Jorge Julia Kaja Karim Lars Lea Leo Lina Lotte Luca Luis Magda Maja Marco Maria Marta Mateo Max '
	'Mila Mina Nadia Nils Nina Noor Olga Oskar Otto Pablo Paul Petra Pia Rafael Rosa Sami Sara Selma Simon Sofia '
	'Stefan Tara Theo Tilda Tomas Ursula Vera Viktor Wanda Yara Yusuf Zoe', ' '));
CREATE TABLE last_name (i serial PRIMARY KEY, word text);
INSERT INTO last_name (word) SELECT unnest(string_to_array(
	'Aalto Abbas Almeida Andersson Bauer Becker Bellini Berg Bianchi Blanc Borges Brandt Carlsen Castro Cohen Costa Dahl '
	'Demir Dubois Eriksen Falk Fernandez Fischer Fontana Garcia Girard Haas Hansen Hoffmann Horvath Ibrahim Ivanova Jansen '
	'Jensen Kaya Keller Klein Koch Kowalski Kruger Lambert Larsen Laurent Lehmann Lindgren Lombardi Lopez Maes Marino '
	'Martin Meyer Moreau Moretti Mueller Navarro Nielsen Novak Nowak Okafor Olsen Orban Pereira Petit Ricci Rossi Roux '
	'Santos Schmidt Silva Simon Sorensen Szabo Tanaka Torres Vidal Virtanen Visser Vogel Weber Weiss Wolff Zimmermann', ' '));
CREATE TABLE place (i serial PRIMARY KEY, city text, country text);
INSERT INTO place (city, country) VALUES
	('Amsterdam', 'NL'), ('Antwerp', 'BE'), ('Barcelona', 'ES'), ('Basel', 'CH'), ('Bergen', 'NO'), ('Berlin', 'DE'),
	('Bologna', 'IT'), ('Bordeaux', 'FR'), ('Bremen', 'DE'), ('Brno', 'CZ'), ('Brussels', 'BE'), ('Budapest', 'HU'),
	('Cologne', 'DE'), ('Copenhagen', 'DK'), ('Dresden', 'DE'), ('Dublin', 'IE'), ('Geneva', 'CH'), ('Genoa', 'IT'),
	('Ghent', 'BE'), ('Gothenburg', 'SE'), ('Graz', 'AT'), ('Hamburg', 'DE'), ('Helsinki', 'FI'), ('Krakow', 'PL'),
	('Leipzig', 'DE'), ('Lisbon', 'PT'), ('Ljubljana', 'SI'), ('Lyon', 'FR'), ('Madrid', 'ES'), ('Malmo', 'SE'),
	('Milan', 'IT'), ('Munich', 'DE'), ('Nantes', 'FR'), ('Naples', 'IT'), ('Oslo', 'NO'), ('Paris', 'FR'),
	('Porto', 'PT'), ('Prague', 'CZ'), ('Riga', 'LV'), ('Rome', 'IT'), ('Rotterdam', 'NL'), ('Seville', 'ES'),
	('Stockholm', 'SE'), ('Tallinn', 'EE'), ('Turin', 'IT'), ('Utrecht', 'NL'), ('Valencia', 'ES'), ('Vienna', 'AT'),
	('Warsaw', 'PL'), ('Zurich', 'CH');
CREATE TABLE street (i serial PRIMARY KEY, word text);
INSERT INTO street (word) SELECT unnest(string_to_array(
	'Abbey Lane,Bridge Street,Canal Row,Castle Hill,Cathedral Square,Chestnut Avenue,Church Street,Elm Road,Garden Street,'
	'Harbour Street,High Street,Kings Road,Lake View,Linden Avenue,Market Square,Mill Lane,Museum Street,Oak Avenue,'
	'Orchard Road,Park Street,Poplar Way,Quay Street,River Walk,Rose Lane,School Street,Station Road,Theatre Square,'
	'Tower Street,Vineyard Road,Willow Lane', ','));

CREATE TABLE customers
(
	customer_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL,
	email text,
	street text NOT NULL,
	city text NOT NULL,
	country char(2) NOT NULL,
	segment text NOT NULL DEFAULT 'standard',
	joined_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE products
(
	product_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL,
	category text NOT NULL,
	list_price numeric(10,2) NOT NULL
);
CREATE TABLE orders
(
	order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer_id bigint REFERENCES customers ON DELETE SET NULL,
	ordered_at timestamptz NOT NULL,
	channel text NOT NULL,
	status text NOT NULL DEFAULT 'placed',
	shipping numeric(8,2) NOT NULL DEFAULT 4.90,
	note text
);
CREATE TABLE order_items
(
	order_id bigint REFERENCES orders,
	line_no integer,
	ordered_at timestamptz NOT NULL,
	customer_id bigint,
	product_id bigint NOT NULL REFERENCES products,
	quantity integer NOT NULL CHECK (quantity > 0),
	unit_price numeric(10,2) NOT NULL,
	returned integer NOT NULL DEFAULT 0,
	PRIMARY KEY (order_id, line_no)
);
CREATE TABLE returns
(
	return_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	order_id bigint NOT NULL,
	line_no integer NOT NULL,
	returned_at timestamptz NOT NULL DEFAULT now(),
	customer_id bigint,
	product_id bigint NOT NULL,
	quantity integer NOT NULL,
	refund numeric(10,2) NOT NULL,
	reason text NOT NULL
);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON order_items (customer_id);

-- What happens in the shop, one function per business event. The workload calls them, each in a transaction.

CREATE FUNCTION sign_up(joined timestamptz DEFAULT now()) RETURNS bigint LANGUAGE sql AS $$
	WITH dice AS MATERIALIZED (
		SELECT 1 + floor(random() * 92)::int AS first, 1 + floor(random() * 82)::int AS last,
			1 + floor(random() * 30)::int AS street, 1 + floor(random() * 120)::int AS number,
			1 + floor(random() * 50)::int AS place, random() < 0.15 AS business)
	INSERT INTO customers (name, email, street, city, country, segment, joined_at)
		SELECT f.word || ' ' || l.word, lower(f.word || '.' || l.word) || '@example.' || lower(p.country),
			s.word || ' ' || d.number, p.city, p.country, CASE WHEN d.business THEN 'business' ELSE 'standard' END, joined
		FROM dice d
			JOIN first_name f ON f.i = d.first
			JOIN last_name l ON l.i = d.last
			JOIN street s ON s.i = d.street
			JOIN place p ON p.i = d.place
		RETURNING customer_id
$$;

-- Another street, and one customer in two leaves the city too.
CREATE FUNCTION move_house(customer bigint) RETURNS void LANGUAGE sql AS $$
	WITH new AS MATERIALIZED (
		SELECT 1 + floor(random() * 30)::int AS street, 1 + floor(random() * 50)::int AS place,
			1 + floor(random() * 120)::int AS number, random() < 0.5 AS far)
	UPDATE customers c
	SET street = s.word || ' ' || n.number,
		city = CASE WHEN n.far THEN p.city ELSE c.city END,
		country = CASE WHEN n.far THEN p.country ELSE c.country END
	FROM new n JOIN street s ON s.i = n.street JOIN place p ON p.i = n.place
	WHERE c.customer_id = customer
$$;

CREATE FUNCTION change_email(customer bigint) RETURNS void LANGUAGE sql AS $$
	UPDATE customers SET email = split_part(email, '@', 1) || '.' || 1 + floor(random() * 99)::int || '@example.org'
	WHERE customer_id = customer
$$;

CREATE FUNCTION change_price(product bigint) RETURNS void LANGUAGE sql AS $$
	UPDATE products SET list_price = round(list_price * (0.9 + random() * 0.25)::numeric, 0) + 0.90
	WHERE product_id = product
$$;

CREATE FUNCTION place_order(customer bigint, at timestamptz, via text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	IF NOT EXISTS (SELECT FROM customers WHERE customer_id = customer FOR KEY SHARE) THEN
		RETURN NULL;
	END IF;
	INSERT INTO orders (customer_id, ordered_at, channel, shipping)
		VALUES (customer, at, via, CASE WHEN random() < 0.3 THEN 0 ELSE 4.90 END)
		RETURNING order_id INTO id;
	INSERT INTO order_items (order_id, line_no, ordered_at, customer_id, product_id, quantity, unit_price)
		SELECT id, w.n, at, customer, p.product_id, w.quantity, p.list_price
		FROM (SELECT n, 1 + floor(power(random(), 2) * 240)::int AS product, 1 + floor(power(random(), 3) * 5)::int AS quantity
			FROM generate_series(1, 1 + floor(random() * 4)::int) n) w
			JOIN products p ON p.product_id = w.product;
	RETURN id;
END $$;

CREATE FUNCTION ship_order(id bigint) RETURNS void LANGUAGE sql AS $$
	UPDATE orders SET status = CASE status WHEN 'placed' THEN 'shipped' ELSE 'delivered' END
	WHERE order_id = id AND status IN ('placed', 'shipped')
$$;

CREATE FUNCTION cancel_order(id bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE orders SET status = 'cancelled', shipping = 0 WHERE order_id = id AND status = 'placed';
	IF FOUND THEN
		DELETE FROM order_items WHERE order_id = id;
	END IF;
END $$;

CREATE FUNCTION return_item(id bigint, at timestamptz DEFAULT now()) RETURNS void LANGUAGE sql AS $$
	WITH back AS (
		UPDATE order_items SET returned = quantity
		WHERE order_id = id AND line_no = 1 AND returned = 0
		RETURNING *)
	INSERT INTO returns (order_id, line_no, returned_at, customer_id, product_id, quantity, refund, reason)
		SELECT order_id, line_no, at, customer_id, product_id, quantity, quantity * unit_price,
			(ARRAY['too small', 'too large', 'damaged', 'changed mind', 'late'])[1 + floor(random() * 5)::int]
		FROM back
$$;

-- An account that is closed takes the customer's name away; the orders stay, and are nobody's.
CREATE FUNCTION close_account(customer bigint) RETURNS void LANGUAGE sql AS $$
	UPDATE order_items SET customer_id = NULL WHERE customer_id = customer;
	UPDATE returns SET customer_id = NULL WHERE customer_id = customer;
	DELETE FROM customers WHERE customer_id = customer
$$;

-- 18 months of it.
INSERT INTO products (name, category, list_price)
	SELECT m.word || ' ' || t.word, t.category, round((t.price * (0.7 + m.n * 0.08))::numeric, 0) - 0.10
	FROM unnest(string_to_array('Oak Walnut Linen Copper Ceramic Cotton Slate Bamboo Felt Brass', ' '))
			WITH ORDINALITY m (word, n),
		(VALUES ('Desk Lamp', 'lighting', 69), ('Floor Lamp', 'lighting', 149), ('Lantern', 'lighting', 35),
			('Pendant', 'lighting', 95), ('Bookshelf', 'furniture', 189), ('Stool', 'furniture', 79),
			('Side Table', 'furniture', 129), ('Armchair', 'furniture', 349), ('Bench', 'furniture', 219),
			('Mug', 'kitchen', 14), ('Bowl', 'kitchen', 19), ('Carafe', 'kitchen', 32), ('Tray', 'kitchen', 27),
			('Bread Box', 'kitchen', 45), ('Teapot', 'kitchen', 39), ('Cushion', 'textiles', 29),
			('Throw', 'textiles', 59), ('Rug', 'textiles', 139), ('Curtain', 'textiles', 75), ('Vase', 'decoration', 34),
			('Mirror', 'decoration', 89), ('Clock', 'decoration', 49), ('Frame', 'decoration', 22),
			('Planter', 'decoration', 42)) t (word, category, price);

SELECT count(sign_up(now() - interval '1 day' * (540 + random() * 900))) FROM generate_series(1, :customers) \g /dev/null
SELECT count(place_order(1 + floor(power(random(), 1.5) * :customers)::int, now() - interval '540 days' * power(random(), 1.2),
		(ARRAY['web', 'web', 'app', 'app', 'store'])[1 + floor(random() * 5)::int]))
	FROM generate_series(1, :orders) \g /dev/null
UPDATE orders SET status = 'delivered' WHERE ordered_at < now() - interval '10 days';
SELECT count(return_item(order_id, least(ordered_at + interval '1 day' * (3 + random() * 20), now())))
	FROM (SELECT order_id, ordered_at FROM orders WHERE order_id % 23 = 0 ORDER BY order_id) o \g /dev/null

ANALYZE customers, products, orders, order_items, returns;

-- What the warehouse may see: these five tables, through a role that can read and replicate and nothing else.
CREATE PUBLICATION shop FOR TABLE customers, products, orders, order_items, returns;
GRANT SELECT ON customers, products, orders, order_items, returns TO feeder;
