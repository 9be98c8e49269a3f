# P5, work follows changes: the same batches of changes are loaded into a star and into one ten times as large; the pages that a load touches,
# of the dimension or of the fact, grow by less than 10 %, and a load with nothing to do touches next to none.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $grown; # a database
my $node = lone_server();
my %star = map { $_ => star($_) } 10_000, 100_000;
my ($small, $large) = @star{10_000, 100_000};

for my $kind (qw(dimension fact))
{
	cmp_ok($small->{$kind}, '>', 200, "the load of the batch into the $kind touches pages");
	cmp_ok($large->{$kind}, '<', 1.1 * $small->{$kind}, 'in a star ten times as large less than 10 % more')
		or diag("$kind: $small->{$kind} and $large->{$kind} pages");
	note("$kind: $small->{$kind} and $large->{$kind} pages");
}
cmp_ok($large->{idle}, '<', 60, 'a load without changes touches next to nothing') or diag("$large->{idle} pages");

# A log that has grown since it was analysed looks like a row or two to the planner; the load of all of it must not read it
# again for each row, nor must a build and verify.
$grown = star(2_000)->{db};
sql($node, 'ALTER TABLE shop.sale DISABLE TRIGGER USER; ALTER TABLE shop_log.sale_0 SET (autovacuum_enabled = off)', $grown);
grow(2_000_000, 50_000, '2026-10-04 12:00+00');
sql($node, "CALL walhouse.load('shop'); ANALYZE shop_log.sale_0", $grown);
grow(3_000_000, 150_000, '2026-10-05 12:00+00');
for my $step ("CALL walhouse.load('shop')", "SELECT * FROM walhouse.verify('dw.sale')", "CALL walhouse.build('dw.sale')")
{
	my ($status, $out, $err) = $node->psql($grown, $step, timeout => 60, timed_out => \my $late);
	is($late || $status ? "late or failed: $err" : '', '', "$step, with a log of 150,000 new rows, does not take a minute");
}
is(value($node, q{SELECT count(*) FROM walhouse.verify() WHERE missing + unexpected + different > 0}, $grown), '0', 'and the star is right');
$node->stop;
done_testing();

# grow FROM, ROWS, TIME: one source transaction that inserts that many sales, written to mirror and log at once.
sub grow
{
	my ($from, $rows, $time) = @_;
	sql($node, qq{
		UPDATE shop.customer SET note = note || '.' WHERE id = 1;
		SELECT handfeed.commit('shop', '$time');
		INSERT INTO shop.sale SELECT $from + i, timestamptz '2026-03-01', 1 + i % 200, i FROM generate_series(1, $rows) AS i;
		INSERT INTO shop_log.sale SELECT (SELECT max(end_lsn) FROM shop_log.txn), 10 + s.id, 'I', s.* FROM shop.sale s WHERE s.id > $from;
		SELECT handfeed.reach('shop');
	}, $grown);
	return;
}

# star ROWS: builds a star of that many facts, loads a batch into its dimension, one into its fact, and nothing; returns the pages touched.
sub star
{
	my ($rows) = @_;
	my $db = "star$rows";
	my %touched = (db => $db);

	hand_database($node, $db);
	sql($node, qq{
		SELECT handfeed.make('shop', 'UTC');
		CREATE TABLE shop.customer (id int PRIMARY KEY, city text, note text);
		CREATE TABLE shop.sale (id int PRIMARY KEY, at timestamptz, customer int, amount numeric);
		INSERT INTO shop.customer SELECT i, 'city ' || i % 7, repeat('x', 100) FROM generate_series(1, $rows / 10) AS i;
		INSERT INTO shop.sale SELECT i, timestamptz '2026-01-01' + i % 200 * interval '1 day', 1 + i % ($rows / 10), i
			FROM generate_series(1, $rows) AS i;
		SELECT handfeed.add('shop', 'shop.customer');
		SELECT handfeed.add('shop', 'shop.sale');
		-- The clock passes all event times, so that no row is ahead of it.
		UPDATE shop.customer SET note = note WHERE id = 1;
		SELECT handfeed.commit('shop', '2026-10-01 12:00+00');
		SELECT handfeed.reach('shop');
		CREATE SCHEMA dw;
		SELECT walhouse.create_dimension('dw.customer', 'SELECT id, city, note FROM shop.customer', key => '{id}', scd => '{"*": 2, "note": 1}');
		SELECT walhouse.create_fact('dw.sale', 'SELECT id, at, customer, amount FROM shop.sale', key => '{id}', event_time => 'at',
			dimensions => '{"customer_sk": "dw.customer(customer)"}');
		CALL walhouse.build('dw.customer');
		CALL walhouse.build('dw.sale');
		VACUUM ANALYZE;
		UPDATE shop.customer SET city = city || '!' WHERE id <= 40;
		UPDATE shop.customer SET note = 'y' WHERE id BETWEEN 41 AND 60;
		DELETE FROM shop.customer WHERE id BETWEEN 61 AND 70;
		INSERT INTO shop.customer SELECT 1000000 + i, 'new', '' FROM generate_series(1, 20) AS i;
		SELECT handfeed.commit('shop', '2026-10-02 12:00+00');
		SELECT handfeed.reach('shop');
	}, $db);
	$touched{dimension} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	sql($node, q{
		UPDATE shop.sale SET amount = amount + 1 WHERE id <= 100;
		UPDATE shop.sale SET at = at + interval '45 days' WHERE id BETWEEN 101 AND 150;
		DELETE FROM shop.sale WHERE id BETWEEN 151 AND 200;
		INSERT INTO shop.sale SELECT 1000000 + i, timestamptz '2026-03-01' + i * interval '1 hour', i, i FROM generate_series(1, 100) AS i;
		SELECT handfeed.commit('shop', '2026-10-03 12:00+00');
		SELECT handfeed.reach('shop');
	}, $db);
	$touched{fact} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	is(value($node, q{SELECT count(*) FROM walhouse.verify() WHERE missing + unexpected + different > 0}, $db), '0', "$rows rows: the star is right");
	$touched{idle} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	return \%touched;
}
