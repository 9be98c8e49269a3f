# P5 for rollups and periodic snapshots: the same batch of changes goes into a fact and into one ten times as large, with ten times the
# groups; the pages that the load of each rollup touches grow by less than 10 %. A load with nothing to do touches next to none.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $node = lone_server();
my %star = map { $_ => star($_) } 2_000, 20_000;
my ($small, $large) = @star{2_000, 20_000};

for my $kind (qw(rollup snapshot))
{
	cmp_ok($small->{$kind}, '>', 100, "the load of the batch into the $kind touches pages");
	cmp_ok($large->{$kind}, '<', 1.1 * $small->{$kind}, "with a fact ten times as large less than 10 % more")
		or diag("$kind: $small->{$kind} and $large->{$kind} pages");
	note("$kind: $small->{$kind} and $large->{$kind} pages");
	cmp_ok($large->{"idle $kind"}, '<', 80, "a load without changes touches next to nothing with a $kind")
		or diag(qq($large->{"idle $kind"} pages));
}
$node->stop;
done_testing();

# star ROWS: builds a fact of that many rows, a row of it for each of as many groups and 20 days; with each kind of rollup in turn, loads one
# batch, and returns the pages touched.
sub star
{
	my ($rows) = @_;
	my $db = "star$rows";
	my %touched;
	hand_database($node, $db);
	sql($node, qq{
		SET client_min_messages = warning;
		SELECT handfeed.make('shop', 'UTC');
		CREATE TABLE shop.moves (id int PRIMARY KEY, item int, at timestamptz, qty int, price numeric);
		INSERT INTO shop.moves SELECT i, i / 10, timestamptz '2026-01-01' + i % 20 * interval '1 day', i % 7, i % 11 FROM generate_series(1, $rows) i;
		SELECT handfeed.add('shop', 'shop.moves');
		UPDATE shop.moves SET qty = qty WHERE id = 1;
		SELECT handfeed.commit('shop', '2026-01-20 12:00+00');
		SELECT handfeed.reach('shop');
		CREATE SCHEMA dw;
		SELECT walhouse.create_fact('dw.move', 'SELECT id, item, at, qty, price FROM shop.moves', '{id}', 'at');
		CALL walhouse.build('dw.move');
	}, $db);
	my %make = (
		rollup => q{create_rollup('dw.sum', 'dw.move', '{item}', '{"n": "count(*)", "qty": "sum(qty)", "hi": "max(price)", "many": "count(distinct qty)"}')},
		snapshot => q{create_periodic_snapshot('dw.sum', 'dw.move', '{item}', '{"n": "count(*)", "stock": "balance(qty)", "price": "last(price)"}')});
	for my $kind (qw(rollup snapshot))
	{
		sql($node, "SELECT walhouse.$make{$kind}; CALL walhouse.build('dw.sum'); VACUUM ANALYZE", $db);
		# One batch of the same shape each time, on rows that were there before; the groups are the first ones.
		batch($db, q{
			UPDATE shop.moves SET qty = qty + 1 WHERE id <= 50;
			UPDATE shop.moves SET at = at + interval '1 day', price = price + 3 WHERE id BETWEEN 51 AND 80;
			UPDATE shop.moves SET item = item + 1 WHERE id BETWEEN 81 AND 100;
			DELETE FROM shop.moves WHERE id BETWEEN 101 AND 110;
			INSERT INTO shop.moves SELECT 1000000 + i, i, '2026-01-05', 1, 1 FROM generate_series(1, 20) i;
		});
		$touched{$kind} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
		$touched{"idle $kind"} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
		is(value($node, q{SELECT count(*) FROM walhouse.verify() WHERE missing + unexpected + different > 0}, $db), '0', "$rows rows: the $kind is right");
		batch($db, q{DELETE FROM shop.moves WHERE id >= 1000000; INSERT INTO shop.moves SELECT i, 10, '2026-01-03', 1, 1 FROM generate_series(101, 110) i});
		sql($node, "CALL walhouse.load('shop'); SELECT walhouse.drop_model('dw.sum')", $db);
	}
	return \%touched;
}

sub batch
{
	my ($db, $statements) = @_;
	sql($node, "$statements; SELECT handfeed.commit('shop', '2026-01-20 13:00+00'); SELECT handfeed.reach('shop')", $db);
	return;
}
