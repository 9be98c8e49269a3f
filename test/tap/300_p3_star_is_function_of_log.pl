# P3: the star is a function of the log. One random change log, cut into batches in many ways (one batch, one source transaction
# at a time, random cuts, models built late or built again on the way), gives the same dimensions, facts and rejected
# rows, and they are what an oracle in plain SQL over the log says. verify() agrees at random positions, too.
#
# The log holds NULL, '', NaN, both infinities, -0, 1.0 beside 1.00 (also in keys), values stored out of line, key changes and
# swaps, delete and re-insert, several versions of a key in one transaction and in one batch, TRUNCATE, commit times that go back, rows
# that meet and leave the query's condition, and event times ahead of the clock, at the bounds of days and months around a
# change of clocks, NULL, infinite, in the year 9999 and before our era.
#
# SEEDS="1 2 3" chooses the logs, TRANSACTIONS their length.
#
# Deliberate mistakes, each tried once; every one of these makes this test fail:
#   facts are not pointed again when a dimension moves
#   a version that begins at the clock hides the one that rows ahead point to
#   a changed row stays ahead under its old event time
#   the first image of a range wins, not the last
#   TRUNCATE is not seen
#   the query's condition is not asked again
#   rows that are equal by opclass are not written (1.0 and 1.00)
#   a changed event time leaves the row where it was
#   a rejected row stays rejected when it is corrected
#   a build reads the mirror as it is now
#   a build leaves rows without a member to nobody
#   a build does not enter rows ahead
#   versions of the same time do not follow each other by a microsecond
#   facts are not built again after their dimension
#   a row with the event time of the clock is not ahead
#   a version does not hold from its first instant on
#   type 3 sees the NULLs of a delete; it keeps the value before the first change of a batch
#   facts do not follow purges
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use WalhouseHistory;
use Test::More;

my $transactions = $ENV{TRANSACTIONS} || 120;
my @zones = ('Europe/Berlin', 'America/Havana', 'UTC', 'Asia/Kathmandu');
my $now = "timestamptz '2026-02-01 00:00+00'"; # when the transaction that is being made commits
my $clock = 0; # the greatest time so far, in hours
my @deletes = qw(close tombstone ignore purge);
my $node = one_server();

for my $seed (split ' ', $ENV{SEEDS} || '1 2')
{
	subtest "seed $seed" => sub { run_seed($seed) };
}
$node->stop;
done_testing();

sub run_seed
{
	my ($seed) = @_;
	my $db = "seed$seed";
	srand($seed);
	hand_database($node, $db);
	query($db, "SELECT handfeed.make('shop', '$zones[$seed % @zones]')");
	query($db, tables());
	query($db, first_rows());
	query($db, $_) for map { "SELECT handfeed.add('shop', 'shop.$_')" } qw(customers "Odd""Names" orders visits);
	$clock = 0;
	query($db, join("\n", (map { transaction($_) } 1 .. $transactions), clock_edge()));
	query($db, oracle());

	my @lsns = split /\n/, query($db, 'SELECT end_lsn FROM shop_log.txn ORDER BY end_lsn');
	my $expected = query($db, 'SELECT oracle.expected()');
	cut_in_many_ways(sub { compare($db, $expected, @_) }, @lsns);
}

# compare builds the star at $start, loads it in batches up to each of $cuts, and compares it with the oracle.
sub compare
{
	my ($db, $expected, $name, $cuts, $start, $rebuild) = @_;
	my @models = (qw(dw.customer dw.person dw."odd_dim"), (map { "dw.kept_$_" } @deletes), qw(dw.sales dw.visit dw.visit_day));
	my $verify = verification(@models);

	query($db, declare());
	query($db, "DELETE FROM walhouse.feed_position WHERE position > '0/1000'; SELECT handfeed.reach('shop', '$start')");
	query($db, "CALL walhouse.build('$_')") for @models;
	load_and_verify(sub { query($db, @_) }, $name, $cuts, $verify, $rebuild);
	is(query($db, "SELECT relation, state, error FROM walhouse.model WHERE state <> 'live'"), '', "$name: all models are live");
	is(query($db, $verify), '', "$name: verify finds nothing");
	my $found = query($db, 'SELECT oracle.found()');
	ok($found eq $expected, "$name: as the oracle says") or show_difference($expected, $found);
	is(query($db, 'SELECT count(*) FROM walhouse.ahead a JOIN walhouse.model m USING (model_id) JOIN walhouse.feed f USING (feed_id)'
				. ' WHERE event_time < (SELECT max(clock) FROM shop_log.txn)'),
		'0', "$name: nothing that the clock has passed is kept as ahead");
	query($db, "SELECT walhouse.drop_model('$_')") for reverse('dw.date', 'dw.flags', 'dw.minute', @models);
	query($db, 'DROP SCHEMA dw CASCADE');
}

