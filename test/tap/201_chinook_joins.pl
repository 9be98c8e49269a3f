# A full star over joins of a real shop's data: tracks with album, artist and genre, customers with their representative, and
# invoice lines with their invoice, fed from another server. Each step is one transaction at the source, which writes down
# what the queries give at its end; with the commit times that the source remembers, versions and facts follow from that in SQL
# written by hand here. Several steps go into one load.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $chinook = shared_file('chinook.sql');
my ($source, $house) = source_and_house(source => { conf => "track_commit_timestamp = on\n" });
my @tables = qw(album artist customer employee genre invoice invoice_line track);
my %query = (
	track => q{SELECT t.track_id, t.name AS title, al.title AS album, ar.name AS artist, coalesce(g.name, 'none') AS genre, t.unit_price
		FROM shop.track t LEFT JOIN shop.album al USING (album_id) LEFT JOIN shop.artist ar ON ar.artist_id = al.artist_id
			LEFT JOIN shop.genre g USING (genre_id)},
	customer => q{SELECT c.customer_id, c.last_name, c.city, e.last_name AS representative, boss.last_name AS boss
		FROM shop.customer c LEFT JOIN (shop.employee e LEFT JOIN shop.employee boss ON boss.employee_id = e.reports_to)
			ON e.employee_id = c.support_rep_id});
my %kept = (track => 'album, artist, genre, unit_price', customer => 'city, representative, boss');
my %overwritten = (track => 'title', customer => 'last_name');

sql($source, "\\i $chinook");
sql($source, q{
	DO $$
	DECLARE
		c record;
	BEGIN
		FOR c IN SELECT conrelid::regclass AS rel, conname FROM pg_constraint WHERE contype = 'f' LOOP
			EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.rel, c.conname);
		END LOOP;
	END $$;
	CREATE SCHEMA audit;
	CREATE TABLE audit.step (n serial, xid xid);
});
for my $name (sort keys %query)
{
	my $query = $query{$name} =~ s/shop\.//gr;
	sql($source, "CREATE TABLE audit.$name AS SELECT 0 AS n, q.* FROM ($query) q");
}
sql($source, 'CREATE PUBLICATION shop FOR TABLE ' . join(', ', @tables));

create_server($house, 'shop', $source);
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop', time_zone => 'Europe/Berlin')});
sql($house, q{CREATE SCHEMA dw; CREATE SCHEMA oracle; SELECT walhouse.create_date_dimension('dw.date', '2021-01-01', '2027-12-31')});
declare_dimension($_, "dw.$_") for sort keys %query;
sql($house, q{
	SELECT walhouse.create_fact('dw.sale',
		$$ SELECT l.invoice_line_id, i.invoice_id, i.invoice_date, i.customer_id, i.billing_country, l.track_id, l.quantity,
		          l.quantity * l.unit_price AS amount, CASE WHEN i.total > 10 THEN 'large' ELSE 'small' END AS size
		   FROM shop.invoice_line l JOIN shop.invoice i USING (invoice_id) WHERE l.quantity > 0 $$,
		key => '{invoice_line_id}', event_time => 'invoice_date',
		dimensions => '{"track_sk": "dw.track(track_id)", "customer_sk": "dw.customer(customer_id)", "date_sk": "dw.date(invoice_date)"}',
		partition_by => 'year');
});
my @models = qw(dw.customer dw.track dw.sale);
sql($house, "CALL walhouse.build('$_')") for @models;
check('after the build');

# ---- Prices, an artist's name, an album that was somebody else's: three commits for the same tracks in one load.
step('UPDATE track SET unit_price = unit_price + 0.10 WHERE genre_id = 1');
step(q{UPDATE artist SET name = 'AC-DC' WHERE artist_id = 1});
step('UPDATE album SET artist_id = 2 WHERE album_id = 1');
step(q{UPDATE track SET name = name || ' (remastered)', composer = 'somebody' WHERE album_id = 1});
run_and_check('after prices and names');

# ---- Gaps of LEFT JOINs open and close, within one load and over two.
step('DELETE FROM genre WHERE genre_id = 2');
step(q{INSERT INTO genre VALUES (2, 'Jazz, again')});
step('DELETE FROM genre WHERE genre_id = 3; DELETE FROM artist WHERE artist_id = 50');
run_and_check('after genres and an artist went');
step(q{INSERT INTO genre VALUES (3, 'Metal'); INSERT INTO artist VALUES (50, 'Metallica')});
step(q{UPDATE album SET title = title});
run_and_check('after they came back');

# ---- Renumbered: the artist first, then its albums; then both in one transaction; two that swap.
step('UPDATE artist SET artist_id = 1090 WHERE artist_id = 90');
step('UPDATE album SET artist_id = 1090 WHERE artist_id = 90');
step('UPDATE artist SET artist_id = 1022 WHERE artist_id = 22; UPDATE album SET artist_id = 1022 WHERE artist_id = 22');
step('UPDATE artist SET artist_id = -1 WHERE artist_id = 8; UPDATE artist SET artist_id = 8 WHERE artist_id = 9; UPDATE artist SET artist_id = 9 WHERE artist_id = -1');
run_and_check('after artists were renumbered');

