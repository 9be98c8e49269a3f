# A full star over all eleven tables of a real shop, fed from another server. Dimensions over joins: tracks with album, artist, genre and
# media type, customers with their representative and that one's boss; employees, whose bosses are employees (an outrigger to
# itself), and who are outriggers of customers; playlists, with a bridge to their tracks; the profile of customers, a mini-dimension.
# Facts: invoices, and invoice lines with their invoice. Each step is one transaction at the source, which writes down what the
# queries give otherwise at its end; with the commit times that the source remembers, versions, views and facts follow
# from that in SQL written by hand here. Several steps go into one load.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $chinook = shared_file('chinook.sql');
my ($source, $house) = source_and_house(source => { conf => "track_commit_timestamp = on\n" });
my @tables = qw(album artist customer employee genre invoice invoice_line media_type playlist playlist_track track);
my %query = (
	track => q{SELECT t.track_id, t.name AS title, al.title AS album, ar.name AS artist, coalesce(g.name, 'none') AS genre, t.unit_price, m.name AS media
		FROM shop.track t LEFT JOIN shop.album al USING (album_id) LEFT JOIN shop.artist ar ON ar.artist_id = al.artist_id
			LEFT JOIN shop.genre g USING (genre_id) LEFT JOIN shop.media_type m ON m.media_type_id = t.media_type_id},
	customer => q{SELECT c.customer_id, c.last_name, c.city, c.support_rep_id, e.last_name AS representative, boss.last_name AS boss
		FROM shop.customer c LEFT JOIN (shop.employee e LEFT JOIN shop.employee boss ON boss.employee_id = e.reports_to)
			ON e.employee_id = c.support_rep_id},
	employee => q{SELECT employee_id, last_name AS name, title, reports_to FROM shop.employee},
	playlist => q{SELECT playlist_id, name FROM shop.playlist},
	# The three that hold everything are left out.
	entry => q{SELECT playlist_id, track_id FROM shop.playlist_track WHERE playlist_id NOT IN (1, 5, 8)},
	profile => q{SELECT customer_id, country, company IS NOT NULL AS is_company FROM shop.customer});
my %key = (track => 'track_id', customer => 'customer_id', employee => 'employee_id', playlist => 'playlist_id', entry => 'playlist_id, track_id',
	profile => 'customer_id');
my %kept = (track => 'album, artist, genre, unit_price, media', customer => 'city, support_rep_id, representative, boss', employee => 'name, title, reports_to',
	playlist => 'name', entry => 'NULL::int AS nothing', profile => 'country, is_company');
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
	sql($source, "CREATE TABLE audit.$name AS SELECT 0 AS n, true AS live, q.* FROM ($query) q; CREATE TABLE audit.${name}_last AS $query");
}
sql($source, 'CREATE PUBLICATION shop FOR TABLE ' . join(', ', @tables));

create_server($house, 'shop', $source);
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop', time_zone => 'Europe/Berlin')});
sql($house, q{CREATE SCHEMA dw; CREATE SCHEMA oracle; SELECT walhouse.create_date_dimension('dw.date', '2021-01-01', '2027-12-31')});
declare($_, "dw.$_") for qw(track employee customer playlist entry profile);
sql($house, q{
	SELECT walhouse.create_fact('dw.invoice', 'SELECT invoice_id, invoice_date, customer_id, billing_country, total FROM shop.invoice',
		key => '{invoice_id}', event_time => 'invoice_date',
		dimensions => '{"customer_sk": "dw.customer(customer_id)", "date_sk": "dw.date(invoice_date)"}', partition_by => 'year');
	SELECT walhouse.create_fact('dw.sale',
		$$ SELECT l.invoice_line_id, i.invoice_id, i.invoice_date, i.customer_id, i.billing_country, l.track_id, l.quantity,
		          l.quantity * l.unit_price AS amount, CASE WHEN i.total > 10 THEN 'large' ELSE 'small' END AS size
		   FROM shop.invoice_line l JOIN shop.invoice i USING (invoice_id) WHERE l.quantity > 0 $$,
		key => '{invoice_line_id}', event_time => 'invoice_date',
		dimensions => '{"track_sk": "dw.track(track_id)", "customer_sk": "dw.customer(customer_id)", "date_sk": "dw.date(invoice_date)",
			"profile_sk": "dw.profile(customer_id)"}',
		partition_by => 'year');
});
my @models = qw(dw.employee dw.customer dw.track dw.playlist dw.entry dw.profile dw.profile_history dw.invoice dw.sale);
sql($house, "CALL walhouse.build('$_')") for grep { $_ ne 'dw.profile_history' } @models;
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

