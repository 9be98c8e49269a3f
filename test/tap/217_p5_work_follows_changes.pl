# P5, work follows changes: the same batch of changes is loaded into a star and into one twenty times as large; the pages that the load
# touches do not grow with the star, and a load with nothing to do touches next to none.
use strict;
use warnings;
use FindBin;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $grown; # a database
my $node = one_server();
my %touched = map { $_ => star($_) } 5_000, 100_000;

cmp_ok($touched{5_000}{load}, '>', 500, 'the load of the batch touches pages');
cmp_ok($touched{100_000}{load}, '<', 1.5 * $touched{5_000}{load}, 'in a star twenty times as large hardly more')
	or diag(join ', ', map { "$_ rows: $touched{$_}{load} pages" } sort keys %touched);
cmp_ok($touched{100_000}{idle}, '<', 30, 'a load without changes touches next to nothing');

# A log that has grown since it was analysed looks like a row or two to the planner; the load of all of it must not read it
# again for each row, nor must a build and verify.
$grown = star(2_000)->{db};
sql($node, 'ALTER TABLE shop.sale DISABLE TRIGGER USER; ALTER TABLE shop_log.sale_0 SET (autovacuum_enabled = off)', $grown);
grow(2_000_000, 50_000, '2026-10-03 12:00+00');
sql($node, "CALL walhouse.load('shop'); ANALYZE shop_log.sale_0", $grown);
grow(3_000_000, 150_000, '2026-10-04 12:00+00');
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

# star ROWS: builds a star of that many facts, loads one batch, and returns the pages touched by that load, and by the next one.
sub star
{
	my ($rows) = @_;
	my $db = "star$rows";
	open my $file, '<', "$FindBin::Bin/../lib/handfeed.sql" or die "handfeed.sql: $!";

	sql($node, "CREATE DATABASE $db");
	sql($node, 'CREATE EXTENSION walhouse', $db);
	sql($node, join('', <$file>), $db);
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
		UPDATE shop.sale SET amount = amount + 1 WHERE id <= 100;
		UPDATE shop.sale SET at = at + interval '45 days' WHERE id BETWEEN 101 AND 150;
		DELETE FROM shop.sale WHERE id BETWEEN 151 AND 200;
		INSERT INTO shop.sale SELECT 1000000 + i, timestamptz '2026-03-01' + i * interval '1 hour', i, i FROM generate_series(1, 100) AS i;
		SELECT handfeed.commit('shop', '2026-10-02 12:00+00');
		SELECT handfeed.reach('shop');
	}, $db);
	my $load = pages($db);
	is(value($node, q{SELECT count(*) FROM walhouse.verify() WHERE missing + unexpected + different > 0}, $db), '0', "$rows rows: the star is right");
	return { db => $db, load => $load, idle => pages($db) };
}

# pages DATABASE: loads, and returns how many pages of tables and indexes of users and of walhouse that touched.
sub pages
{
	my ($db) = @_;
	my $sum = q{(SELECT sum(coalesce(heap_blks_read, 0) + coalesce(heap_blks_hit, 0) + coalesce(idx_blks_read, 0) + coalesce(idx_blks_hit, 0))
		FROM pg_statio_user_tables)};
	my $out = sql($node, qq{
		SELECT pg_stat_force_next_flush();
		SELECT 'pages', $sum;
		CALL walhouse.load('shop');
		SELECT pg_stat_force_next_flush();
		SELECT 'pages', $sum;
	}, $db);
	my ($before, $after) = $out =~ /^pages\|(\d+)$/mg;
	return $after - $before;
}