sub query
{
	my ($db, $statement) = @_;
	return $node->safe_psql($db, $statement);
}

# ---- the log

sub tables
{
	return q{
	CREATE TABLE shop.customers (customer_id int PRIMARY KEY, name text, city text, score float8, level numeric, bio text,
		active boolean);
	ALTER TABLE shop.customers ALTER COLUMN bio SET STORAGE EXTERNAL;
	CREATE TABLE shop."Odd""Names" (code numeric, "re gion" text, label text, "select" int, PRIMARY KEY (code, "re gion"));
	CREATE TABLE shop.orders (order_id int, line numeric, customer_id int, referrer_id int, code numeric, region text,
		at timestamptz, amount numeric, ratio float8, note text, status text, PRIMARY KEY (order_id, line));
	ALTER TABLE shop.orders ALTER COLUMN note SET STORAGE EXTERNAL;
	CREATE TABLE shop.visits (visit_id bigint PRIMARY KEY, customer_id bigint, at timestamp, day date, pages int);
	CREATE SCHEMA oracle;
	};
}

# Rows that the first copy brought; the log does not have them.
sub first_rows
{
	my @rows = map { insert_row() } 1 .. 20;
	return join("\n", @rows) . join("\n", map { "CREATE TABLE oracle.first_$_->[0] AS TABLE shop.$_->[1];" }
		['customers', 'customers'], ['odd', '"Odd""Names"'], ['orders', 'orders'], ['visits', 'visits']);
}

sub transaction
{
	my ($n) = @_;
	my @statements;
	my $hours = $n * 12 - (rand() < 0.1 ? 100 : 0);

	# Many transactions commit at one time; few commit earlier than the one before.
	$hours = $clock if rand() < 0.4;
	$clock = $hours if $hours > $clock;
	$now = "timestamptz '2026-02-01 00:00+00' + interval '$hours hours'";
	@statements = map { statement() } 1 .. 1 + int(rand(6));
	return join("\n", @statements, "SELECT handfeed.commit('shop', $now);");
}

# clock_edge: three transactions for what chance seldom brings together. A fact whose event time is the clock itself, and then a
# new version that begins at that very time, because its transaction committed at an earlier one.
sub clock_edge
{
	my $time = sub { "timestamptz '2026-02-01 00:00+00' + interval '$_[0] hours'" };
	my $edge = $time->($clock + 24);

	return join("\n",
		"INSERT INTO shop.customers VALUES (50, 'Edge', 'Bonn', 0, 1, NULL, true); SELECT handfeed.commit('shop', @{[$time->($clock + 12)]});",
		"INSERT INTO shop.orders VALUES (50, 1, 50, NULL, NULL, NULL, $edge, 1, 0, NULL, 'open'); SELECT handfeed.commit('shop', $edge);",
		"UPDATE shop.customers SET city = 'Rom' WHERE customer_id = 50; SELECT handfeed.commit('shop', @{[$time->($clock - 100)]});");
}

sub statement
{
	my $r = rand();
	return insert_row() if $r < 0.35;
	return update_row() if $r < 0.7;
	return delete_row() if $r < 0.82;
	return change_key() if $r < 0.93;
	return touch_nothing() if $r < 0.98;
	return truncate_table();
}

# TRUNCATE, sometimes of rows that the same transaction has changed, and filled again.
sub truncate_table
{
	my ($table, $column) = @{pick(['shop.customers', 'name'], ['shop.visits', 'pages'], ['shop.orders', 'note'])};
	return (rand() < 0.5 ? "UPDATE $table SET $column = $column; " : '') . "TRUNCATE $table; " . insert_row() . insert_row();
}

sub insert_row
{
	my $r = rand();
	return 'INSERT INTO shop.customers VALUES (' . join(', ', customer_id(), customer_values()) . ') ON CONFLICT DO NOTHING;' if $r < 0.3;
	return 'INSERT INTO shop."Odd""Names" VALUES (' . join(', ', odd_key(), text(), pick(0 .. 3)) . ') ON CONFLICT DO NOTHING;'
		if $r < 0.45;
	return 'INSERT INTO shop.orders VALUES (' . join(', ', order_key(), order_values()) . ') ON CONFLICT DO NOTHING;' if $r < 0.8;
	return 'INSERT INTO shop.visits VALUES (' . join(', ', visit_id(), visit_values()) . ') ON CONFLICT DO NOTHING;';
}

