# A real shop's data: the Chinook music shop as source, a star over it, months of business, and every model compared with
# SQL written by hand here. What the shop's tables went through is recorded by triggers at the source, with the commit
# times that the source itself remembers (track_commit_timestamp): nothing of walhouse has a part in what is expected.
#
# The star: customer (type 2, contact data type 1), track (type 2 price, rest type 1), album and employee (type 1),
# a date dimension; facts invoice and invoice_line. A line has no time of its own in the original data; this shop
# keeps the time of sale on the line (column sold_at, by a trigger), as shops with a warehouse do.
# Times are the shop's wall clock in Berlin, without zone, as in the original.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $chinook = shared_file('chinook.sql');
my ($source, $house) = source_and_house(source => { conf => "track_commit_timestamp = on\n" });
my @tables = qw(album artist customer employee genre invoice invoice_line track);

# ---- The shop, and the record of what happens to it.
sql($source, "\\i $chinook");
sql($source, q{
	ALTER TABLE invoice_line ADD COLUMN sold_at timestamp;
	UPDATE invoice_line l SET sold_at = i.invoice_date FROM invoice i WHERE i.invoice_id = l.invoice_id;
	CREATE FUNCTION sold_at() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_TABLE_NAME = 'invoice' THEN
			UPDATE invoice_line SET sold_at = NEW.invoice_date WHERE invoice_id = NEW.invoice_id;
		ELSE
			NEW.sold_at := (SELECT invoice_date FROM invoice WHERE invoice_id = NEW.invoice_id);
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER sold_at BEFORE INSERT ON invoice_line FOR EACH ROW EXECUTE FUNCTION sold_at();
	CREATE TRIGGER sold_at AFTER UPDATE OF invoice_date ON invoice FOR EACH ROW EXECUTE FUNCTION sold_at();
	-- Customers are forgotten and renumbered while their invoices stay.
	ALTER TABLE invoice DROP CONSTRAINT invoice_customer_id_fkey;

	CREATE SCHEMA audit;
	CREATE TABLE audit.change (n bigserial PRIMARY KEY, xid xid, rel text, live boolean, image jsonb);
	CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND to_jsonb(OLD) -> TG_ARGV[0] <> to_jsonb(NEW) -> TG_ARGV[0] THEN
			INSERT INTO audit.change (xid, rel, live, image)
				VALUES (pg_current_xact_id()::xid, TG_TABLE_NAME, false, to_jsonb(OLD));
		END IF;
		IF TG_OP <> 'DELETE' THEN
			INSERT INTO audit.change (xid, rel, live, image)
				VALUES (pg_current_xact_id()::xid, TG_TABLE_NAME, true, to_jsonb(NEW));
		END IF;
		RETURN NULL;
	END $$;
});
for my $table (qw(album customer employee track))
{
	sql($source, qq{
		INSERT INTO audit.change (xid, rel, live, image) SELECT NULL, '$table', true, to_jsonb(t) FROM $table t;
		CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON $table
			FOR EACH ROW EXECUTE FUNCTION audit.note('${table}_id');
	});
}
sql($source, 'CREATE PUBLICATION shop FOR TABLE ' . join(', ', @tables));

# ---- The feed and the star.
create_server($house, 'shop', $source);
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop', time_zone => 'Europe/Berlin')});
mirrors_equal($house, $source, 'shop', @tables);
my $customer_dimension = q{
	SELECT walhouse.create_dimension('%s',
		$$ SELECT customer_id, first_name, last_name, company, address, city, country, phone, email, support_rep_id
		   FROM shop.customer $$,
		key => '{customer_id}', scd => '{"*": 2, "phone": 1, "email": 1}')};
my $track_dimension = q{
	SELECT walhouse.create_dimension('%s',
		$$ SELECT track_id, name AS title, album_id, genre_id, milliseconds / 1000 AS seconds, unit_price FROM shop.track $$,
		key => '{track_id}', scd => '{"*": 1, "unit_price": 2}')};
