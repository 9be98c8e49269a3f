# P5 for explain_row: to explain a row costs what its load's range holds, and not what the log does. Pages and time with a log of ROWS changes and
# with one ten times as large; of a row that a large load wrote they are bounded, and with an index by key small. ROWS=100000 for the figures of
# docs/provenance.md (minutes).
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use Time::HiRes qw(time);

my $rows = $ENV{ROWS} || 20_000;
my $node = lone_server();
my %asked = map { $_ => explained($_) } $rows, 10 * $rows;
my ($small, $large) = @asked{ $rows, 10 * $rows };

for my $what (sort keys %$small)
{
	my ($few, $many) = ($small->{$what}, $large->{$what});
	note(sprintf('%s: %d and %d pages, %.1f and %.1f ms with %d and %d logged changes', $what, $few->{pages}, $many->{pages}, $few->{ms}, $many->{ms}, $rows, 10 * $rows));
	cmp_ok($few->{pages}, '>', 10, "$what: pages are counted");
	cmp_ok($many->{pages}, '<', 1.3 * $few->{pages} + 60, "$what: hardly more pages with ten times as many changes in the log")
		or diag("$few->{pages} and $many->{pages}");
}
$node->stop;
done_testing();

# explained ROWS: a star whose log has so many changes, before and after the load that is asked about; pages and time of each question.
sub explained
{
	my ($count) = @_;
	my $db = "log$count";
	my %asked;

	hand_database($node, $db);
	sql($node, qq{
		SELECT handfeed.make('shop', 'UTC');
		CREATE TABLE shop.customer (id int PRIMARY KEY, city text);
		CREATE TABLE shop.sale (id int PRIMARY KEY, at timestamptz, customer int, amount numeric);
		INSERT INTO shop.customer SELECT i, 'city' FROM generate_series(1, 1000) AS i;
		SELECT handfeed.add('shop', 'shop.customer');
		SELECT handfeed.add('shop', 'shop.sale');
		CREATE SCHEMA dw;
		SELECT walhouse.create_dimension('dw.customer', 'SELECT id, city FROM shop.customer', key => '{id}');
		SELECT walhouse.create_fact('dw.sale', 'SELECT id, at, customer, amount FROM shop.sale', key => '{id}', event_time => 'at',
			dimensions => '{"customer_sk": "dw.customer(customer)"}');
		UPDATE shop.customer SET city = 'other' WHERE id = 7;
		SELECT handfeed.commit('shop', '2026-01-01 12:00+00');
		SELECT handfeed.reach('shop');
		CALL walhouse.build('dw.customer');
		CALL walhouse.build('dw.sale');
	}, $db);
	many($db, 1, $count / 2);
	sql($node, qq{
		UPDATE shop.customer SET city = 'third' WHERE id = 7;
		INSERT INTO shop.sale SELECT 100000000 + i, timestamptz '2026-01-15', 7, i FROM generate_series(1, 100) AS i;
		SELECT handfeed.commit('shop', '2026-02-01 12:00+00', '{the one}');
		SELECT handfeed.reach('shop');
		CALL walhouse.load('shop');
	}, $db);
	many($db, $count / 2 + 1, $count / 2);
	sql($node, 'VACUUM ANALYZE', $db);
	question(\%asked, 'a row of a small load', $db, q{SELECT * FROM walhouse.explain_row('dw.sale', '{"id": 100000050, "at": "2026-01-15"}')}, 'the one');
	question(\%asked, 'a version of a dimension', $db, q{SELECT * FROM walhouse.explain_row('dw.customer', '{"id": 7}')}, 'the one');
	sql($node, 'ALTER DATABASE ' . $db . ' SET walhouse.trace_log_rows = 2000', $db);
	question(\%asked, 'a row of a large load', $db, q{SELECT * FROM walhouse.explain_row('dw.sale', '{"id": 3, "at": "2026-01-01"}')}, 'cut');
	sql($node, q{CALL walhouse.set_log_key_index('shop', 'sale', true)}, $db);
	sql($node, 'VACUUM ANALYZE', $db);
	question(\%asked, 'the same with an index by key', $db, q{SELECT * FROM walhouse.explain_row('dw.sale', '{"id": 3, "at": "2026-01-01"}')}, 'change');
	return \%asked;
}

# question ASKED, NAME, DATABASE, QUERY, EXPECTED: what a question costs; its answer has to have something.
sub question
{
	my ($asked, $name, $db, $query, $expected) = @_;
	my ($pages, $out);
	my $best;

	sql($node, $query, $db);
	($pages, $out) = pages_touched($node, $query, $db);
	like($out, qr/\Q$expected\E/, "$db: $name: the answer has '$expected'");
	for (1 .. 3)
	{
		my ($ms) = sql($node, "\\timing on\n$query", $db) =~ /^Time: ([\d.]+) ms/m;
		$best = $ms if !defined $best || $ms < $best;
	}
	$asked->{$name} = { pages => $pages, ms => $best };
	return;
}

# many DATABASE, FROM, COUNT: so many sales in source transactions of a hundred rows, written to mirror, log and txn at once, and loaded.
sub many
{
	my ($db, $from, $count) = @_;
	sql($node, qq{
		ALTER TABLE shop.sale DISABLE TRIGGER USER;
		CREATE TEMPORARY TABLE more AS SELECT i, s.lsn + (i - $from) / 100 * 256 AS at
			FROM handfeed.state s, generate_series($from, $from + $count - 1) AS i;
		INSERT INTO shop.sale SELECT i, timestamptz '2026-01-01', 1 + i % 900, i FROM more;
		INSERT INTO shop_log.sale SELECT m.at, m.i, 'I', s.* FROM more m JOIN shop.sale s ON s.id = m.i ORDER BY m.at, m.i; -- as ingest does
		INSERT INTO shop_log.txn (end_lsn, xid, commit_time, clock, inserts)
			SELECT at, 700, c.clock, c.clock, count(*) FROM more, LATERAL (SELECT clock + (at - lsn) * interval '1 us' AS clock FROM handfeed.state) c GROUP BY 1, 3, 4;
		UPDATE handfeed.state SET (lsn, clock) = (SELECT max(end_lsn) + 256, max(clock) FROM shop_log.txn);
		ALTER TABLE shop.sale ENABLE TRIGGER USER;
		SELECT handfeed.reach('shop');
		SET maintenance_work_mem = '1GB'; -- a load reads the log once
		CALL walhouse.load('shop');
	}, $db);
	return;
}