# ---- Customers move and found companies; invoices of one who is not there yet, and of one who is gone.
step(q{UPDATE customer SET country = 'Norway' WHERE country = 'Germany'; UPDATE customer SET company = 'own' WHERE customer_id BETWEEN 10 AND 12});
step(q{UPDATE customer SET company = NULL WHERE customer_id = 1; UPDATE customer SET phone = '0' WHERE customer_id = 2});
step(q{INSERT INTO invoice VALUES (1002, 60, now() AT TIME ZONE 'Europe/Berlin', NULL, NULL, NULL, 'Peru', NULL, 2), (1003, 60, '2024-01-01', NULL, NULL, NULL, 'Peru', NULL, 2);
	INSERT INTO invoice_line VALUES (5003, 1002, 3, 2, 1), (5004, 1003, 4, 2, 1)});
run_and_check('after customers moved, and one is not there yet');
step(q{INSERT INTO customer (customer_id, first_name, last_name, email, country, support_rep_id) VALUES (60, 'Pia', 'Paz', 'p', 'Peru', 5)});
step(q{UPDATE customer SET country = 'Chile', company = 'Paz' WHERE customer_id = 60});
step(q{INSERT INTO invoice VALUES (1004, 60, now() AT TIME ZONE 'Europe/Berlin' + interval '1 hour', NULL, NULL, NULL, 'Chile', NULL, 2); INSERT INTO invoice_line VALUES (5005, 1004, 5, 2, 1)});
run_and_check('after the customer came');
step(q{UPDATE customer SET country = 'Peru' WHERE customer_id = 60});
run_and_check('after a change before an invoice of the future');

# ---- Playlists: renamed, rearranged, gone and back; tracks that are in one while they change; media types.
step(q{UPDATE playlist SET name = name || ' (old)' WHERE playlist_id > 9; UPDATE media_type SET name = 'MPEG' WHERE media_type_id = 1});
step('DELETE FROM playlist_track WHERE playlist_id = 17 AND track_id % 3 = 0; INSERT INTO playlist_track VALUES (17, 7), (18, 2), (99, 3), (17, 100001)');
step('UPDATE track SET unit_price = 2 WHERE track_id IN (SELECT track_id FROM playlist_track WHERE playlist_id = 17)');
run_and_check('after playlists changed');
step(q{DELETE FROM playlist WHERE playlist_id = 17; INSERT INTO playlist VALUES (99, 'later')});
step('UPDATE playlist_track SET playlist_id = 16 WHERE playlist_id = 17 AND track_id NOT IN (SELECT track_id FROM playlist_track WHERE playlist_id = 16)');
step(q{INSERT INTO playlist VALUES (17, 'again'); DELETE FROM media_type WHERE media_type_id = 2});
run_and_check('after a playlist went and came back');
step('CREATE TEMP TABLE saved AS TABLE playlist_track; TRUNCATE playlist_track; INSERT INTO playlist_track SELECT * FROM saved WHERE track_id % 2 = 0; DROP TABLE saved');
step(q{UPDATE employee SET reports_to = 8, title = 'Boss' WHERE employee_id IN (3, 6)});
step('UPDATE employee SET employee_id = 80 WHERE employee_id = 8');
run_and_check('after TRUNCATE of the association, and an employee was renumbered');

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
declare($_, "dw.${_}_late") for sort keys %query;
sql($house, q{CALL walhouse.run('shop')});
compare_dimension($_, $_ eq 'profile' ? 'dw.profile_late_history' : "dw.${_}_late", 'late') for sort keys %query;
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

# declare NAME, MODEL: the model over a query.
sub declare
{
	my ($name, $model) = @_;
	my $start = "'$model', \$\$$query{$name}\$\$, key => '{$key{$name}}'";
	my %outriggers = (employee => qq{{"boss_sk": "$model(reports_to)"}}, customer => '{"rep_sk": "dw.employee(support_rep_id)"}');

	if ($name eq 'profile')
	{
		sql($house, "SELECT walhouse.create_mini_dimension($start)");
	}
	elsif ($name eq 'entry')
	{
		sql($house, qq{SELECT walhouse.create_bridge($start, members => '{"playlist_sk": "dw.playlist(playlist_id)", "track_sk": "dw.track(track_id)"}')});
	}
	else
	{
		my $scd = $overwritten{$name} ? qq{{"*": 2, "$overwritten{$name}": 1}} : '{"*": 2}';
		my $outriggers = $outriggers{$name} // '{}';
		sql($house, "SELECT walhouse.create_dimension($start, scd => '$scd', outriggers => '$outriggers')");
	}
	return;
}