sql($house, q{CREATE SCHEMA dw; SELECT walhouse.create_date_dimension('dw.date', '2021-01-01', '2027-12-31')});
sql($house, sprintf($customer_dimension, 'dw.customer'));
sql($house, sprintf($track_dimension, 'dw.track'));
sql($house, q{
	SELECT walhouse.create_dimension('dw.album', $$ SELECT album_id, title, artist_id FROM shop.album $$,
		key => '{album_id}', scd => '{"*": 1}');
	SELECT walhouse.create_dimension('dw.employee',
		$$ SELECT employee_id, first_name || ' ' || last_name AS name, title, city FROM shop.employee $$,
		key => '{employee_id}', scd => '{"*": 1}');
	SELECT walhouse.create_fact('dw.invoice',
		$$ SELECT invoice_id, invoice_date, customer_id, billing_country, total FROM shop.invoice $$,
		key => '{invoice_id}', event_time => 'invoice_date',
		dimensions => '{"customer_sk": "dw.customer(customer_id)", "date_sk": "dw.date(invoice_date)"}',
		partition_by => 'month');
	SELECT walhouse.create_fact('dw.invoice_line',
		$$ SELECT invoice_line_id, invoice_id, sold_at, track_id, quantity, unit_price, quantity * unit_price AS amount
		   FROM shop.invoice_line $$,
		key => '{invoice_line_id}', event_time => 'sold_at',
		dimensions => '{"track_sk": "dw.track(track_id)", "sold_date_sk": "dw.date(sold_at)"}',
		partition_by => 'year');
});
my @models = qw(dw.customer dw.track dw.album dw.employee dw.invoice dw.invoice_line);
sql($house, "CALL walhouse.build('$_')") for @models;
sql($house, 'CREATE SCHEMA oracle');
check('after the build');

is(value($house, q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'dw.invoice'::regclass}) >= 60 ? 'enough' : 'few', 'enough',
	'five years of invoices stand in a partition per month');

# ---- Prices rise, in several steps; customers move, some twice, and some changes change nothing.
sql($source, q{
	UPDATE track SET unit_price = unit_price + 0.10 WHERE genre_id = 1;
	UPDATE track SET unit_price = unit_price + 0.10 WHERE genre_id = 1 AND milliseconds > 300000;
	UPDATE track SET name = name || ' (remastered)' WHERE album_id = 1;
	UPDATE track SET name = name;
	UPDATE customer SET address = '1 Infinite Loop', city = 'Cupertino', country = 'USA' WHERE customer_id = 1;
	UPDATE customer SET address = 'Unter den Linden 1', city = 'Berlin', country = 'Germany' WHERE customer_id = 1;
	UPDATE customer SET email = 'new@example.org' WHERE customer_id IN (1, 2);
	UPDATE customer SET company = NULL WHERE customer_id BETWEEN 1 AND 12;
	UPDATE customer SET company = '' WHERE customer_id = 12;
	BEGIN;
	UPDATE customer SET city = 'Nowhere' WHERE customer_id = 3;
	UPDATE customer SET city = 'Paris' WHERE customer_id = 3;
	UPDATE customer SET city = 'Montréal' WHERE customer_id = 3;
	COMMIT;
	BEGIN;
	UPDATE customer SET city = 'Rollback' WHERE customer_id = 4;
	ROLLBACK;
});
run_and_check('after price rises and moves');

