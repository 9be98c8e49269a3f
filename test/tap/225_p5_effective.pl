# P5 for dimensions with an effective column: the same batch of changes, in order, late, equal to their neighbours, deleted and new, is
# loaded into a dimension and a fact and into ones ten times as large; the pages that the load touches, those for re-pointing the
# fact's rows among them, grow by less than 10 %.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $node = lone_server();
my %star = map { $_ => star($_) } 2_000, 20_000;
my ($small, $large) = @star{2_000, 20_000};

for my $what ('in order', 'late', 'merged', 'deleted', 'late for types 0, 1, 3 and 6')
{
	cmp_ok($small->{$what}, '>', 200, "$what: the load of the batch touches pages");
	cmp_ok($large->{$what}, '<', 1.1 * $small->{$what}, "$what: in tables ten times as large less than 10 % more")
		or diag("$what: $small->{$what} and $large->{$what} pages");
	note("$what: $small->{$what} and $large->{$what} pages");
}
$node->stop;
done_testing();

# star ROWS: builds dimensions and facts over tables of that many rows, loads batches, and returns the pages that each touched.
sub star
{
	my ($rows) = @_;
	my $db = "star$rows";
	my %touched;
	hand_database($node, $db);
	# Each item has three versions; each has four sales, one in each of them and one more.
	sql($node, qq{
		SET client_min_messages = warning;
		SELECT handfeed.make('shop', 'UTC');
		CREATE TABLE shop.item (item_id int PRIMARY KEY, name text, price int, since timestamptz);
		CREATE TABLE shop.typed (item_id int PRIMARY KEY, a int, b int, c int, d int, since timestamptz);
		CREATE TABLE shop.sale (sale_id int PRIMARY KEY, item_id int, at timestamptz, amount int);
		SELECT handfeed.add('shop', ('shop.' || t)::regclass) FROM unnest('{item,typed,sale}'::text[]) t;
		-- Written as ingest writes it, and not row by row.
		SET session_replication_role = replica;
		INSERT INTO shop.item SELECT i, 'item', 30, '2026-05-01' FROM generate_series(1, $rows) i;
		INSERT INTO shop.typed SELECT i, 3, 3, 3, 3, '2026-05-01' FROM generate_series(1, $rows) i;
		INSERT INTO shop.sale SELECT 4 * i + n, i, timestamptz '2026-01-20 12:00+00' + n * interval '50 days', n FROM generate_series(1, $rows) i, generate_series(0, 3) n;
		RESET session_replication_role;
		CREATE FUNCTION shop.change(o int, o_since timestamptz, n int, n_since timestamptz) RETURNS void LANGUAGE sql AS \$\$
			INSERT INTO shop_log.item SELECT s.lsn, i, x.op, i, 'item', x.v * 10, x.since FROM handfeed.state s, generate_series(1, $rows) i,
				(VALUES ('B'::"char", o, o_since), ('U', n, n_since)) x (op, v, since);
			INSERT INTO shop_log.typed SELECT s.lsn, i, x.op, i, x.v, x.v, x.v, x.v, x.since FROM handfeed.state s, generate_series(1, $rows) i,
				(VALUES ('B'::"char", o, o_since), ('U', n, n_since)) x (op, v, since);
		\$\$;
		SELECT shop.change(1, '2026-01-01', 2, '2026-03-01'), handfeed.commit('shop', '2026-03-02');
		SELECT shop.change(2, '2026-03-01', 3, '2026-05-01'), handfeed.commit('shop', '2026-10-01');
		SELECT handfeed.reach('shop');
		CREATE SCHEMA dw;
		SELECT walhouse.create_dimension('dw.item', 'SELECT item_id, name, price, since FROM shop.item', '{item_id}', effective => 'since'),
			walhouse.create_dimension('dw.typed', 'SELECT item_id, a, b, c, d, since FROM shop.typed', '{item_id}', '{"a": 0, "b": 1, "c": 3, "d": 6}',
				effective => 'since'),
			walhouse.create_fact('dw.sale', 'SELECT sale_id, item_id, at, amount FROM shop.sale', '{sale_id}', 'at',
				'{"item_sk": "dw.item(item_id)", "typed_sk": "dw.typed(item_id)"}');
		CALL walhouse.build('dw.item');
		CALL walhouse.build('dw.typed');
		CALL walhouse.build('dw.sale');
		VACUUM ANALYZE;
	}, $db);
	is(value($node, q{SELECT count(DISTINCT item_sk) || ' ' || count(*) FROM dw.sale}, $db), join(' ', 3 * $rows, 4 * $rows), "$rows rows: each version has sales");
	$touched{'in order'} = batch($db, q{UPDATE shop.item SET price = 40, since = '2026-09-01' WHERE item_id BETWEEN 100 AND 199;
		INSERT INTO shop.item SELECT i, 'new', 1, '2026-09-01' FROM generate_series(1000001, 1000050) i});
	$touched{late} = batch($db, q{UPDATE shop.item SET price = 15, since = '2026-01-10' WHERE item_id BETWEEN 200 AND 259;
		UPDATE shop.item SET price = 25, since = '2026-04-10' WHERE item_id BETWEEN 260 AND 299});
	is(value($node, q{SELECT count(*) FROM dw.sale JOIN dw.item USING (item_sk) WHERE price IN (15, 25)}, $db), '100', "$rows rows: facts have followed");
	$touched{merged} = batch($db, q{UPDATE shop.item SET price = 10, since = '2026-03-01' WHERE item_id BETWEEN 300 AND 399});
	$touched{deleted} = batch($db, q{DELETE FROM shop.item WHERE item_id BETWEEN 400 AND 499});
	$touched{'late for types 0, 1, 3 and 6'} = batch($db, q{UPDATE shop.typed SET (a, b, c, d, since) = ROW (9, 9, 9, 9, timestamptz '2026-04-10') WHERE item_id BETWEEN 100 AND 149;
		UPDATE shop.typed SET (a, b, c, d, since) = ROW (8, 8, 8, 8, timestamptz '2025-04-10') WHERE item_id BETWEEN 150 AND 199});
	is(value($node, q{SELECT count(*) FROM walhouse.verify() WHERE missing + unexpected + different > 0}, $db), '0', "$rows rows: the star is right");
	return \%touched;
}

# batch DATABASE, STATEMENTS: one source transaction; loads it, and returns how many pages of tables and indexes of users and of
# walhouse that touched.
sub batch
{
	my ($db, $statements) = @_;
	sql($node, "$statements; SELECT handfeed.commit('shop', '2026-10-02'); SELECT handfeed.reach('shop')", $db);
	return scalar pages_touched($node, q{CALL walhouse.load('shop')}, $db);
}
