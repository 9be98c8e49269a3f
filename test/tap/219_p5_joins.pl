# P5 for models over several tables: the same batch of changes, in every one of the tables, is loaded into a star and into one ten
# times as large; the pages that the load touches grow by less than 10 %. Changes in columns that a query does not use, and loads with
# nothing to do, touch next to none.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $node = lone_server();
my %star = map { $_ => star($_) } 2_000, 20_000;
my ($small, $large) = @star{2_000, 20_000};

for my $kind (qw(fact dimension))
{
	cmp_ok($small->{$kind}, '>', 200, "the load of the batch into the $kind touches pages");
	cmp_ok($large->{$kind}, '<', 1.1 * $small->{$kind}, "in tables ten times as large less than 10 % more")
		or diag("$kind: $small->{$kind} and $large->{$kind} pages");
	note("$kind: $small->{$kind} and $large->{$kind} pages");
}
cmp_ok($large->{unused}, '<', 400, 'a look-up row with many dependents, changed in a column that nobody reads, costs next to nothing')
	or diag("$large->{unused} pages");
cmp_ok($large->{idle}, '<', 120, 'a load without changes touches next to nothing') or diag("$large->{idle} pages");
$node->stop;
done_testing();

# star ROWS: builds a fact and a dimension over tables of that many rows, loads one batch into each, and returns the pages
# touched.
sub star
{
	my ($rows) = @_;
	my $db = "star$rows";
	my %touched;
	hand_database($node, $db);
	# Each order has 4 lines, each product 20 of them, each of 50 groups its products; each customer an address and half a profile.
	sql($node, qq{
		SET client_min_messages = warning;
		SELECT handfeed.make('shop', 'UTC');
		CREATE TABLE shop.orders (order_id int PRIMARY KEY, at timestamptz, customer_id int, note text);
		CREATE TABLE shop.lines (order_id int, line int, product_id int, qty int, PRIMARY KEY (order_id, line));
		CREATE TABLE shop.product (product_id int PRIMARY KEY, name text, group_id int);
		CREATE TABLE shop.grouping (group_id int PRIMARY KEY, title text, unused text);
		CREATE TABLE shop.customer (customer_id int PRIMARY KEY, name text, address_id int);
		CREATE TABLE shop.address (address_id int PRIMARY KEY, city text);
		CREATE TABLE shop.profile (customer_id int PRIMARY KEY, level int);
		INSERT INTO shop.orders SELECT i, timestamptz '2026-01-01' + i % 150 * interval '1 day', i, repeat('x', 100) FROM generate_series(1, $rows) i;
		INSERT INTO shop.lines SELECT i, l, 1 + (i * 4 + l) % ($rows / 5), i FROM generate_series(1, $rows) i, generate_series(1, 4) l;
		INSERT INTO shop.product SELECT i, 'product ' || i, i FROM generate_series(1, $rows / 5) i;
		INSERT INTO shop.grouping SELECT i, 'group ' || i, '' FROM generate_series(1, $rows / 5) i;
		INSERT INTO shop.customer SELECT i, 'customer ' || i, i FROM generate_series(1, $rows) i;
		INSERT INTO shop.address SELECT i, 'city ' || i % 7 FROM generate_series(1, $rows) i;
		INSERT INTO shop.profile SELECT i, i % 5 FROM generate_series(1, $rows, 2) i;
		UPDATE shop.product SET group_id = 1 WHERE product_id > $rows / 10;
		SELECT handfeed.add('shop', ('shop.' || t)::regclass) FROM unnest('{orders,lines,product,grouping,customer,address,profile}'::text[]) t;
		-- The clock passes all event times, so that no row is ahead of it.
		UPDATE shop.customer SET name = name WHERE customer_id = 1;
		SELECT handfeed.commit('shop', '2026-10-01 12:00+00');
		SELECT handfeed.reach('shop');
		CREATE SCHEMA dw;
		SELECT walhouse.create_dimension('dw.customer', 'SELECT customer_id, c.name, a.city, p.level FROM shop.customer c
			LEFT JOIN shop.address a USING (address_id) LEFT JOIN shop.profile p USING (customer_id)', key => '{customer_id}');
		SELECT walhouse.create_fact('dw.sale', 'SELECT order_id, l.line, o.at, o.customer_id, p.name, g.title, l.qty FROM shop.lines l
			JOIN shop.orders o USING (order_id) LEFT JOIN shop.product p USING (product_id) LEFT JOIN shop.grouping g USING (group_id)',
			key => '{order_id,line}', event_time => 'at', dimensions => '{"customer_sk": "dw.customer(customer_id)"}');
		CALL walhouse.build('dw.customer');
		CALL walhouse.build('dw.sale');
		VACUUM ANALYZE;
	}, $db);
	batch($db, q{
		UPDATE shop.customer SET name = name || '!' WHERE customer_id <= 50;
		UPDATE shop.address SET city = 'Rome' WHERE address_id BETWEEN 51 AND 100;
		INSERT INTO shop.profile SELECT i, 9 FROM generate_series(102, 200, 2) i;
		DELETE FROM shop.profile WHERE customer_id BETWEEN 201 AND 250;
		DELETE FROM shop.customer WHERE customer_id BETWEEN 251 AND 260;
	});
	$touched{dimension} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	batch($db, q{
		UPDATE shop.lines SET qty = qty + 1 WHERE order_id <= 50;
		UPDATE shop.orders SET at = at + interval '45 days' WHERE order_id BETWEEN 51 AND 100;
		UPDATE shop.product SET name = name || '!' WHERE product_id BETWEEN 10 AND 15;
		UPDATE shop.grouping SET title = title || '!' WHERE group_id BETWEEN 20 AND 25;
		DELETE FROM shop.orders WHERE order_id BETWEEN 101 AND 120;
		DELETE FROM shop.lines WHERE order_id BETWEEN 121 AND 140;
		INSERT INTO shop.orders SELECT 1000000 + i, '2026-03-01', i, '' FROM generate_series(1, 50) i;
		INSERT INTO shop.lines SELECT 1000000 + i, 1, i, 1 FROM generate_series(1, 50) i;
	});
	$touched{fact} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	# Group 1 has half of all products.
	batch($db, q{UPDATE shop.grouping SET unused = 'x' WHERE group_id = 1; UPDATE shop.orders SET note = 'y' WHERE order_id = 7});
	$touched{unused} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	$touched{idle} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	is(value($node, q{SELECT count(*) FROM walhouse.verify() WHERE missing + unexpected + different > 0}, $db), '0', "$rows rows: the star is right");
	return \%touched;
}

sub batch
{
	my ($db, $statements) = @_;
	sql($node, "$statements; SELECT handfeed.commit('shop', '2026-10-02 12:00+00'); SELECT handfeed.reach('shop')", $db);
	return;
}