# ---- New sales, at the new prices and addresses; refunds of a line and of a whole invoice.
sql($source, q{
	CREATE PROCEDURE sell(who int, moment timestamp, VARIADIC tracks int[]) LANGUAGE plpgsql AS $$
	DECLARE id int := (SELECT max(invoice_id) + 1 FROM invoice);
	BEGIN
		INSERT INTO invoice SELECT id, who, moment, address, city, state, country, postal_code, 0
			FROM (SELECT 1) AS one LEFT JOIN customer ON customer_id = who;
		INSERT INTO invoice_line (invoice_line_id, invoice_id, track_id, unit_price, quantity)
			SELECT (SELECT max(invoice_line_id) FROM invoice_line) + row_number() OVER (), id, t, unit_price, 1
			FROM unnest(tracks) AS t JOIN track ON track_id = t;
		UPDATE invoice SET total = (SELECT sum(unit_price * quantity) FROM invoice_line l WHERE l.invoice_id = id)
			WHERE invoice_id = id;
	END $$;
	CREATE FUNCTION here() RETURNS timestamp LANGUAGE sql AS $$ SELECT now() AT TIME ZONE 'Europe/Berlin' $$;
	CALL sell(1, here(), 1, 2, 3);
	CALL sell(2, here(), 4);
	UPDATE customer SET city = 'Hamburg' WHERE customer_id = 1;
	CALL sell(1, here(), 5, 6);
	CALL sell(3, here(), 1, 10, 100);
	UPDATE track SET unit_price = 0.49 WHERE track_id IN (1, 10);
	CALL sell(3, here(), 1, 10, 100);
	CALL sell(4, here() - interval '3 years', 7);
	BEGIN;
	DELETE FROM invoice_line WHERE invoice_line_id = 10;
	UPDATE invoice SET total = total - 0.99 WHERE invoice_id = 3;
	COMMIT;
	BEGIN;
	DELETE FROM invoice_line WHERE invoice_id = 5;
	DELETE FROM invoice WHERE invoice_id = 5;
	COMMIT;
	UPDATE invoice_line SET quantity = quantity + 1 WHERE invoice_id = 7;
});
run_and_check('after sales and refunds');

# ---- A customer asks to be forgotten; another is deleted and comes back; one is renumbered; two swap their numbers.
sql($source, q{
	DELETE FROM customer WHERE customer_id = 10;
	CALL sell(10, here(), 20);
	DELETE FROM customer WHERE customer_id = 11;
	INSERT INTO customer (customer_id, first_name, last_name, email) VALUES (11, 'Back', 'Again', 'back@example.org');
	CALL sell(11, here(), 21);
	UPDATE customer SET customer_id = 1013 WHERE customer_id = 13;
	CALL sell(13, here(), 22);
	CALL sell(1013, here(), 23);
	BEGIN;
	UPDATE customer SET customer_id = -14 WHERE customer_id = 14;
	UPDATE customer SET customer_id = 14 WHERE customer_id = 15;
	UPDATE customer SET customer_id = 15 WHERE customer_id = -14;
	COMMIT;
	CALL sell(14, here(), 24);
	BEGIN;
	INSERT INTO customer (customer_id, first_name, last_name, email) VALUES (2000, 'Never', 'Seen', 'n@example.org');
	DELETE FROM customer WHERE customer_id = 2000;
	COMMIT;
	BEGIN;
	DELETE FROM customer WHERE customer_id = 16;
	INSERT INTO customer (customer_id, first_name, last_name, email) VALUES (16, 'Same', 'Number', 's@example.org');
	COMMIT;
});
run_and_check('after customers were deleted, brought back and renumbered');

# ---- A guest buys before anybody wrote his name down: an inferred member, whose surrogate key stays.
sql($source, 'CALL sell(3000, here(), 30)');
run_and_check('after a guest bought');
my $inferred = q{SELECT customer_sk, is_inferred FROM dw.customer WHERE customer_id = 3000};
like(my $guest = value($house, $inferred), qr/^\d+\|t$/, 'the guest is an inferred member');
sql($source, q{INSERT INTO customer (customer_id, first_name, last_name, email) VALUES (3000, 'Late', 'Guest', 'late@example.org')});
run_and_check('after the guest was written down');
is(value($house, $inferred), $guest =~ s/t$/f/r, 'the guest keeps the surrogate key');

# ---- Invoice dates are corrected: into other months, years never seen, ahead of the clock, and to no time at all.
sql($source, q{
	UPDATE invoice SET invoice_date = invoice_date - interval '2 months' WHERE invoice_id BETWEEN 20 AND 40;
	UPDATE invoice SET invoice_date = '2011-05-05 05:05' WHERE invoice_id = 50;
	UPDATE invoice SET invoice_date = here() + interval '3 years' WHERE invoice_id IN (51, 52, 53);
	UPDATE invoice SET invoice_date = 'infinity' WHERE invoice_id = 60;
	UPDATE invoice SET invoice_date = '9999-12-31' WHERE invoice_id = 61;
});
run_and_check('after dates were corrected', 60, 61);
sql($source, q{
	UPDATE customer SET city = city || ' (moved)' WHERE customer_id IN (SELECT customer_id FROM invoice WHERE invoice_id BETWEEN 51 AND 53);
	UPDATE track SET unit_price = unit_price * 2 WHERE track_id IN (SELECT track_id FROM invoice_line WHERE invoice_id BETWEEN 51 AND 53);
});
run_and_check('after customers and tracks changed under invoices ahead of the clock', 60, 61);
sql($source, q{
	UPDATE invoice SET invoice_date = '2024-01-01' WHERE invoice_id IN (60, 51);
	DELETE FROM invoice_line WHERE invoice_id = 61;
	DELETE FROM invoice WHERE invoice_id = 61;
});
run_and_check('after the dates without a place were mended');