# ---- The header before its lines, the lines before their header, both at once, and lines that come first.
step('DELETE FROM invoice WHERE invoice_id = 5');
run_and_check('after a header went');
step('DELETE FROM invoice_line WHERE invoice_id = 5');
step('DELETE FROM invoice_line WHERE invoice_id = 6');
step('DELETE FROM invoice WHERE invoice_id = 6');
step('DELETE FROM invoice WHERE invoice_id = 7; DELETE FROM invoice_line WHERE invoice_id = 7');
step('INSERT INTO invoice_line VALUES (5001, 1001, 1, 1.99, 2), (5002, 1001, 2, 1.99, 1)');
run_and_check('after lines came first');
step(q{INSERT INTO invoice VALUES (1001, 2, now() AT TIME ZONE 'Europe/Berlin', NULL, NULL, NULL, 'Germany', NULL, 5.97)});
step('UPDATE invoice_line SET quantity = 0 WHERE invoice_line_id = 5002');
run_and_check('after their header came');

# ---- A header tells its lines: other times, other countries, another customer; one line goes to another invoice.
step(q{UPDATE invoice SET invoice_date = invoice_date - interval '2 years' WHERE invoice_id BETWEEN 20 AND 40});
step(q{UPDATE invoice SET billing_country = 'United States' WHERE billing_country = 'USA'; UPDATE invoice SET total = 99 WHERE invoice_id = 30});
step('UPDATE invoice SET customer_id = 3 WHERE customer_id = 4');
step('UPDATE invoice_line SET invoice_id = 100 WHERE invoice_line_id = 1');
run_and_check('after headers changed');

# ---- Representatives: one table under two names.
step(q{UPDATE employee SET last_name = 'Peacock-Smith' WHERE employee_id = 3});
step('UPDATE employee SET reports_to = 1 WHERE employee_id = 4');
step(q{UPDATE employee SET last_name = 'Edwards II' WHERE employee_id = 2; UPDATE customer SET support_rep_id = 4 WHERE customer_id = 1});
step('DELETE FROM employee WHERE employee_id = 2');
run_and_check('after representatives changed');

# ---- TRUNCATE of a look-up and of the headers, and everything at once.
step('TRUNCATE genre');
step('CREATE TEMP TABLE saved AS TABLE invoice; TRUNCATE invoice; INSERT INTO invoice SELECT * FROM saved WHERE invoice_id > 50; DROP TABLE saved');
run_and_check('after TRUNCATE');
step(q{INSERT INTO genre SELECT g, 'genre ' || g FROM generate_series(1, 25) g; UPDATE artist SET name = upper(name);
	UPDATE album SET title = lower(title); UPDATE track SET unit_price = round(unit_price * 1.07, 2); UPDATE invoice SET total = total + 1;
	DELETE FROM customer WHERE customer_id = 20});
run_and_check('after a large transaction');
mirrors_equal($house, $source, 'shop', @tables);

# ---- Models that join late replay the log.
declare_dimension($_, "dw.${_}_late") for sort keys %query;
sql($house, q{CALL walhouse.run('shop')});
compare_dimension($_, "dw.${_}_late", 'late') for sort keys %query;
verify_clean($house, 'late', map { "dw.${_}_late" } sort keys %query);

# ---- One of the tables is copied again: every model over it is built again, and begins its history there.
step(q{UPDATE genre SET name = name || '!'});
sql($house, q{CALL walhouse.resync_table('shop', 'genre')});
sql($house, q{CALL walhouse.run('shop')});
step(q{UPDATE genre SET name = 'last' WHERE genre_id = 1});
sql($house, q{CALL walhouse.run('shop')});
is(value($house, q{SELECT string_agg(DISTINCT state, ' ') FROM walhouse.model}), 'live', 'after a look-up was copied again all models are live');
verify_clean($house, 'after a look-up was copied again', @models);
is(value($house, q{SELECT count(*) FROM dw.track JOIN shop.track t USING (track_id) WHERE is_current AND genre = 'last' AND t.genre_id = 1}),
	value($source, 'SELECT count(*) FROM track WHERE genre_id = 1'), 'and follow it');

$source->stop;
$house->stop;
done_testing();

sub declare_dimension
{
	my ($name, $model) = @_;
	sql($house, "SELECT walhouse.create_dimension('$model', \$\$$query{$name}\$\$, key => '{${name}_id}', scd => '{\"*\": 2, \"$overwritten{$name}\": 1}')");
	return;
}