sub update_row
{
	my $r = rand();
	return 'UPDATE shop.customers SET (name, city, score, level, bio, active) = ROW(' . join(', ', customer_values())
		. ') WHERE customer_id = ' . customer_id() . ';' if $r < 0.15;
	return 'UPDATE shop.customers SET ' . pick('city = ' . text(), 'name = ' . text(), 'score = ' . float(),
		'level = ' . numeric(), 'active = ' . pick('true', 'false', 'NULL'), 'bio = ' . long_text())
		. ' WHERE customer_id = ' . customer_id() . ';' if $r < 0.45;
	return 'UPDATE shop."Odd""Names" SET ' . pick('label = ' . text(), '"select" = ' . pick(0 .. 3))
		. ' WHERE (code, "re gion") = (' . odd_key() . ');' if $r < 0.6;
	return 'UPDATE shop.orders SET ' . pick('at = ' . instant(), 'amount = ' . numeric(), 'ratio = ' . float(),
		'note = ' . long_text(), 'status = ' . pick("'void'", "'open'", 'NULL'), 'customer_id = ' . customer_id(),
		'referrer_id = ' . pick('NULL', customer_id()), '(code, region) = ROW(' . odd_key() . ')')
		. ' WHERE (order_id, line) = (' . order_key() . ');' if $r < 0.85;
	return 'UPDATE shop.visits SET ' . pick('at = ' . local_time(), 'day = ' . day(), 'pages = ' . pick(7, 5, 'NULL'),
		'customer_id = ' . pick('NULL', customer_id())) . ' WHERE visit_id = ' . visit_id() . ';';
}

sub delete_row
{
	my $r = rand();
	my $id = customer_id();
	return "DELETE FROM shop.customers WHERE customer_id = $id;" if $r < 0.25;
	return "DELETE FROM shop.customers WHERE customer_id = $id; INSERT INTO shop.customers VALUES ($id, "
		. join(', ', customer_values()) . ') ON CONFLICT DO NOTHING;' if $r < 0.4;
	return 'DELETE FROM shop."Odd""Names" WHERE (code, "re gion") = (' . odd_key() . ');' if $r < 0.55;
	return 'DELETE FROM shop.orders WHERE (order_id, line) = (' . order_key() . ');' if $r < 0.8;
	return 'DELETE FROM shop.visits WHERE visit_id = ' . visit_id() . ';';
}

sub change_key
{
	my $r = rand();
	my ($a, $b) = (customer_id(), customer_id());
	return "UPDATE shop.customers SET customer_id = $b WHERE customer_id = $a AND NOT EXISTS (SELECT FROM shop.customers WHERE customer_id = $b);"
		if $r < 0.25;
	return swap('shop.customers', 'customer_id', $a, $b) if $r < 0.5;
	return 'UPDATE shop."Odd""Names" SET code = code + 0.00 WHERE code = ' . pick(1, 2) . ';' if $r < 0.6;
	return "UPDATE shop.orders SET line = line + 0.0 WHERE order_id = $a;" if $r < 0.7;
	return "UPDATE shop.orders SET order_id = order_id + 100 WHERE order_id = $a; UPDATE shop.orders SET order_id = $a WHERE order_id = $b;"
		. " UPDATE shop.orders SET order_id = $b WHERE order_id = $a + 100;" if $r < 0.85 && $a != $b;
	return swap('shop.visits', 'visit_id', visit_id(), visit_id());
}

# A swap goes by a third key, within the transaction.
sub swap
{
	my ($table, $column, $a, $b) = @_;
	return "UPDATE $table SET $column = -1 WHERE $column = $a; UPDATE $table SET $column = $a WHERE $column = $b;"
		. " UPDATE $table SET $column = $b WHERE $column = -1;" if $a != $b;
	return '';
}

sub touch_nothing
{
	return pick('UPDATE shop.customers SET city = city WHERE customer_id = ' . customer_id() . ';',
		'UPDATE shop.orders SET amount = amount WHERE order_id = ' . customer_id() . ';', 'SELECT;');
}