# ---- One large transaction over everything, and small changes of the type-1 dimensions.
sql($source, q{
	BEGIN;
	UPDATE track SET unit_price = round(unit_price * 1.07, 2);
	UPDATE album SET title = upper(title) WHERE artist_id < 50;
	UPDATE invoice SET billing_country = 'United States' WHERE billing_country = 'USA';
	UPDATE employee SET title = 'General', city = NULL WHERE employee_id = 1;
	COMMIT;
	UPDATE album SET title = title WHERE album_id > 100;
	INSERT INTO album VALUES (5000, 'Brand New', 1);
	DELETE FROM album WHERE album_id = 5000;
	INSERT INTO album VALUES (5000, 'Brand New, Again', 1);
	INSERT INTO employee (employee_id, last_name, first_name) VALUES (99, 'Trainee', 'Tim');
	DELETE FROM employee WHERE employee_id = 99;
});
run_and_check('after a large transaction');
mirrors_equal($house, $source, 'shop', @tables);

# ---- Models that join late replay the log: the same history as those that were there from the start.
sql($house, sprintf($customer_dimension, 'dw.customer_late'));
sql($house, sprintf($track_dimension, 'dw.track_late'));
sql($house, q{CALL walhouse.run('shop')});
compare_customer('dw.customer_late', 'late');
compare_track('dw.track_late', 'late');
verify_clean($house, 'late', 'dw.customer_late', 'dw.track_late');

# ---- What a reader of the star asks.
same($house, 'sales per year and country by a star query',
	q{SELECT extract(year FROM invoice_date)::int, billing_country::text, sum(total) FROM shop.invoice
	  WHERE invoice_date >= '2021-01-01' AND invoice_date < '2028-01-01' GROUP BY 1, 2},
	q{SELECT d.year::int, i.billing_country::text, sum(i.total) FROM dw.invoice i JOIN dw.date d USING (date_sk)
	  WHERE d.date BETWEEN '2021-01-01' AND '2027-12-31' GROUP BY 1, 2});

# ---- The last word: all goes away, twice.
sql($house, "SELECT walhouse.drop_model('$_')") for qw(dw.invoice_line dw.invoice dw.customer_late dw.track_late),
	qw(dw.employee dw.album dw.track dw.customer dw.date);
sql($house, "CALL walhouse.drop_feed('shop')") for 1 .. 2;
is(value($source, 'SELECT count(*) FROM pg_replication_slots'), '0', 'drop_feed leaves no slot');
is(value($house, q{SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('shop', 'shop_log', 'dw')}), '0',
	'drop_feed and drop_model leave no relation');

$source->stop;
$house->stop;
done_testing();

# run_and_check WHAT[, INVOICE...]: bring the star up to date and compare; the invoices have no place in time.
sub run_and_check
{
	my ($what, @unplaced) = @_;
	sql($house, q{CALL walhouse.run('shop')});
	check($what, @unplaced);
	return;
}

# check WHAT: compare every model with what is expected, then ask verify.
sub check
{
	my ($what, @unplaced) = @_;
	bring_history();
	compare_customer('dw.customer', $what);
	compare_track('dw.track', $what);
	compare_type1($what);
	compare_facts($what, @unplaced);
	verify_clean($house, $what, @models);
	star_holds($house, $what);
	return;
}