# step STATEMENTS: one transaction at the source, and what the queries give at its end.
sub step
{
	my ($statements) = @_;
	my $looks = join ' ', map { my $query = $query{$_} =~ s/shop\.//gr;
		"INSERT INTO audit.$_ SELECT (SELECT max(n) FROM audit.step), q.* FROM ($query) q;" } sort keys %query;
	sql($source, "BEGIN; $statements; INSERT INTO audit.step (xid) VALUES (pg_current_xact_id()::xid); $looks COMMIT");
	return;
}

sub run_and_check
{
	my ($what) = @_;
	sql($house, q{CALL walhouse.run('shop')});
	check($what);
	return;
}

sub check
{
	my ($what) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();

	sql($source, qq{\\copy (SELECT n, pg_xact_commit_timestamp(xid) FROM audit.step) TO '$dir/step'});
	sql($house, qq{DROP SCHEMA oracle CASCADE; CREATE SCHEMA oracle; CREATE TABLE oracle.step (n int, t timestamptz);
		\\copy oracle.step FROM '$dir/step'\nINSERT INTO oracle.step VALUES (0, '-infinity');});
	for my $name (sort keys %query)
	{
		sql($source, qq{\\copy audit.$name TO '$dir/$name'});
		sql($house, qq{CREATE TABLE oracle.$name AS SELECT 0 AS n, q.* FROM ($query{$name}) q LIMIT 0;
			\\copy oracle.$name FROM '$dir/$name'
			CREATE INDEX ON oracle.$name (${name}_id, n);
			ANALYZE oracle.$name;
			CREATE TABLE oracle.${name}_version AS
			WITH e AS (SELECT k.${name}_id, s.n, s.t, x.n IS NOT NULL AS live, $kept{$name}, jsonb_build_array($kept{$name}) AS kept
				FROM (SELECT DISTINCT ${name}_id FROM oracle.$name) k CROSS JOIN oracle.step s
					LEFT JOIN oracle.$name x ON x.n = s.n AND x.${name}_id = k.${name}_id),
			d AS (SELECT *, lag(live) OVER w AS was_live, lag(kept) OVER w AS was FROM e WINDOW w AS (PARTITION BY ${name}_id ORDER BY n)),
			b AS (SELECT *, row_number() OVER w AS nth, lead(t) OVER w AS until FROM d
				WHERE live <> coalesce(was_live, false) OR (live AND kept <> was) WINDOW w AS (PARTITION BY ${name}_id ORDER BY n))
			SELECT ${name}_id, CASE WHEN nth = 1 THEN '-infinity' ELSE t END AS valid_from, coalesce(until, 'infinity') AS valid_to, $kept{$name},
				(SELECT l.$overwritten{$name} FROM oracle.$name l WHERE l.${name}_id = b.${name}_id ORDER BY l.n DESC LIMIT 1) AS $overwritten{$name}
			FROM b WHERE live;
			CREATE INDEX ON oracle.${name}_version (${name}_id, valid_from)});
		compare_dimension($name, "dw.$name", $what);
	}
	compare_fact($what);
	verify_clean($house, $what, @models);
	star_holds($house, $what);
	return;
}

sub compare_dimension
{
	my ($name, $model, $what) = @_;
	my $columns = "${name}_id, valid_from, valid_to, $kept{$name}, $overwritten{$name}";
	same($house, "$what: $model", "SELECT $columns FROM oracle.${name}_version",
		"SELECT $columns FROM $model WHERE ${name}_id IS NOT NULL AND NOT is_inferred");
	return;
}

sub compare_fact
{
	my ($what) = @_;
	my $version = sub { "(SELECT v.valid_from FROM oracle.$_[0]_version v WHERE v.$_[0]_id = $_[1].$_[0]_id
		AND v.valid_from <= i.invoice_date AT TIME ZONE 'Europe/Berlin' ORDER BY valid_from DESC LIMIT 1)" };
	my ($track, $customer) = ($version->('track', 'l'), $version->('customer', 'i'));
	same($house, "$what: dw.sale",
		qq{SELECT l.invoice_line_id, i.invoice_id, i.invoice_date, i.customer_id, i.billing_country::text, l.track_id, l.quantity,
			l.quantity * l.unit_price, CASE WHEN i.total > 10 THEN 'large' ELSE 'small' END, $track, $customer, i.invoice_date::date
		   FROM shop.invoice_line l, shop.invoice i WHERE i.invoice_id = l.invoice_id AND l.quantity <> 0},
		q{SELECT invoice_line_id, invoice_id, invoice_date, s.customer_id, billing_country::text, s.track_id, quantity, amount, size,
			CASE WHEN NOT t.is_inferred THEN t.valid_from END, CASE WHEN NOT c.is_inferred THEN c.valid_from END, d.date
		  FROM dw.sale s JOIN dw.track t USING (track_sk) JOIN dw.customer c USING (customer_sk) JOIN dw.date d USING (date_sk)});
	return;
}