sub customer_id { return 1 + int(rand(8)) }
sub visit_id { return 1 + int(rand(20)) }
sub order_key { return (1 + int(rand(8))) . ', ' . pick('1', '1.0', '1.00', '2') }
sub odd_key { return pick('1', '1.0', '1.00', '2', "'NaN'") . ', ' . pick("''", "'a\"b'") }
sub text { return pick("'Bonn'", "'Rom'", "''", 'NULL', "'O''Hara \\ \"x\"'") }
sub numeric { return pick('1.0', '1.00', '1', "'NaN'", "'Infinity'", "'-Infinity'", 'NULL', '0') }
sub float { return pick("'NaN'", "'-0'", '0', '1.5', "'Infinity'", "'-Infinity'", 'NULL', '0.1') }
sub long_text { return pick('NULL', "''", "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, " . pick(100, 200, 201) . ') g)') }
sub customer_values { return (text(), text(), float(), numeric(), long_text(), pick('true', 'true', 'true', 'false', 'NULL')) }
sub order_values
{
	return (pick(customer_id(), customer_id(), 'NULL', 77), pick('NULL', customer_id()), pick(odd_key(), 'NULL, NULL', '3, NULL'),
		instant(), numeric(), float(), long_text(), pick("'open'", "'open'", "'void'", 'NULL'));
}
sub visit_values { return (pick(customer_id(), customer_id(), 'NULL', 78), local_time(), day(), pick(0 .. 5)) }
sub instant
{
	return $now if rand() < 0.1;
	return sprintf("timestamptz '2026-02-01 00:00+00' + interval '%d hours'", 12 * int(rand($transactions + 20)))
		if rand() < 0.2; # when transactions commit
	return pick('NULL', "'infinity'", "'-infinity'", "'9999-12-31 00:00+00'", "'0044-03-15 12:00+00 BC'",
		"'2026-03-29 00:59:59+00'", "'2026-10-25 00:30+00'", "'2026-03-31 22:00+00'", "'2026-11-01 04:30+00'",
		"'2026-11-01 05:30+00'", "'2026-10-31 23:59:59.999999+00'") if rand() < 0.25;
	return sprintf("timestamptz '2026-02-01 00:00+00' + interval '%d hours'", int(rand($transactions * 14)) - 200);
}
sub local_time
{
	return pick('NULL', "'infinity'", "'9999-12-31'", "'2026-03-29 02:30'", "'2026-10-25 02:30'", "'2026-03-01'") if rand() < 0.2;
	return sprintf("timestamp '2026-02-01' + interval '%d hours'", int(rand($transactions * 14)) - 200);
}
sub day
{
	return pick('NULL', "'-infinity'", "'9999-12-31'", "'2025-12-31'", "'2026-01-01'") if rand() < 0.2;
	return sprintf("date '2026-02-01' + %d", int(rand($transactions / 2)) - 10);
}

# ---- the star