# bring_history: carry the record of changes to the warehouse, where it is compared. One row per key and transaction: the
# last image. "t" is the commit time, NULL for what was there at the start.
sub bring_history
{
	my $file = PostgreSQL::Test::Utils::tempdir() . '/history';
	sql($source, qq{\\copy (SELECT n, CASE WHEN xid IS NOT NULL THEN pg_xact_commit_timestamp(xid) END, rel, live, image FROM audit.change) TO '$file'});
	sql($house, qq{
		DROP TABLE IF EXISTS oracle.change CASCADE;
		CREATE TABLE oracle.change (n bigint, t timestamptz, rel text, live boolean, image jsonb);
		\\copy oracle.change FROM '$file'
		CREATE VIEW oracle.event AS
			SELECT DISTINCT ON (rel, (image ->> (rel || '_id'))::int, t) rel, (image ->> (rel || '_id'))::int AS id, t, live, image
			FROM oracle.change ORDER BY rel, (image ->> (rel || '_id'))::int, t, n DESC;
	});
	sql($house, q{
		-- Versions of customers: one begins where the place, name or company differs from the customer's event before.
		CREATE VIEW oracle.customer AS
		WITH e AS (
			SELECT id, t, live, jsonb_build_array(image -> 'first_name', image -> 'last_name', image -> 'company', image -> 'address',
				image -> 'city', image -> 'country', image -> 'support_rep_id') AS kept, image
			FROM oracle.event WHERE rel = 'customer'),
		step AS (
			SELECT *, lag(live) OVER w AS was_live, lag(kept) OVER w AS was
			FROM e WINDOW w AS (PARTITION BY id ORDER BY t NULLS FIRST)),
		boundary AS (
			SELECT *, lead(t) OVER w AS until, row_number() OVER w AS nth
			FROM step WHERE (live AND (was_live IS NOT TRUE OR kept <> was)) OR (NOT live AND was_live)
			WINDOW w AS (PARTITION BY id ORDER BY t NULLS FIRST)),
		latest AS (
			SELECT DISTINCT ON (id) id, image ->> 'phone' AS phone, image ->> 'email' AS email
			FROM e WHERE live ORDER BY id, t DESC NULLS LAST)
		SELECT b.id AS customer_id, CASE WHEN nth = 1 THEN '-infinity' ELSE t END AS valid_from,
			coalesce(until, 'infinity') AS valid_to, until IS NULL AS is_current,
			image ->> 'first_name' AS first_name, image ->> 'last_name' AS last_name, image ->> 'company' AS company,
			image ->> 'address' AS address, image ->> 'city' AS city, image ->> 'country' AS country, phone, email,
			(image ->> 'support_rep_id')::int AS support_rep_id
		FROM boundary b JOIN latest USING (id) WHERE live;

		-- Versions of tracks: one begins where the price differs.
		CREATE VIEW oracle.track AS
		WITH e AS (SELECT id, t, live, (image ->> 'unit_price')::numeric AS price, image FROM oracle.event WHERE rel = 'track'),
		step AS (
			SELECT *, lag(live) OVER w AS was_live, lag(price) OVER w AS was
			FROM e WINDOW w AS (PARTITION BY id ORDER BY t NULLS FIRST)),
		boundary AS (
			SELECT *, lead(t) OVER w AS until, row_number() OVER w AS nth
			FROM step WHERE (live AND (was_live IS NOT TRUE OR price <> was)) OR (NOT live AND was_live)
			WINDOW w AS (PARTITION BY id ORDER BY t NULLS FIRST)),
		latest AS (SELECT DISTINCT ON (id) id, image FROM e WHERE live ORDER BY id, t DESC NULLS LAST)
		SELECT b.id AS track_id, CASE WHEN nth = 1 THEN '-infinity' ELSE t END AS valid_from,
			coalesce(until, 'infinity') AS valid_to, until IS NULL AS is_current, l.image ->> 'name' AS title,
			(l.image ->> 'album_id')::int AS album_id, (l.image ->> 'genre_id')::int AS genre_id,
			(l.image ->> 'milliseconds')::int / 1000 AS seconds, price AS unit_price
		FROM boundary b JOIN latest l USING (id) WHERE b.live;
	});
	return;
}

