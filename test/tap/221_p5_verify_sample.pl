# P5 for verify() of a sample: 100 keys of models, and of models ten times as large with ten times the history, touch the same
# pages but for 10 %; over one table and over several, facts and dimensions. And the sample finds what is wrong in every tenth row.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my @models = qw(dw.customer dw.joined dw.sale dw.line);
my $node = lone_server();
my %star = map { $_ => star($_) } 2_000, 20_000;
my ($small, $large) = @star{2_000, 20_000};

for my $model (@models)
{
	cmp_ok($small->{$model}, '>', 100, "a sample of $model touches pages");
	cmp_ok($large->{$model}, '<', 1.1 * $small->{$model}, 'and less than 10 % more where everything is ten times as large')
		or diag("$model: $small->{$model} and $large->{$model} pages");
	note("$model: $small->{$model} and $large->{$model} pages");
}
$node->stop;
done_testing();

# star ROWS: builds models over tables of that many rows, with a history of as many changes, and returns the pages that
# verify() of a sample touches of each.
sub star
{
	my ($rows) = @_;
	my $db = "star$rows";
	my %touched;
	hand_database($node, $db);
	sql($node, qq{
		SET client_min_messages = warning;
		SELECT handfeed.make('shop', 'UTC');
		CREATE TABLE shop.customer (id int PRIMARY KEY, name text, address_id int);
		CREATE TABLE shop.address (address_id int PRIMARY KEY, city text);
		-- Wide rows: of the small tables, too, a sample reads a part alone.
		CREATE TABLE shop.orders (order_id int PRIMARY KEY, at timestamptz, customer int, note text);
		CREATE TABLE shop.lines (order_id int, line int, qty int, PRIMARY KEY (order_id, line));
		INSERT INTO shop.customer SELECT i, 'customer ' || i, i FROM generate_series(1, $rows) i;
		INSERT INTO shop.address SELECT i, 'city ' || i FROM generate_series(1, $rows) i;
		INSERT INTO shop.orders SELECT i, timestamptz '2026-01-01' + i % 150 * interval '1 day', i, repeat('x', 400) FROM generate_series(1, $rows) i;
		INSERT INTO shop.lines SELECT i, l, i FROM generate_series(1, $rows) i, generate_series(1, 3) l;
		SELECT handfeed.add('shop', ('shop.' || t)::regclass) FROM unnest('{customer,address,orders,lines}'::text[]) t;
		CREATE SCHEMA dw;
		SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name FROM shop.customer', '{id}');
		SELECT walhouse.create_dimension('dw.joined', 'SELECT c.id, c.name, a.city FROM shop.customer c LEFT JOIN shop.address a USING (address_id)', '{id}');
		SELECT walhouse.create_fact('dw.sale', 'SELECT order_id, at, customer, note FROM shop.orders', '{order_id}', 'at', '{"customer_sk": "dw.customer(customer)"}');
		SELECT walhouse.create_fact('dw.line', 'SELECT order_id, l.line, o.at, o.customer, l.qty FROM shop.lines l JOIN shop.orders o USING (order_id)',
			'{order_id,line}', 'at', '{"customer_sk": "dw.customer(customer)"}');
		SELECT walhouse.create_rollup('dw.daily', 'dw.sale', '{}', '{"n": "count(*)"}');
	}, $db);
	sql($node, "CALL walhouse.build('$_')", $db) for @models, 'dw.daily';
	# A history: a tenth of the rows at a time, and then a short one that both have.
	for my $n (0 .. 9, 'last')
	{
		my $some = $n eq 'last' ? 'id <= 300' : "id % 10 = $n";
		(my $key = $some) =~ s/id/address_id/;
		sql($node, qq{
			UPDATE shop.customer SET name = name || '!' WHERE $some;
			UPDATE shop.address SET city = city || '!' WHERE $key;
			SELECT handfeed.commit('shop', timestamptz '2026-10-01 12:00+00' + interval '1 second' * (SELECT count(*) FROM shop_log.txn));
			SELECT handfeed.reach('shop');
			CALL walhouse.load('shop');
		}, $db);
	}
	sql($node, 'VACUUM ANALYZE', $db);
	is(value($node, q{SELECT count(*) FROM walhouse.verify() WHERE missing + unexpected + different > 0}, $db), '0', "$rows rows: the star is right");
	for my $model (@models)
	{
		my ($pages, $found) = sample_of($db, $model);
		$touched{$model} = $pages;
		# A dimension has two versions and more of a key.
		cmp_ok($found, '<=', 400, "$found rows of $model are looked at");
		cmp_ok($found, '>=', 70, 'and not fewer');
	}
	# A rollup has nothing to be probed by: it is verified whole where its fact is small, and else refused, not read every hour.
	my ($status, $out, $err) = $node->psql($db, q{SELECT missing + unexpected + different FROM walhouse.verify('dw.daily', 100)});
	if ($rows < 10_000)
	{
		is($out, '0', 'a rollup of a small fact is verified whole');
	}
	else
	{
		like($err, qr/dw\.daily is of a kind that cannot be verified by a sample.*HINT:.*walhouse\.verify\('dw\.daily'\)/s, 'one of a large fact is refused');
	}
	sql($node, q{
		SET walhouse.allow_writes = on;
		UPDATE dw.customer SET name = 'x' WHERE id % 10 = 3;
		UPDATE dw.joined SET city = 'x' WHERE id % 10 = 3;
		UPDATE dw.sale SET customer_sk = -1 WHERE order_id % 10 = 3;
		UPDATE dw.line SET qty = -1 WHERE order_id % 10 = 3;
	}, $db);
	for my $model (@models)
	{
		my $wrong = value($node, "SELECT missing + unexpected + different FROM walhouse.verify('$model', 100)", $db);
		cmp_ok($wrong, '>', 0, "what is wrong in every tenth key of $model is found in 100 of $rows");
	}
	return \%touched;
}

# sample_of DATABASE, MODEL: how many pages verify() of 100 keys touches, and how many rows it finds.
sub sample_of
{
	my ($db, $model) = @_;
	my ($pages, $out) = pages_touched($node, qq{
		SET walhouse.verify_log_rows = 1000;
		SELECT setseed(0.25);
		SELECT 'found', found, missing + unexpected + different FROM walhouse.verify('$model', 100)}, $db);
	my ($found, $wrong) = $out =~ /^found\|(\d+)\|(\d+)$/m;
	is($wrong, 0, "the sample of $model is right");
	return ($pages, $found);
}