# step STATEMENTS: one transaction at the source, and what the queries give otherwise at its end.
sub step
{
	my ($statements) = @_;
	my $looks = '';
	for my $name (sort keys %query)
	{
		my $query = $query{$name} =~ s/shop\.//gr;
		my $n = '(SELECT max(n) FROM audit.step)';
		$looks .= qq{
			CREATE TEMP TABLE now ON COMMIT DROP AS $query;
			INSERT INTO audit.$name SELECT $n, true, c.* FROM (TABLE now EXCEPT TABLE audit.${name}_last) c
				UNION ALL SELECT $n, false, (jsonb_populate_record(NULL::audit.${name}_last, to_jsonb(k))).* FROM
					(SELECT $key{$name} FROM audit.${name}_last EXCEPT SELECT $key{$name} FROM now) k;
			TRUNCATE audit.${name}_last;
			INSERT INTO audit.${name}_last TABLE now;
			DROP TABLE now;};
	}
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
		my ($key, $kept, $last) = ($key{$name}, $kept{$name}, $overwritten{$name});
		(my $plain = $kept) =~ s/.* AS //;
		my $overwritten = $last ? ", (SELECT l.$last FROM oracle.$name l WHERE l.$key = b.$key AND l.live ORDER BY l.n DESC LIMIT 1) AS $last" : '';
		sql($source, qq{\\copy audit.$name TO '$dir/$name'});
		sql($house, qq{CREATE TABLE oracle.$name AS SELECT 0 AS n, true AS live, q.* FROM ($query{$name}) q LIMIT 0;
			\\copy oracle.$name FROM '$dir/$name'
			CREATE INDEX ON oracle.$name ($key, n);
			ANALYZE oracle.$name;
			CREATE TABLE oracle.${name}_version AS
			WITH e AS (SELECT *, jsonb_build_array($plain) AS kept FROM (SELECT n, t, live, $key, $kept FROM oracle.$name JOIN oracle.step USING (n)) x),
			d AS (SELECT *, lag(live) OVER w AS was_live, lag(kept) OVER w AS was FROM e WINDOW w AS (PARTITION BY $key ORDER BY n)),
			b AS (SELECT *, row_number() OVER w AS nth, lead(t) OVER w AS until FROM d
				WHERE live <> coalesce(was_live, false) OR (live AND kept <> was) WINDOW w AS (PARTITION BY $key ORDER BY n))
			SELECT $key, CASE WHEN nth = 1 THEN '-infinity' ELSE t END AS valid_from, coalesce(until, 'infinity') AS valid_to, $plain$overwritten
			FROM b WHERE live;
			CREATE INDEX ON oracle.${name}_version ($key, valid_from)});
		compare_dimension($name, $name eq 'profile' ? 'dw.profile_history' : "dw.$name", $what);
	}
	compare_views($what);
	compare_fact($what);
	verify_clean($house, $what, @models);
	star_holds($house, $what);
	return;
}

