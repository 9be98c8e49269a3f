# P5 for facts that read every event: the same batch of changes is loaded into bookings, and into facts with milestones, over one table
# and over two, of a star and of one ten times as large; the pages that each load touches grow by less than 10 %. Loads with nothing to
# do touch next to none.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $node = lone_server();
my %star = map { $_ => star($_) } 2_000, 20_000;
my ($small, $large) = @star{2_000, 20_000};

for my $kind (qw(booking joined_booking way joined_way))
{
	cmp_ok($small->{$kind}, '>', 200, "the load of the batch into $kind touches pages");
	cmp_ok($large->{$kind}, '<', 1.1 * $small->{$kind}, 'in tables ten times as large less than 10 % more')
		or diag("$kind: $small->{$kind} and $large->{$kind} pages");
	note("$kind: $small->{$kind} and $large->{$kind} pages");
	cmp_ok($large->{"$kind idle"}, '<', 120, 'a load without changes touches next to nothing') or diag("$kind: $large->{\"$kind idle\"} pages");
}
$node->stop;
done_testing();

# star ROWS: facts over tables of that many orders and twice as many lines, each loaded with one batch; returns the pages touched.
sub star
{
	my ($rows) = @_;
	my $db = "star$rows";
	my %touched;
	hand_database($node, $db);
	sql($node, qq{
		SET client_min_messages = warning;
		SELECT handfeed.make('shop', 'UTC');
		CREATE TABLE shop.orders (order_id int PRIMARY KEY, at timestamptz, customer_id int, is_paid boolean, note text);
		CREATE TABLE shop.lines (order_id int, line int, amount numeric, is_sent boolean, PRIMARY KEY (order_id, line));
		CREATE TABLE shop.customer (customer_id int PRIMARY KEY, name text);
		INSERT INTO shop.orders SELECT i, timestamptz '2026-01-01' + i % 150 * interval '1 day', i, false, repeat('x', 100) FROM generate_series(1, $rows) i;
		INSERT INTO shop.lines SELECT i, l, i, false FROM generate_series(1, $rows) i, generate_series(1, 2) l;
		INSERT INTO shop.customer SELECT i, 'customer ' || i FROM generate_series(1, $rows) i;
		SELECT handfeed.add('shop', ('shop.' || t)::regclass) FROM unnest('{orders,lines,customer}'::text[]) t;
		-- The clock passes all event times, so that no row is ahead of it.
		UPDATE shop.customer SET name = name WHERE customer_id = 1;
		SELECT handfeed.commit('shop', '2026-10-01 12:00+00');
		SELECT handfeed.reach('shop');
		CREATE SCHEMA dw;
		SELECT walhouse.create_dimension('dw.customer', 'SELECT customer_id, name FROM shop.customer', '{customer_id}');
		CALL walhouse.build('dw.customer');
	}, $db);
	for my $kind (qw(booking joined_booking way joined_way))
	{
		my $query = $kind =~ /joined/ ? 'SELECT order_id, line, at, customer_id, amount, is_paid, is_sent FROM shop.lines JOIN shop.orders USING (order_id)'
			: 'SELECT order_id, at, customer_id, order_id * 2 AS amount, is_paid, note FROM shop.orders';
		my $key = $kind =~ /joined/ ? '{order_id,line}' : '{order_id}';
		my $choice = $kind =~ /booking/ ? q{corrections => 'reverse', measures => '{amount}'} : q{milestones => '{"paid_at": "is_paid"}', lags => '{"to_pay": ["at", "paid_at"]}'};

		# One fact at a time, so that its pages are its own.
		sql($node, qq{
			SELECT walhouse.create_fact('dw.$kind', '$query', '$key', 'at', '{"customer_sk": "dw.customer(customer_id)"}', $choice);
			CALL walhouse.build('dw.$kind');
			VACUUM ANALYZE;
		}, $db);
		batch($db);
		$touched{$kind} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
		$touched{"$kind idle"} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
		is(value($node, "SELECT missing + unexpected + different FROM walhouse.verify('dw.$kind')", $db), '0', "$rows rows: $kind is right");
		sql($node, "SELECT walhouse.drop_model('dw.$kind')", $db);
	}
	return \%touched;
}

# batch DATABASE: several source transactions, with keys that several of them change.
sub batch
{
	my ($db) = @_;
	sql($node, q{
		UPDATE shop.orders SET is_paid = NOT is_paid WHERE order_id <= 50;
		UPDATE shop.lines SET amount = amount + 1 WHERE order_id BETWEEN 20 AND 60;
		SELECT handfeed.commit('shop', '2026-10-02 12:00+00');
		UPDATE shop.orders SET at = at + interval '45 days' WHERE order_id BETWEEN 31 AND 80;
		DELETE FROM shop.orders WHERE order_id BETWEEN 101 AND 120;
		DELETE FROM shop.lines WHERE order_id BETWEEN 121 AND 140;
		SELECT handfeed.commit('shop', '2026-10-02 13:00+00');
		UPDATE shop.orders SET is_paid = NOT is_paid, note = 'y' WHERE order_id <= 50;
		INSERT INTO shop.orders SELECT i, '2026-03-01', i, true, '' FROM generate_series(101, 120) i;
		INSERT INTO shop.lines SELECT i, l, i, true FROM generate_series(121, 140) i, generate_series(1, 2) l;
		SELECT handfeed.commit('shop', '2026-10-02 14:00+00');
		SELECT handfeed.reach('shop');
	}, $db);
	return;
}
