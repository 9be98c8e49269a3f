# P5 for mini-dimensions, outriggers and bridges: the same batch of changes is loaded into a star and into one ten times as large; the
# pages that a load touches grow by less than 10 %, also where members get their row that many facts wait for, and so do the
# pages that a look into a view touches. A load with nothing to do touches next to none.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $node = lone_server();
my %star = map { $_ => star($_) } 2_000, 20_000;
my ($small, $large) = @star{2_000, 20_000};
my %least = (changes => 300, inferred => 200, filled => 200, ahead => 150, outrigger => 3, bridge => 3);

for my $kind (sort keys %least)
{
	cmp_ok($small->{$kind}, '>', $least{$kind}, "$kind: pages are touched");
	cmp_ok($large->{$kind}, '<', 1.1 * $small->{$kind} + 3, "$kind: in tables ten times as large less than 10 % more")
		or diag("$kind: $small->{$kind} and $large->{$kind} pages");
	note("$kind: $small->{$kind} and $large->{$kind} pages");
}
cmp_ok($large->{idle}, '<', 60, 'a load without changes touches next to nothing') or diag("$large->{idle} pages");
$node->stop;
done_testing();

# star ROWS: builds the models over tables of that many rows, loads batches into them, and returns the pages touched.
sub star
{
	my ($rows) = @_;
	my $db = "star$rows";
	my %touched;
	hand_database($node, $db);
	# Each person has 5 sales, a profile that is one of 24, and one of 50 clubs.
	sql($node, qq{
		SET client_min_messages = warning;
		SELECT handfeed.make('shop', 'UTC');
		CREATE TABLE shop.person (id int PRIMARY KEY, name text, band text, level int);
		CREATE TABLE shop.sale (id int PRIMARY KEY, person int, at timestamptz, note text);
		CREATE TABLE shop.club (person int, club int, share numeric, PRIMARY KEY (person, club));
		INSERT INTO shop.person SELECT i, 'person ' || i, 'band ' || i % 6, i % 4 FROM generate_series(1, $rows) i;
		INSERT INTO shop.sale SELECT i, 1 + i % $rows, timestamptz '2026-01-01' + i % 150 * interval '1 day', repeat('x', 80) FROM generate_series(1, 5 * $rows) i;
		INSERT INTO shop.club SELECT i, c, 0.5 FROM generate_series(1, $rows) i, (VALUES (1), (2)) v (c);
		SELECT handfeed.add('shop', ('shop.' || t)::regclass) FROM unnest('{person,sale,club}'::text[]) t;
		-- The clock passes all event times, so that no row is ahead of it.
		UPDATE shop.person SET name = name WHERE id = 1;
		SELECT handfeed.commit('shop', '2026-10-01 12:00+00');
		SELECT handfeed.reach('shop');
		CREATE SCHEMA dw;
		SELECT walhouse.create_mini_dimension('dw.profile', 'SELECT id, band, level FROM shop.person', '{id}');
		SELECT walhouse.create_dimension('dw.person', 'SELECT id, name FROM shop.person', '{id}', outriggers => '{"profile_sk": "dw.profile(id)"}');
		SELECT walhouse.create_bridge('dw.club', 'SELECT person, club, share FROM shop.club', '{person,club}', '{"person_sk": "dw.person(person)", "profile_sk": "dw.profile(person)"}');
		SELECT walhouse.create_fact('dw.sale', 'SELECT id, person, at FROM shop.sale', '{id}', 'at', '{"profile_sk": "dw.profile(person)"}');
		CALL walhouse.build('dw.profile'); CALL walhouse.build('dw.person'); CALL walhouse.build('dw.club');
		CALL walhouse.build('dw.sale');
		VACUUM ANALYZE;
	}, $db);
	batch($db, '2026-10-02 12:00+00', q{
		UPDATE shop.person SET level = level + 1 WHERE id <= 50;
		UPDATE shop.person SET band = 'new' WHERE id BETWEEN 51 AND 60;
		DELETE FROM shop.person WHERE id BETWEEN 61 AND 70;
		UPDATE shop.sale SET person = person + 1 WHERE id BETWEEN 101 AND 150;
		DELETE FROM shop.sale WHERE id BETWEEN 151 AND 170;
		INSERT INTO shop.sale SELECT 1000000 + i, i, '2026-03-01', '' FROM generate_series(1, 50) i;
	});
	$touched{changes} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	batch($db, '2026-10-03 12:00+00', q{INSERT INTO shop.sale SELECT 2000000 + i, 1000000 + i % 10, '2026-03-01', '' FROM generate_series(1, 100) i});
	$touched{inferred} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	batch($db, '2026-10-04 12:00+00', q{INSERT INTO shop.person SELECT 1000000 + i, 'late', 'band ' || i % 6, 9 FROM generate_series(0, 9) i});
	$touched{filled} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	is(value($node, q{SELECT count(*) FROM dw.sale_as_was WHERE person >= 1000000 AND profile_level = 9}, $db), '100', "$rows rows: sales have the profiles that came late");
	batch($db, '2026-10-05 12:00+00', q{INSERT INTO shop.sale SELECT 3000000 + i, i, '2026-12-01', '' FROM generate_series(1, 30) i});
	sql($node, q{CALL walhouse.load('shop')}, $db);
	batch($db, '2026-10-06 12:00+00', q{UPDATE shop.person SET band = 'late' WHERE id <= 30});
	$touched{ahead} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	$touched{idle} = pages_touched($node, q{CALL walhouse.load('shop')}, $db);
	is(value($node, q{SELECT count(*) FROM dw.sale_as_was WHERE id > 3000000 AND profile_band = 'late'}, $db), '30', "$rows rows: sales ahead of the clock have them, too");
	$touched{outrigger} = pages_touched($node, 'SELECT count(profile_band) FROM dw.person_as_was WHERE id = 7', $db);
	$touched{bridge} = pages_touched($node, 'SELECT count(profile_sk) FROM dw.club_members WHERE person = 7', $db);
	is(value($node, q{SELECT count(*) FROM walhouse.verify() WHERE missing + unexpected + different > 0}, $db), '0', "$rows rows: the star is right");
	return \%touched;
}

sub batch
{
	my ($db, $time, $statements) = @_;
	sql($node, "$statements; SELECT handfeed.commit('shop', '$time'); SELECT handfeed.reach('shop')", $db);
	return;
}
