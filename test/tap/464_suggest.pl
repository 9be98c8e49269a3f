# walhouse.suggest drafts a star that can be applied and is right, on real schemas: Chinook, and the demo's shop. Columns that change all the
# time are of type 1, tables that are logs or stand alone are skipped, and every line says why.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $chinook = shared_file('chinook.sql');
my $house = one_server();
sql($house, 'CREATE ROLE feeder');

# The draft of a shop: its lines by kind.
sub names
{
	my ($database, $kind) = @_;
	return sql($house, "SELECT string_agg(split_part(model, '.', 2), ' ' ORDER BY model) FROM walhouse.suggest('shop') WHERE kind = '$kind'", $database);
}

# capture SHOP, FILE: a database with a shop, and one with a feed of its tables.
sub capture
{
	my ($shop, $file) = @_;
	sql($house, "CREATE DATABASE $_") for $shop, "${shop}_house";
	sql($house, "\\set customers 100\n\\set orders 300\n\\i $file", $shop);
	sql($house, 'DROP PUBLICATION IF EXISTS shop', $shop);
	sql($house, q{CREATE TABLE audit_log (id int PRIMARY KEY, at timestamptz, what text)}, $shop);
	my $tables = sql($house, q{SELECT quote_literal(array_agg(c.oid::regclass::text)) FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
		WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace}, $shop);
	for my $statement ('CREATE EXTENSION walhouse', 'CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($house, $shop) . ')',
		'CREATE USER MAPPING FOR CURRENT_USER SERVER shop', "CALL walhouse.create_feed('shop', server => 'shop', tables => $tables, slot => '$shop')",
		q{CALL walhouse.run('shop')}, 'ANALYZE')
	{
		sql($house, $statement, "${shop}_house");
	}
	return;
}

# proved DATABASE: the draft, applied, is built and right.
sub proved
{
	my ($database, $name) = @_;
	my $spec = q{SELECT jsonb_build_object('version', 1, 'models', jsonb_agg(spec ORDER BY place) FILTER (WHERE spec IS NOT NULL)) FROM walhouse.suggest('shop')};
	my $count = sql($house, q{SELECT count(spec) FROM walhouse.suggest('shop')}, $database);
	sql($house, 'CREATE SCHEMA dw', $database);
	is(sql($house, "SELECT string_agg(DISTINCT action, ' '), count(*) FROM walhouse.apply_spec(($spec))", $database), "create|$count", "$name: it can be applied");
	is(sql($house, "SELECT string_agg(DISTINCT action, ' ') FROM walhouse.apply_spec(($spec), dry_run => true)", $database), 'keep', "$name: and is what it says");
	sql($house, q{CALL walhouse.run('shop')}, $database);
	is(sql($house, q{SELECT string_agg(DISTINCT state, ' ') FROM walhouse.model}, $database), 'live', "$name: it is built");
	is(sql($house, q{SELECT count(*) FROM walhouse.rejected}, $database), '0', "$name: all rows have a place");
	return is(sql($house, q{SELECT sum(missing + unexpected + different) FROM walhouse.verify()}, $database), '0', "$name: and all is right");
}

# ---- Chinook: foreign keys, no times but in the invoice.
SKIP:
{
	skip 'Chinook is not beside the tree', 11 unless defined $chinook;
	capture('chinook', $chinook);
	is(names('chinook_house', 'dimension'), 'album artist customer date employee genre media_type track', 'Chinook: what facts refer to');
	is(names('chinook_house', 'fact'), 'invoice invoice_line', 'Chinook: what has a time, and its details');
	is(names('chinook_house', 'skip'), 'audit_log playlist playlist_track', 'Chinook: what is skipped');
	like(sql($house, q{SELECT reason FROM walhouse.suggest('shop') WHERE model = 'dw.audit_log'}, 'chinook_house'), qr/looks like a log/, 'Chinook: a log is none of it');
	like(sql($house, q{SELECT reason FROM walhouse.suggest('shop') WHERE model = 'dw.invoice_line'}, 'chinook_house'),
		qr/detail of invoice, whose invoice_date.*refers to customer, track; degenerate keys: invoice_line_id, invoice_id/, 'Chinook: a line says why');
	proved('chinook_house', 'Chinook');
	sql($house, q{UPDATE track SET unit_price = unit_price + 1 WHERE track_id < 100; UPDATE invoice SET customer_id = 1 WHERE invoice_id < 9; DELETE FROM invoice_line WHERE invoice_id = 5}, 'chinook');
	sql($house, q{CALL walhouse.run('shop')}, 'chinook_house');
	is(sql($house, q{SELECT sum(missing + unexpected + different) FROM walhouse.verify()}, 'chinook_house'), '0', 'Chinook: and goes on');
}