sub compare_customer
{
	my ($model, $what) = @_;
	my $columns = 'customer_id, valid_from, valid_to, is_current, first_name::text, last_name::text, company::text, address::text,
		city::text, country::text, phone::text, email::text, support_rep_id';
	same($house, "$what: $model", "SELECT $columns FROM oracle.customer",
		"SELECT $columns FROM $model WHERE customer_id IS NOT NULL AND NOT is_inferred");
	return;
}

sub compare_track
{
	my ($model, $what) = @_;
	my $columns = 'track_id, valid_from, valid_to, is_current, title::text, album_id, genre_id, seconds, unit_price';
	same($house, "$what: $model", "SELECT $columns FROM oracle.track",
		"SELECT $columns FROM $model WHERE track_id IS NOT NULL AND NOT is_inferred");
	return;
}

# compare_type1 WHAT: of each key that ever lived, the last image; the current rows are the source's.
sub compare_type1
{
	my ($what) = @_;
	same($house, "$what: dw.album's current rows", q{SELECT album_id, title::text, artist_id FROM shop.album},
		q{SELECT album_id, title::text, artist_id FROM dw.album WHERE is_current AND album_sk > 0 AND NOT is_inferred});
	same($house, "$what: dw.album with those that are gone",
		q{SELECT DISTINCT ON (id) id, image ->> 'title' FROM oracle.event WHERE rel = 'album' AND live ORDER BY id, t DESC NULLS LAST},
		q{SELECT DISTINCT album_id, title::text FROM dw.album WHERE album_sk > 0 AND NOT is_inferred});
	same($house, "$what: dw.employee's current rows",
		q{SELECT employee_id, first_name || ' ' || last_name, title::text, city::text FROM shop.employee},
		q{SELECT employee_id, name::text, title::text, city::text FROM dw.employee WHERE is_current AND employee_sk > 0});
	return;
}

# compare_facts WHAT[, INVOICE...]: facts are the source's rows; each points at the version that held at its time in Berlin, to
# the first one when all are later, to an inferred member when there is none.
sub compare_facts
{
	my ($what, @unplaced) = @_;
	my $unplaced = join ', ', -1, @unplaced;
	same($house, "$what: dw.invoice",
		qq{SELECT invoice_id, invoice_date, i.customer_id, billing_country::text, total, v.valid_from, d.date_sk
		   FROM shop.invoice i
		   LEFT JOIN LATERAL (SELECT valid_from FROM oracle.customer c WHERE c.customer_id = i.customer_id
			   AND c.valid_from <= i.invoice_date AT TIME ZONE 'Europe/Berlin' ORDER BY valid_from DESC LIMIT 1) v ON true
		   LEFT JOIN dw.date d ON d.date = i.invoice_date::date
		   WHERE invoice_id NOT IN ($unplaced)},
		q{SELECT invoice_id, invoice_date, i.customer_id, billing_country::text, total, CASE WHEN NOT c.is_inferred THEN c.valid_from END, nullif(i.date_sk, -1)
		  FROM dw.invoice i JOIN dw.customer c USING (customer_sk) WHERE c.customer_id = i.customer_id});
	same($house, "$what: dw.invoice_line",
		qq{SELECT invoice_line_id, invoice_id, sold_at, l.track_id, quantity, l.unit_price, quantity * l.unit_price, v.valid_from, d.date_sk
		   FROM shop.invoice_line l
		   LEFT JOIN LATERAL (SELECT valid_from FROM oracle.track c WHERE c.track_id = l.track_id
			   AND c.valid_from <= l.sold_at AT TIME ZONE 'Europe/Berlin' ORDER BY valid_from DESC LIMIT 1) v ON true
		   LEFT JOIN dw.date d ON d.date = l.sold_at::date
		   WHERE invoice_id NOT IN ($unplaced)},
		q{SELECT invoice_line_id, invoice_id, sold_at, l.track_id, quantity, l.unit_price, amount, CASE WHEN NOT c.is_inferred THEN c.valid_from END, nullif(l.sold_date_sk, -1)
		  FROM dw.invoice_line l JOIN dw.track c USING (track_sk) WHERE c.track_id = l.track_id});
	is(value($house, q{SELECT count(*) FROM walhouse.rejected WHERE model = 'dw.invoice'::regclass}), scalar(@unplaced),
		"$what: " . @unplaced . ' invoices are rejected');
	return;
}