sub compare_dimension
{
	my ($name, $model, $what) = @_;
	my $columns = join ', ', $key{$name}, qw(valid_from valid_to), grep { $_ && !/nothing/ } $kept{$name}, $overwritten{$name};
	same($house, "$what: $model", "SELECT $columns FROM oracle.${name}_version",
		"SELECT $columns FROM $model WHERE " . ($key{$name} =~ s/,.*//r) . ' IS NOT NULL AND NOT is_inferred');
	return;
}

# as_of NAME, COLUMN, KEY, TIME: SQL, a column of the version that held then.
sub as_of
{
	my ($name, $column, $key, $time) = @_;
	return "(SELECT v.$column FROM oracle.${name}_version v WHERE v.$key{$name} = $key AND v.valid_from <= $time ORDER BY v.valid_from DESC LIMIT 1)";
}

# compare_views: customers with their representatives, and these with their bosses, as they were and as they are; playlists with the
# versions of their tracks, when all began and at the latest moments that anything changed.
sub compare_views
{
	my ($what) = @_;

	for my $view (qw(as_was as_is))
	{
		my $time = $view eq 'as_was' ? 'c.valid_from' : q{'infinity'};
		my $rep = as_of('employee', 'name', 'c.support_rep_id', $time);
		my $title = as_of('employee', 'title', 'c.support_rep_id', $time);
		my $boss = as_of('employee', 'name', as_of('employee', 'reports_to', 'c.support_rep_id', $time), $time);

		same($house, "$what: dw.customer_$view", "SELECT c.customer_id, c.valid_from, c.city, $rep, $title, $boss FROM oracle.customer_version c",
			"SELECT customer_id, valid_from, city, rep_name, rep_title, rep_boss_name FROM dw.customer_$view WHERE customer_sk > 0 AND NOT is_inferred");
		$time =~ s/c\./e./;
		same($house, "$what: dw.employee_$view",
			"SELECT e.employee_id, e.valid_from, e.name, " . as_of('employee', 'name', 'e.reports_to', $time) . ' FROM oracle.employee_version e',
			"SELECT employee_id, valid_from, name, boss_name FROM dw.employee_$view WHERE employee_sk > 0");
	}
	my $moments = '(SELECT t FROM oracle.step WHERE n = 0 OR n > (SELECT max(n) - 6 FROM oracle.step)) s';
	same($house, "$what: dw.entry_members",
		'SELECT s.t, e.playlist_id, e.track_id, ' . as_of('playlist', 'name', 'e.playlist_id', 's.t') . ', ' . as_of('track', 'unit_price', 'e.track_id', 's.t')
		. " FROM $moments JOIN oracle.entry_version e ON e.valid_from <= s.t AND s.t < e.valid_to",
		qq{SELECT s.t, m.playlist_id, m.track_id, p.name, t.unit_price FROM $moments JOIN dw.entry_members m ON m.valid_from <= s.t AND s.t < m.valid_to
			LEFT JOIN dw.playlist p USING (playlist_sk) LEFT JOIN dw.track t USING (track_sk)});
	return;
}

sub compare_fact
{
	my ($what) = @_;
	my $at = q{i.invoice_date AT TIME ZONE 'Europe/Berlin'};
	my ($track, $customer) = (as_of('track', 'valid_from', 'l.track_id', $at), as_of('customer', 'valid_from', 'i.customer_id', $at));

	same($house, "$what: dw.sale",
		qq{SELECT l.invoice_line_id, i.invoice_id, i.invoice_date, i.customer_id, i.billing_country::text, l.track_id, l.quantity,
			l.quantity * l.unit_price, CASE WHEN i.total > 10 THEN 'large' ELSE 'small' END, $track, $customer, i.invoice_date::date
		   FROM shop.invoice_line l, shop.invoice i WHERE i.invoice_id = l.invoice_id AND l.quantity <> 0},
		q{SELECT invoice_line_id, invoice_id, invoice_date, s.customer_id, billing_country::text, s.track_id, quantity, amount, size,
			CASE WHEN NOT t.is_inferred THEN t.valid_from END, CASE WHEN NOT c.is_inferred THEN c.valid_from END, d.date
		  FROM dw.sale s JOIN dw.track t USING (track_sk) JOIN dw.customer c USING (customer_sk) JOIN dw.date d USING (date_sk)});
	same($house, "$what: dw.invoice", "SELECT i.invoice_id, i.invoice_date, i.customer_id, i.billing_country::text, i.total, $customer, i.invoice_date::date FROM shop.invoice i",
		q{SELECT invoice_id, invoice_date, s.customer_id, billing_country::text, total, CASE WHEN NOT c.is_inferred THEN c.valid_from END, d.date
		  FROM dw.invoice s JOIN dw.customer c USING (customer_sk) JOIN dw.date d USING (date_sk)});
	for my $view (qw(as_was as_is))
	{
		my $time = $view eq 'as_was' ? $at : q{'infinity'};
		my @profile = map { as_of('profile', $_, 'i.customer_id', $time) } qw(country is_company);

		same($house, "$what: profiles of dw.sale_$view",
			"SELECT l.invoice_line_id, $profile[0]::text, $profile[1] FROM shop.invoice_line l JOIN shop.invoice i USING (invoice_id) WHERE l.quantity <> 0",
			"SELECT invoice_line_id, profile_country::text, profile_is_company FROM dw.sale_$view");
	}
	return;
}