sub declare
{
	return q{
	CREATE SCHEMA dw;
	SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-06-30');
	SELECT walhouse.create_junk_dimension('dw.flags', '{pages int,odd boolean}');
	SELECT walhouse.create_time_dimension('dw.minute');
	SELECT walhouse.create_dimension('dw.customer',
		'SELECT customer_id, name, city, score, level, bio FROM shop.customers WHERE active IS NOT FALSE', '{customer_id}',
		'{"*": 2, "name": 1}');
	} . join('', map { qq{
	SELECT walhouse.create_dimension('dw.kept_$_',
		'SELECT customer_id, name, city, score, level, bio FROM shop.customers WHERE active IS NOT FALSE', '{customer_id}',
		'{"*": 2, "name": 3, "city": 0, "level": 6, "score": 1}', on_delete => '$_');} } @deletes) . q{
	SELECT walhouse.create_dimension('dw.person', 'SELECT customer_id, name FROM shop.customers', '{customer_id}', '{"*": 1}');
	SELECT walhouse.create_dimension('dw.odd_dim',
		'SELECT code AS "the code", "re gion", label, "select" FROM shop."Odd""Names"', '{the code,re gion}',
		'{"*": 1, "label": 2}');
	SELECT walhouse.create_fact('dw.sales',
		'SELECT order_id, line, customer_id, referrer_id, code, region, at AS "When ""it"" was", amount, amount * 2 AS doubled,
			ratio, note FROM shop.orders WHERE status IS DISTINCT FROM ''void''',
		'{order_id,line}', 'When "it" was',
		'{"customer_sk": "dw.customer(customer_id)", "referrer sk": "dw.customer(referrer_id)",
		  "odd_sk": "dw.\"odd_dim\"(code, region)", "day_sk": "dw.date(\"When \"\"it\"\" was\")"}');
	SELECT walhouse.create_fact('dw.visit', 'SELECT visit_id, customer_id, at, day, pages, pages % 2 = 1 AS odd, pages = 5 AS bad FROM shop.visits', '{visit_id}', 'at',
		'{"customer_sk": "dw.customer(customer_id)", "person_sk": "dw.person(customer_id)",
		  "purge_sk": "dw.kept_purge(customer_id)", "minute_sk": "dw.minute(at)",
		  "flags_sk": {"dimension": "dw.flags(pages, odd)", "error_if": "bad"}, "day_sk": "dw.date(day)"}', 'day');
	SELECT walhouse.create_fact('dw.visit_day', 'SELECT visit_id, customer_id, day FROM shop.visits', '{visit_id}', 'day',
		'{"customer_sk": "dw.customer(customer_id)", "kept_sk": "dw.kept_tombstone(customer_id)"}', 'year');
	};
}

# ---- the oracle: plain SQL over the log and the rows of the first copy
#
# events: the last image of a key in each source transaction, and whether the row was there then. dimension: versions by
# the rules of the design, written out. fact: the last image of a key; its versions are the greatest valid_from at or before the event time.
sub oracle
{
	my $zone = q{(SELECT time_zone FROM walhouse.feed)};
	return join("\n",
		events('customers', 'customers', 'customer_id'), events('odd', '"Odd""Names"', 'code, "re gion"'),
		events('orders', 'orders', 'order_id, line'), events('visits', 'visits', 'visit_id'),
		dimension('customer', 'customers', 'customer_id', 'active IS NOT FALSE', 'city, score, level, bio', 'name'),
		(map { kept($_) } @deletes),
		dimension('person', 'customers', 'customer_id', 'true', '', 'name'),
		dimension('odd_dim', 'odd', 'code, "re gion"', 'true', 'label', 'code, "re gion", "select"'),
		fact_views($zone), results());
}

sub events
{
	my ($name, $table, $key) = @_;
	return qq{
	CREATE VIEW oracle.${name}_events AS
	SELECT '0/0'::pg_lsn AS at_lsn, '-infinity'::timestamptz AS at_clock, true AS there, f.* FROM oracle.first_$name f
	UNION ALL
	SELECT e.lsn, t.clock, e.op IN ('I', 'U') AND e.seq > coalesce((SELECT max(seq) FROM shop_log.$table x
		WHERE x.lsn = e.lsn AND x.op = 'T'), -1), (e.image).*
	FROM (SELECT DISTINCT ON ($key, lsn) lsn, seq, op,
			(SELECT r FROM (SELECT @{[all_columns($name)]}) c, LATERAL (SELECT (c.*)::shop.$table AS r) z) AS image
		FROM shop_log.$table WHERE op <> 'T' ORDER BY $key, lsn, seq DESC, op DESC) e
		JOIN shop_log.txn t ON t.end_lsn = e.lsn;
	};
}

sub all_columns
{
	my ($name) = @_;
	return {
		customers => 'customer_id, name, city, score, level, bio, active',
		odd => 'code, "re gion", label, "select"',
		orders => 'order_id, line, customer_id, referrer_id, code, region, at, amount, ratio, note, status',
		visits => 'visit_id, customer_id, at, day, pages'
	}->{$name};
}

sub dimension
{
	my ($name, $events, $key, $condition, $type2, $type1) = @_;
	my $image = "ROW($type2)::text"; # tells NULL from '', -0 from 0, 1.0 from 1.00
	my @type1 = split /, /, $type1;
	my $values = join(', ', map { "(SELECT l.$_ FROM e l WHERE (" . prefixed('l', $key) . ') = (' . prefixed('v', $key)
			. ") AND l.live ORDER BY l.at_lsn DESC LIMIT 1) AS new_" . (/(\w+)/)[0] } @type1);
	return qq{
	CREATE VIEW oracle.$name AS
	WITH e AS (SELECT *, there AND coalesce($condition, false) AS live FROM oracle.${events}_events),
	x AS (SELECT *, coalesce(lag(live) OVER w, false) AS was_live, lag($image) OVER w AS was FROM e
		WINDOW w AS (PARTITION BY $key ORDER BY at_lsn)),
	b AS (SELECT *, row_number() OVER w AS n FROM x WHERE live <> was_live OR (live AND $image IS DISTINCT FROM was)
		WINDOW w AS (PARTITION BY $key ORDER BY at_lsn)),
	f AS (SELECT *, CASE WHEN n = 1 THEN '-infinity' ELSE max(at_clock - n * interval '1 microsecond') FILTER (WHERE n > 1) OVER w
		+ n * interval '1 microsecond' END AS valid_from FROM b WINDOW w AS (PARTITION BY $key ORDER BY n)),
	v AS (SELECT *, lead(valid_from, 1, 'infinity') OVER (PARTITION BY $key ORDER BY n) AS valid_to FROM f)
	SELECT v.*, $values FROM v WHERE live;
	};
}

# kept: all types in one dimension, for each on_delete. What makes history are all events, or the images, or those after the last delete.
sub kept
{
	my ($on_delete) = @_;
	my $which = { close => 'true', tombstone => 'live', ignore => 'live', purge => 'live AND (gone IS NULL OR at_lsn > gone)' }->{$on_delete};
	my $image = 'ROW(level, bio)::text';
	my $ends = sub { "(SELECT $_[0] FROM h l WHERE l.customer_id = v.customer_id AND l.live ORDER BY l.at_lsn $_[1] LIMIT 1)" };
	return qq{
	CREATE VIEW oracle.kept_$on_delete AS
	WITH e AS (SELECT *, there AND active IS NOT FALSE AS live FROM oracle.customers_events),
	h AS (SELECT * FROM (SELECT *, max(at_lsn) FILTER (WHERE NOT live) OVER (PARTITION BY customer_id) AS gone FROM e) e WHERE $which),
	x AS (SELECT *, coalesce(lag(live) OVER w, false) AS was_live, lag($image) OVER w AS was FROM h
		WINDOW w AS (PARTITION BY customer_id ORDER BY at_lsn)),
	b AS (SELECT *, row_number() OVER w AS n FROM x WHERE live <> was_live OR (live AND $image IS DISTINCT FROM was)
		WINDOW w AS (PARTITION BY customer_id ORDER BY at_lsn)),
	f AS (SELECT *, CASE WHEN n = 1 THEN '-infinity' ELSE max(at_clock - n * interval '1 microsecond') FILTER (WHERE n > 1) OVER w
		+ n * interval '1 microsecond' END AS valid_from FROM b WINDOW w AS (PARTITION BY customer_id ORDER BY n)),
	v AS (SELECT *, lead(valid_from, 1, 'infinity') OVER (PARTITION BY customer_id ORDER BY n) AS valid_to FROM f)
	SELECT v.customer_id, @{[$ends->('name', 'DESC')]} AS name,
		(SELECT p.was FROM (SELECT at_lsn, name, lag(name) OVER (ORDER BY at_lsn) AS was, ROW(name)::text AS image,
			lag(ROW(name)::text) OVER (ORDER BY at_lsn) AS was_image FROM h WHERE h.customer_id = v.customer_id AND live) p
			WHERE p.was_image <> p.image ORDER BY p.at_lsn DESC LIMIT 1) AS name_previous,
		@{[$ends->('city', 'ASC')]} AS city, @{[$ends->('score', 'DESC')]} AS score, level,
		@{[$ends->('level', 'DESC')]} AS level_current, bio, valid_from, valid_to,
		valid_to = 'infinity' AND NOT (SELECT live FROM e WHERE e.customer_id = v.customer_id ORDER BY at_lsn DESC LIMIT 1) AS is_deleted
	FROM v WHERE live;
	};
}

sub prefixed
{
	my ($alias, $key) = @_;
	return join(', ', map { "$alias.$_" } split /, /, $key);
}

sub fact_views
{
	my ($zone) = @_;
	my $bounds = q{('%s' || '-01-01')::timestamp};
	return qq{
	CREATE FUNCTION oracle.reason(at timestamp) RETURNS text LANGUAGE sql AS \$\$
		SELECT CASE WHEN at IS NULL THEN 'event time is null' WHEN NOT isfinite(at) THEN 'event time is infinite'
			WHEN at < date_trunc('year', now()::timestamp) - interval '100 years'
				OR at >= date_trunc('year', now()::timestamp) + interval '101 years' THEN 'event time is outside the bounds' END \$\$;
	CREATE FUNCTION oracle.customer_at(id bigint, at timestamptz) RETURNS text LANGUAGE sql AS \$\$
		SELECT CASE WHEN id IS NULL THEN 'unknown' ELSE id || ' from ' || coalesce((SELECT valid_from FROM oracle.customer
			WHERE customer_id = id AND valid_from <= at ORDER BY valid_from DESC LIMIT 1), '-infinity') END \$\$;
	CREATE FUNCTION oracle.kept_at(which text, id bigint, at timestamptz) RETURNS text LANGUAGE sql AS \$\$
		SELECT CASE WHEN id IS NULL THEN 'unknown' ELSE id || ' from ' || coalesce((SELECT valid_from FROM (SELECT 'purge' AS k,
			customer_id, valid_from FROM oracle.kept_purge UNION ALL SELECT 'tombstone', customer_id, valid_from FROM oracle.kept_tombstone) d
			WHERE k = which AND customer_id = id AND valid_from <= at ORDER BY valid_from DESC LIMIT 1), '-infinity') END \$\$;
	CREATE FUNCTION oracle.odd_at(c numeric, region text, at timestamptz) RETURNS text LANGUAGE sql AS \$\$
		SELECT CASE WHEN c IS NULL OR region IS NULL THEN 'unknown' ELSE trim_scale(c) || region || ' from '
			|| coalesce((SELECT valid_from FROM oracle.odd_dim WHERE code = c AND "re gion" = region AND valid_from <= at
			ORDER BY valid_from DESC LIMIT 1), '-infinity') END \$\$;
	CREATE VIEW oracle.sales AS
	SELECT e.*, oracle.reason(e.at AT TIME ZONE $zone) AS reason FROM (SELECT DISTINCT ON (order_id, line) * FROM oracle.orders_events
		ORDER BY order_id, line, at_lsn DESC) e WHERE there AND status IS DISTINCT FROM 'void';
	CREATE VIEW oracle.visit AS
	SELECT e.*, oracle.reason(e.at) AS reason, oracle.reason(e.day) AS day_reason FROM (SELECT DISTINCT ON (visit_id) *
		FROM oracle.visits_events ORDER BY visit_id, at_lsn DESC) e WHERE there;
	};
}

# results: both sides as lines of text, without surrogate keys and load ids.
sub results
{
	my $zone = q{(SELECT time_zone FROM walhouse.feed)};
	return qq{
	CREATE FUNCTION oracle.expected() RETURNS text LANGUAGE plpgsql SET TimeZone = 'UTC' AS \$\$
	BEGIN RETURN (SELECT string_agg(line, E'\\n' ORDER BY line COLLATE "C") FROM (
		SELECT 'customer ' || ROW(customer_id, new_name, city, score, level, md5(bio), valid_from, valid_to, valid_to = 'infinity', false)::text AS line
			FROM oracle.customer
		@{[join("\n", map { "UNION ALL SELECT 'kept_$_ ' || ROW(customer_id, name, name_previous, city, score, level, level_current, md5(bio),
			valid_from, valid_to, valid_to = 'infinity', false"
			. ($_ eq 'tombstone' ? ', is_deleted' : '') . ")::text FROM oracle.kept_$_" } @deletes)]}
		UNION ALL SELECT 'person ' || ROW(customer_id, new_name, valid_from, valid_to, valid_to = 'infinity', false)::text FROM oracle.person
		UNION ALL SELECT 'odd ' || ROW(new_code, new_re, label, new_select, valid_from, valid_to, valid_to = 'infinity', false)::text FROM oracle.odd_dim
		UNION ALL SELECT 'sales ' || ROW(order_id, line, customer_id, referrer_id, code, region, at, amount, amount * 2, ratio, md5(note),
			oracle.customer_at(customer_id, at), oracle.customer_at(referrer_id, at), oracle.odd_at(code, region, at),
			(at AT TIME ZONE $zone)::date)::text FROM oracle.sales WHERE reason IS NULL
		UNION ALL SELECT 'visit ' || ROW(visit_id, customer_id, at, day, pages, oracle.customer_at(customer_id, at AT TIME ZONE $zone),
			oracle.kept_at('purge', customer_id, at AT TIME ZONE $zone),
			CASE WHEN pages = 5 THEN 'error' ELSE coalesce(pages::text, 'null') END, to_char(at, 'HH24:MI'), CASE WHEN isfinite(day) THEN day END)::text FROM oracle.visit WHERE reason IS NULL
		UNION ALL SELECT 'visit_day ' || ROW(visit_id, customer_id, day,
			oracle.customer_at(customer_id, day::timestamp AT TIME ZONE $zone),
			oracle.kept_at('tombstone', customer_id, day::timestamp AT TIME ZONE $zone))::text FROM oracle.visit WHERE day_reason IS NULL
		UNION ALL SELECT 'rejected dw.sales ' || ROW(ARRAY[order_id::text, line::text], reason)::text FROM oracle.sales WHERE reason IS NOT NULL
		UNION ALL SELECT 'rejected dw.visit ' || ROW(ARRAY[visit_id::text], reason)::text FROM oracle.visit WHERE reason IS NOT NULL
		UNION ALL SELECT 'rejected dw.visit_day ' || ROW(ARRAY[visit_id::text], day_reason)::text FROM oracle.visit WHERE day_reason IS NOT NULL
		) x); END \$\$;

	CREATE FUNCTION oracle.found() RETURNS text LANGUAGE plpgsql SET TimeZone = 'UTC' AS \$\$
	BEGIN RETURN (SELECT string_agg(line, E'\\n' ORDER BY line COLLATE "C") FROM (
		SELECT 'customer ' || ROW(customer_id, name, city, score, level, md5(bio), valid_from, valid_to, is_current, is_inferred)::text AS line
			FROM dw.customer WHERE customer_sk > 0 AND NOT is_inferred
		@{[join("\n", map { "UNION ALL SELECT 'kept_$_ ' || ROW(customer_id, name, name_previous, city, score, level, level_current, md5(bio),
			valid_from, valid_to, is_current, is_inferred"
			. ($_ eq 'tombstone' ? ', is_deleted' : '') . ")::text FROM dw.kept_$_ WHERE kept_${_}_sk > 0 AND NOT is_inferred" } @deletes)]}
		UNION ALL SELECT 'person ' || ROW(customer_id, name, valid_from, valid_to, is_current, is_inferred)::text
			FROM dw.person WHERE person_sk > 0 AND NOT is_inferred
		UNION ALL SELECT 'odd ' || ROW("the code", "re gion", label, "select", valid_from, valid_to, is_current, is_inferred)::text
			FROM dw.odd_dim WHERE odd_dim_sk > 0 AND NOT is_inferred
		UNION ALL SELECT 'sales ' || ROW(order_id, line, s.customer_id, referrer_id, code, region, "When ""it"" was", amount, doubled, ratio, md5(note),
			CASE WHEN c.customer_sk = -1 THEN 'unknown' ELSE c.customer_id || ' from ' || c.valid_from END,
			CASE WHEN r.customer_sk = -1 THEN 'unknown' ELSE r.customer_id || ' from ' || r.valid_from END,
			CASE WHEN o.odd_dim_sk = -1 THEN 'unknown' ELSE trim_scale(o."the code") || o."re gion" || ' from ' || o.valid_from END,
			d.date)::text
			FROM dw.sales s LEFT JOIN dw.customer c ON c.customer_sk = s.customer_sk LEFT JOIN dw.customer r ON r.customer_sk = s."referrer sk"
				LEFT JOIN dw.odd_dim o ON o.odd_dim_sk = s.odd_sk LEFT JOIN dw.date d ON d.date_sk = s.day_sk
		UNION ALL SELECT 'visit ' || ROW(visit_id, v.customer_id, at, day, v.pages,
			CASE WHEN c.customer_sk = -1 THEN 'unknown' ELSE c.customer_id || ' from ' || c.valid_from END,
			CASE WHEN p.kept_purge_sk = -1 THEN 'unknown' ELSE p.customer_id || ' from ' || p.valid_from END,
			CASE WHEN v.flags_sk = -3 THEN 'error' ELSE coalesce(g.pages::text, 'null') END, m.label, d.date)::text
			FROM dw.visit v LEFT JOIN dw.flags g ON g.flags_sk = v.flags_sk LEFT JOIN dw.minute m ON m.minute_sk = v.minute_sk LEFT JOIN dw.kept_purge p ON p.kept_purge_sk = v.purge_sk LEFT JOIN dw.customer c ON c.customer_sk = v.customer_sk LEFT JOIN dw.date d ON d.date_sk = v.day_sk
		UNION ALL SELECT 'visit_day ' || ROW(visit_id, v.customer_id, day,
			CASE WHEN c.customer_sk = -1 THEN 'unknown' ELSE c.customer_id || ' from ' || c.valid_from END,
			CASE WHEN k.kept_tombstone_sk = -1 THEN 'unknown' ELSE k.customer_id || ' from ' || k.valid_from END)::text
			FROM dw.visit_day v LEFT JOIN dw.kept_tombstone k ON k.kept_tombstone_sk = v.kept_sk LEFT JOIN dw.customer c ON c.customer_sk = v.customer_sk
		UNION ALL SELECT 'rejected ' || model || ' ' || ROW(key, reason)::text FROM walhouse.rejected
		) x); END \$\$;
	};
}