# ---- The demo's shop: references by name alone, columns that change all the time.
capture('demo', 'test/demo/shop.sql');
is(names('demo_house', 'dimension'), 'customers date products', 'demo: what facts refer to');
is(names('demo_house', 'fact'), 'order_items orders returns', 'demo: what happens');
is(names('demo_house', 'skip'), 'audit_log first_name last_name place street', 'demo: what is skipped');
is(names('demo_house', 'warning'), '', 'demo: nothing explodes');
sql($house, q{UPDATE products SET list_price = list_price + 1}, 'demo') for 1 .. 2;
sql($house, q{UPDATE customers SET segment = CASE segment WHEN 'business' THEN 'standard' ELSE 'business' END WHERE customer_id % 2 = 0}, 'demo');
sql($house, q{CALL walhouse.run('shop')}, 'demo_house');
sql($house, 'ANALYZE', 'demo_house');
is(sql($house, q{SELECT spec #> '{arguments,scd}' FROM walhouse.suggest('shop') WHERE model = 'dw.products'}, 'demo_house'), '{"*": 2, "list_price": 1}', 'demo: a price that changes all the time is of type 1');
like(sql($house, q{SELECT reason FROM walhouse.suggest('shop') WHERE model = 'dw.products'}, 'demo_house'), qr/list_price changes 2\.00 times a day in each row/, 'demo: and why');
like(sql($house, q{SELECT reason FROM walhouse.suggest('shop') WHERE kind = 'warning' AND model = 'dw.customers'}, 'demo_house'), qr/segment changes 0\.50 times.*mini-dimension/, 'demo: few values could be a mini-dimension');
proved('demo_house', 'demo');
sql($house, sql($house, q{SELECT statement FROM walhouse.suggest('shop') WHERE kind = 'warning'}, 'demo_house'), 'demo_house');
sql($house, q{CALL walhouse.run('shop')}, 'demo_house');
is(sql($house, q{SELECT sum(missing + unexpected + different) FROM walhouse.verify()}, 'demo_house'), '0', 'demo: which can be made');

# ---- Names that need quotes, two references to one table by several columns, a key that refers, days that stand for never, and a log whose
# newest transaction has more changes than are looked at.
open my $shop, '>', $house->basedir . '/odd.sql' or die "odd.sql: $!";
print {$shop} q{
	CREATE TABLE "Cust omer" ("Customer ID" int PRIMARY KEY, "Name" text, "select" int);
	CREATE TABLE address (country text, city text, name text, PRIMARY KEY (country, city));
	CREATE TABLE "Orders" ("Order No" int PRIMARY KEY, "Customer ID" int REFERENCES "Cust omer", at timestamptz, bill_country text, bill_city text, country text, city text,
		FOREIGN KEY (bill_country, bill_city) REFERENCES address, FOREIGN KEY (country, city) REFERENCES address);
	CREATE TABLE "O'lines" ("Order No" int REFERENCES "Orders", line int, "it""em" text, PRIMARY KEY ("Order No", line));
	CREATE TABLE visit (id int PRIMARY KEY REFERENCES "Cust omer", "when" date, stock int);
	INSERT INTO "Cust omer" SELECT i, 'n' || i, 0 FROM generate_series(1, 50100) i;
	INSERT INTO address VALUES ('de', 'bonn', 'x'), ('de', 'ulm', 'y');
	INSERT INTO "Orders" SELECT i, i, now() - i * interval '1 day', 'de', 'bonn', 'de', 'ulm' FROM generate_series(1, 100) i;
	INSERT INTO "O'lines" SELECT i, l, 'x' FROM generate_series(1, 100) i, generate_series(1, 2) l;
	INSERT INTO visit SELECT i, CASE i WHEN 1 THEN '9999-12-31' WHEN 2 THEN 'infinity' WHEN 3 THEN '0001-01-01' ELSE now()::date END FROM generate_series(1, 10) i};
close $shop;
capture('odd', $house->basedir . '/odd.sql');
my $roles = q{SELECT string_agg(k, ' ' ORDER BY k COLLATE "C") FROM walhouse.suggest('shop'), jsonb_object_keys(spec #> '{arguments,dimensions}') k WHERE model = };
is(sql($house, qq{$roles 'dw."Orders"'}, 'odd_house'), 'Customer ID_sk at_date_sk bill_country_bill_city_sk country_city_sk', 'odd: each reference has a name of its own');
is(sql($house, qq{$roles 'dw.visit'}, 'odd_house'), 'Cust omer_sk when_date_sk', 'odd: also that of a column whose name says nothing');
is(sql($house, q{SELECT (spec #>> '{arguments,to_date}')::date - (spec #>> '{arguments,from_date}')::date < 75000 FROM walhouse.suggest('shop') WHERE model = 'dw.date'}, 'odd_house'), 't', 'odd: never is no day');
sql($house, q{DELETE FROM visit WHERE id < 4}, 'odd');
sql($house, q{UPDATE "Cust omer" SET "select" = 1}, 'odd');
sql($house, q{CALL walhouse.run('shop')}, 'odd_house');
is(sql($house, q{SELECT spec #> '{arguments,scd}' FROM walhouse.suggest('shop') WHERE kind = 'dimension' AND model = 'dw."Cust omer"'}, 'odd_house'), '{"*": 2, "select": 1}', 'odd: a large transaction counts');
proved('odd_house', 'odd');

$house->stop;
done_testing();
