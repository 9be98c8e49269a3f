# P3 for models over several tables: one random history of eight tables, cut into batches in many ways (one batch, one source
# transaction at a time, random cuts, models built late or built again on the way), gives the same dimensions, facts and
# rejected rows, and they are what the source's own history says. verify() agrees at random positions, too.
#
# The oracle knows nothing of change logs: after every commit of the source the models' queries run on the source's tables as
# they are then, and what they gave is kept. Facts are the last of these results; versions of dimensions follow from the
# succession of them by the rules of the design.
#
# The models: lines with their header and a look-up of three steps, one table twice (fact); headers with a customer in a comma
# join and an address beyond (fact); customers with address and 1:1 extension by LEFT JOIN; products with a nested
# LEFT JOIN; customers and their tags, where nothing proves that the key is unique; a query that cannot always be computed.
#
# SEEDS="1 2 3" chooses the histories, TRANSACTIONS their length.
#
# Deliberate mistakes, each tried once; every one of these makes this test fail:
#   the images that a range began with are not there
#   the mirror is asked for rows that the log names, too
#   changes after the load's position are not undone
#   changes of look-ups are not followed to the driving table
#   only new images of look-ups are followed
#   rows of the other tables are looked up for the last images of the driving table alone
#   rows of different points meet
#   a key that the query does not give any more has not ended
#   the ends of intervals are no points; an interval holds at its end, too
#   LEFT JOIN is JOIN at points; LEFT JOIN is JOIN in a state
#   a delete and re-insert of the same row is no change
#   the query's condition is not asked at points
#   rows that are equal by operator are not written (1.0 and 1.00)
#   a batch that only removes rows does nothing
# And these make the regress test model_joins fail:
#   the condition of a LEFT JOIN leads to its left side
#   a model's horizon is its driving table's
#   keys are not counted in loads, at commits; keys are not counted in builds
#   a commit that cannot be computed is not passed over
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use WalhouseHistory;
use Test::More;

my $transactions = $ENV{TRANSACTIONS} || 100;
my @zones = ('Europe/Berlin', 'America/Havana', 'UTC');
my @tables = qw(orders lines products categories customers addresses profiles tags);
my $now; # when the transaction that is being made commits
my $clock = 0; # the greatest time so far, in hours
my $node = one_server();

my %query = (
	sales => q{SELECT o.order_id, l.line, o.at, o.customer_id, p.name AS product, c.title AS category, pc.title AS "parent ""cat""",
		l.qty * p.price AS amount, CASE WHEN l.qty > 1 THEN upper(o.status) ELSE l.note END AS label
		FROM (shop.lines l JOIN shop.orders o USING (order_id)) LEFT JOIN shop.products p ON p.product_id = l.product_id
			LEFT JOIN shop.categories c ON c.category_id = p.category_id
			LEFT JOIN shop.categories pc ON pc.category_id = c.parent_id AND pc.title IS DISTINCT FROM 'secret'
		WHERE o.status IS DISTINCT FROM 'void' AND coalesce(c.title, '') <> 'hidden'},
	heads => q{SELECT o.order_id, o.at AT TIME ZONE 'UTC' AS at, o.customer_id, c.name, a.city
		FROM shop.orders o, shop.customers c LEFT JOIN shop.addresses a USING (address_id)
		WHERE c.customer_id = o.customer_id AND o.order_id > 0},
	customer => q{SELECT customer_id, c.name, a.city, a.country, p.level, p.score
		FROM shop.customers c LEFT JOIN shop.addresses a USING (address_id) LEFT JOIN shop.profiles p USING (customer_id)
		WHERE c.active IS NOT FALSE},
	product => q{SELECT p.product_id, p.name, p.price, c.title, pc.title AS parent
		FROM shop.products p LEFT JOIN (shop.categories c JOIN shop.categories pc ON pc.category_id = c.parent_id)
			ON c.category_id = p.category_id},
	tagged => q{SELECT c.customer_id, t.kind, c.name, t.weight
		FROM shop.customers c JOIN shop.tags t ON t.customer_id = c.customer_id},
	ratio => q{SELECT c.customer_id, 12 / p.points AS share FROM shop.customers c JOIN shop.profiles p ON p.customer_id = c.customer_id});
my %dimension = ( # key, versioned columns, columns of type 1
	customer => ['customer_id', 'city, country, level, score', 'name'],
	product => ['product_id', 'name, price, title, parent', ''],
	tagged => ['customer_id, kind', 'name, weight', ''],
	ratio => ['customer_id', 'share', '']);

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
	query($db, join("\n", map { insert_row() } 1 .. 120));
	query($db, 'UPDATE shop.profiles SET points = 1 WHERE points = 0');
	query($db, $_) for map { "SELECT handfeed.add('shop', 'shop.$_')" } @tables;
	query($db, oracle());
	query($db, "CALL oracle.look('0/0', '-infinity')");
	$clock = 0;
	query($db, join("\n", (map { transaction($_) } 1 .. $transactions), ending()));

	my @lsns = split /\n/, query($db, 'SELECT end_lsn FROM shop_log.txn ORDER BY end_lsn');
	my $expected = query($db, 'SELECT oracle.expected()');
	cmp_ok(scalar(split /\n/, $expected), '>', 50, 'enough is expected');
	cut_in_many_ways(sub { compare($db, $expected, @_) }, @lsns);
}

# compare builds the star at $start, loads it in batches up to each of $cuts, and compares it with the oracle.
sub compare
{
	my ($db, $expected, $name, $cuts, $start, $rebuild) = @_;
	my @models = map { "dw.$_" } qw(customer product tagged ratio sales heads);
	my $verify = verification(grep { $_ ne 'dw.ratio' } @models);

	query($db, declare());
	query($db, "DELETE FROM walhouse.feed_position WHERE position > '0/1000'; SELECT handfeed.reach('shop', '$start')");
	# The query of dw.ratio may fail at the start: it stops then, and is tried again.
	$_ eq 'dw.ratio' ? $node->psql($db, "CALL walhouse.build('$_')") : query($db, "CALL walhouse.build('$_')") for @models;
	load_and_verify(sub { query($db, @_) }, $name, $cuts, $verify, $rebuild);
	for my $model (split /\n/, query($db, "SELECT relation FROM walhouse.model WHERE state IN ('stopped', 'rebuild')"))
	{
		query($db, "CALL walhouse.build('$model')");
	}
	is(query($db, "SELECT relation, state, error FROM walhouse.model WHERE state <> 'live'"), '', "$name: all models are live");
	is(query($db, $verify), '', "$name: verify finds nothing");
	my $found = query($db, 'SELECT oracle.found()');
	ok($found eq $expected, "$name: as the oracle says") or show_difference($expected, $found);
	query($db, "SELECT walhouse.drop_model('$_')") for reverse @models;
	query($db, 'DROP SCHEMA dw CASCADE');
}

sub query
{
	my ($db, $statement) = @_;
	return $node->safe_psql($db, "SET client_min_messages = warning;\n$statement");
}

# ---- the source

sub tables
{
	return q{
	CREATE TABLE shop.orders (order_id int PRIMARY KEY, customer_id int, at timestamptz, status text, gone int, unused text);
	ALTER TABLE shop.orders DROP COLUMN gone;
	CREATE TABLE shop.lines (line numeric, product_id int, order_id int, qty numeric, note text, PRIMARY KEY (order_id, line));
	ALTER TABLE shop.lines ALTER COLUMN note SET STORAGE EXTERNAL;
	CREATE TABLE shop.products (product_id int PRIMARY KEY, name text, price numeric, category_id int);
	CREATE TABLE shop.categories (category_id bigint PRIMARY KEY, title text, parent_id int);
	CREATE TABLE shop.customers (customer_id int PRIMARY KEY, name text, address_id int, active boolean);
	CREATE TABLE shop.addresses (address_id bigint PRIMARY KEY, city text, country text);
	CREATE TABLE shop.profiles (customer_id int PRIMARY KEY, level numeric, score float8, points int);
	CREATE TABLE shop.tags (tag_id int PRIMARY KEY, customer_id int, kind text NOT NULL, weight int, UNIQUE (customer_id, kind));
	};
}

sub transaction
{
	my ($n) = @_;
	my $hours = $n * 12 - (rand() < 0.1 ? 100 : 0);

	# Many transactions commit at one time; few commit earlier than the one before.
	$hours = $clock if rand() < 0.4;
	$clock = $hours if $hours > $clock;
	$now = "timestamptz '2026-02-01 00:00+00' + interval '$hours hours'";
	return join("\n", (map { statement() } 1 .. 1 + int(rand(5))), "CALL oracle.commit($now);");
}

# ending mends what the last transactions left that cannot be computed, and brings what chance seldom does: a header that
# comes after its line and goes before it, each alone in a transaction, and a product of 1.0 that becomes 1.00.
sub ending
{
	return join("\n", map { "$_; CALL oracle.commit($now);" } 'UPDATE shop.profiles SET points = 3 WHERE points = 0',
		"INSERT INTO shop.lines VALUES (1, 90, 90, 1.0, NULL), (1, 90, 91, 1.0, NULL); INSERT INTO shop.products VALUES (90, 'p', 1, NULL)",
		"INSERT INTO shop.orders VALUES (90, 1, '2026-02-03 00:00+00', 'open', ''), (91, 1, '2026-02-03 00:00+00', 'open', '')",
		'UPDATE shop.products SET price = 1.0 WHERE product_id = 90', 'UPDATE shop.lines SET qty = 1.00 WHERE order_id = 90',
		'DELETE FROM shop.orders WHERE order_id = 91');
}

sub statement
{
	my $r = rand();
	return insert_row() if $r < 0.35;
	return update_row() if $r < 0.72;
	return delete_row() if $r < 0.84;
	return change_key() if $r < 0.94;
	return pick('UPDATE shop.orders SET unused = ' . text() . ';', 'UPDATE shop.products SET name = name;', 'SELECT;') if $r < 0.99;
	my $table = 'shop.' . pick(@tables);
	return "TRUNCATE $table; " . insert_row() . insert_row();
}

sub insert_row
{
	my $table = pick(@tables, 'lines', 'lines', 'orders', 'customers');
	return "INSERT INTO shop.$table VALUES (" . {
		orders => sub { join ', ', id(), nid(), instant(), status(), text() },
		lines => sub { join ', ', line(), nid(), id(), numeric(), text() },
		products => sub { join ', ', id(), text(), numeric(), nid() },
		categories => sub { join ', ', id(), title(), nid() },
		customers => sub { join ', ', id(), text(), nid(), pick('true', 'true', 'false', 'NULL') },
		addresses => sub { join ', ', id(), text(), text() },
		profiles => sub { join ', ', id(), numeric(), float(), pick(0, 1, 2, 3, 'NULL') },
		tags => sub { join ', ', 1 + int(rand(12)), nid(), pick("'a'", "'b'"), id() }
	}->{$table}->() . ') ON CONFLICT DO NOTHING;';
}

sub update_row
{
	my $id = id();
	return pick(
		'UPDATE shop.orders SET ' . pick('customer_id = ' . nid(), 'at = ' . instant(), 'status = ' . status()) . " WHERE order_id = $id;",
		'UPDATE shop.lines SET ' . pick('product_id = ' . nid(), 'qty = ' . numeric(), 'note = ' . text()) . " WHERE order_id = $id;",
		'UPDATE shop.products SET ' . pick('name = ' . text(), 'price = ' . numeric(), 'category_id = ' . nid()) . " WHERE product_id = $id;",
		'UPDATE shop.categories SET ' . pick('title = ' . title(), 'parent_id = ' . nid()) . " WHERE category_id = $id;",
		'UPDATE shop.customers SET ' . pick('name = ' . text(), 'address_id = ' . nid(), 'address_id = ' . nid(),
			'active = ' . pick('true', 'false')) . " WHERE customer_id = $id;",
		'UPDATE shop.addresses SET ' . pick('city = ' . text(), 'country = ' . text()) . " WHERE address_id = $id;",
		'UPDATE shop.profiles SET ' . pick('level = ' . numeric(), 'score = ' . float(), 'points = ' . pick(0, 1, 2)) . " WHERE customer_id = $id;",
		'UPDATE shop.tags SET weight = ' . id() . ' WHERE tag_id = ' . (1 + int(rand(12))) . ';');
}

sub delete_row
{
	my ($table, $column) = @{pick(keys_of())};
	my $id = id();
	my $again = rand() < 0.3 ? insert_row() : '';
	# The header before its lines, the lines before their header, both at once.
	return pick("DELETE FROM shop.orders WHERE order_id = $id;", "DELETE FROM shop.lines WHERE order_id = $id;",
		"DELETE FROM shop.orders WHERE order_id = $id; DELETE FROM shop.lines WHERE order_id = $id;") if rand() < 0.3;
	return "DELETE FROM shop.$table WHERE $column = $id; $again";
}

sub keys_of
{
	return (['orders', 'order_id'], ['lines', 'line'], ['products', 'product_id'], ['categories', 'category_id'],
		['customers', 'customer_id'], ['addresses', 'address_id'], ['profiles', 'customer_id'], ['tags', 'tag_id']);
}

sub change_key
{
	my ($table, $column) = @{pick(grep { $_->[0] ne 'lines' && $_->[0] ne 'tags' } keys_of())};
	my ($a, $b) = (id(), id());
	return '' if $a == $b;
	return 'UPDATE shop.lines SET line = line + 0.00 WHERE order_id = ' . $a . ';' if rand() < 0.2;
	return "UPDATE shop.$table SET $column = $b WHERE $column = $a AND NOT EXISTS (SELECT FROM shop.$table WHERE $column = $b);"
		if rand() < 0.5;
	return "UPDATE shop.$table SET $column = -1 WHERE $column = $a; UPDATE shop.$table SET $column = $a WHERE $column = $b;"
		. " UPDATE shop.$table SET $column = $b WHERE $column = -1;";
}

sub id { return 1 + int(rand(8)) }
sub nid { return rand() < 0.1 ? 'NULL' : rand() < 0.1 ? 77 : id() }
sub line { return pick('1', '1.0', '1.00', '2', '3') }
sub text { return pick("'Bonn'", "'Rom'", "''", 'NULL', "'O''Hara \\ \"x\"'", "repeat('toast ', 2000)") }
sub title { return pick("'hidden'", "'secret'", "'books'", "'music'", 'NULL') }
sub status { return pick("'open'", "'open'", "'void'", 'NULL') }
sub numeric { return pick('1.0', '1.00', '1', '2', "'NaN'", "'Infinity'", 'NULL', '0') }
sub float { return pick("'NaN'", "'-0'", '0', '1.5', "'-Infinity'", 'NULL') }
sub instant
{
	return pick('NULL', "'infinity'", "'0044-03-15 12:00+00 BC'", "'2026-03-31 22:00+00'") if rand() < 0.15;
	return sprintf("timestamptz '2026-02-01 00:00+00' + interval '%d hours'", int(rand($transactions * 14)) - 200);
}

# ---- the star

sub declare
{
	my $dimensions = join "\n", map {
		my ($key, undef, $type1) = @{$dimension{$_}};
		$key =~ s/ //g;
		my $scd = join ', ', '"*": 2', map { "\"$_\": 1" } split /, /, $type1;
		"SELECT walhouse.create_dimension('dw.$_', \$q\$$query{$_}\$q\$, '{$key}', '{$scd}');" } sort keys %dimension;
	return qq{
	CREATE SCHEMA dw;
	$dimensions
	SELECT walhouse.create_fact('dw.sales', \$q\$$query{sales}\$q\$, '{order_id,line}', 'at', '{"customer_sk": "dw.customer(customer_id)"}');
	SELECT walhouse.create_fact('dw.heads', \$q\$$query{heads}\$q\$, '{order_id}', 'at', '{"customer_sk": "dw.customer(customer_id)"}', 'year');
	};
}

# ---- the oracle

# oracle.look keeps what the queries give after a commit; what cannot be computed is kept as that.
sub oracle
{
	my %kept = (%query, ratio => q{SELECT c.customer_id, CASE WHEN p.points <> 0 THEN 12 / p.points END AS share, p.points = 0 AS is_bad
		FROM shop.customers c JOIN shop.profiles p ON p.customer_id = c.customer_id});
	my $tables = join "\n", map { "CREATE TABLE oracle.$_ AS SELECT NULL::pg_lsn AS lsn, NULL::timestamptz AS clock, q.* FROM ($kept{$_}) q LIMIT 0;" } sort keys %kept;
	my $looks = join "\n", map { "INSERT INTO oracle.$_ SELECT a_lsn, a_time, q.* FROM ($kept{$_}) q;" } sort keys %kept;
	return join "\n", qq{
	CREATE SCHEMA oracle;
	$tables
	CREATE TABLE oracle.moment (lsn pg_lsn, clock timestamptz);
	CREATE PROCEDURE oracle.look(a_lsn pg_lsn, a_time timestamptz) LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO oracle.moment VALUES (a_lsn, a_time);
		$looks
	END \$\$;
	CREATE PROCEDURE oracle.commit(a_time timestamptz) LANGUAGE plpgsql AS \$\$
	DECLARE
		a_lsn pg_lsn := handfeed.commit('shop', a_time);
	BEGIN
		a_time := (SELECT clock FROM shop_log.txn WHERE end_lsn = a_lsn);
		CALL oracle.look(a_lsn, a_time);
	END \$\$;
	}, (map { versions($_) } sort keys %dimension), results();
}

# versions: a dimension's by the rules: each moment tells of each key whether it was there, and how.
sub versions
{
	my ($name) = @_;
	my ($key, $type2, $type1) = @{$dimension{$name}};
	my $image = "ROW($type2)::text"; # tells NULL from '', -0 from 0, 1.0 from 1.00
	my $bad = $name eq 'ratio' ? 'coalesce(s.is_bad, false)' : 'false';
	my $columns = join ', ', map { "s.$_" } grep { length } split /, /, "$type2, $type1";
	my @last = split /, /, $type1;
	my $match = join ' AND ', map { "l.$_ = v.$_" } split /, /, $key;
	my $values = join '', map { ", (SELECT l.$_ FROM e l WHERE $match AND l.live ORDER BY l.lsn DESC LIMIT 1) AS new_$_" } @last;
	return qq{
	CREATE VIEW oracle.${name}_version AS
	WITH k AS (SELECT DISTINCT $key FROM oracle.$name),
	e AS (SELECT $key, m.lsn, m.clock, s.lsn IS NOT NULL AS live, $columns
		FROM k CROSS JOIN oracle.moment m LEFT JOIN (SELECT lsn AS there, * FROM oracle.$name) s USING ($key, lsn) WHERE NOT $bad),
	x AS (SELECT *, coalesce(lag(live) OVER w, false) AS was_live, lag($image) OVER w AS was FROM e
		WINDOW w AS (PARTITION BY $key ORDER BY lsn)),
	b AS (SELECT *, row_number() OVER w AS n FROM x WHERE live <> was_live OR (live AND $image IS DISTINCT FROM was)
		WINDOW w AS (PARTITION BY $key ORDER BY lsn)),
	f AS (SELECT *, CASE WHEN n = 1 THEN '-infinity' ELSE max(clock - n * interval '1 microsecond') FILTER (WHERE n > 1) OVER w
		+ n * interval '1 microsecond' END AS valid_from FROM b WINDOW w AS (PARTITION BY $key ORDER BY n)),
	v AS (SELECT *, lead(valid_from, 1, 'infinity') OVER (PARTITION BY $key ORDER BY n) AS valid_to FROM f)
	SELECT v.*$values FROM v WHERE live;
	} =~ s/s\.lsn IS NOT NULL/s.there IS NOT NULL/r;
}

# results: both sides as lines of text, without surrogate keys and load ids.
sub results
{
	my $zone = q{(SELECT time_zone FROM walhouse.feed)};
	my $sales = 'order_id, line, at, customer_id, md5(product), category, "parent ""cat""", amount, md5(label)';
	my $heads = 'order_id, at, customer_id, md5(name), md5(city)';
	my $last = '(SELECT max(lsn) FROM oracle.moment)';
	my $lines = sub {
		my ($from, $new, $current) = @_;
		return join ' UNION ALL ', map {
			my ($key, $type2, $type1) = @{$dimension{$_}};
			my $columns = join ', ', $key, (map { /name|city|country/ ? "md5($_)" : $_ } split /, /, $type2),
				(map { "md5($new$_)" } split /, /, $type1), 'valid_from', 'valid_to';
			"SELECT '$_ ' || ROW($columns, $current)::text AS line FROM " . $from =~ s/NAME/$_/gr } sort keys %dimension;
	};
	my $expected = $lines->('oracle.NAME_version', 'new_', "valid_to = 'infinity'");
	my $found = $lines->('dw.NAME WHERE NAME_sk > 0 AND NOT is_inferred', '', 'is_current');
	return qq{
	CREATE FUNCTION oracle.reason(at timestamp) RETURNS text LANGUAGE sql AS \$\$
		SELECT CASE WHEN at IS NULL THEN 'event time is null' WHEN NOT isfinite(at) THEN 'event time is infinite'
			WHEN at < date_trunc('year', now()::timestamp) - interval '100 years'
				OR at >= date_trunc('year', now()::timestamp) + interval '101 years' THEN 'event time is outside the bounds' END \$\$;
	CREATE FUNCTION oracle.customer_at(id bigint, at timestamptz) RETURNS text LANGUAGE sql AS \$\$
		SELECT CASE WHEN id IS NULL THEN 'unknown' ELSE id || ' from ' || coalesce((SELECT valid_from FROM oracle.customer_version
			WHERE customer_id = id AND valid_from <= at ORDER BY valid_from DESC LIMIT 1), '-infinity') END \$\$;
	CREATE FUNCTION oracle.expected() RETURNS text LANGUAGE plpgsql SET TimeZone = 'UTC' AS \$\$
	BEGIN RETURN (SELECT string_agg(line, E'\\n' ORDER BY line COLLATE "C") FROM ($expected
		UNION ALL SELECT 'sales ' || ROW($sales, oracle.customer_at(customer_id, at))::text
			FROM oracle.sales WHERE lsn = $last AND oracle.reason(at AT TIME ZONE $zone) IS NULL
		UNION ALL SELECT 'heads ' || ROW($heads, oracle.customer_at(customer_id, at AT TIME ZONE $zone))::text
			FROM oracle.heads WHERE lsn = $last AND oracle.reason(at) IS NULL
		UNION ALL SELECT 'rejected dw.sales ' || ROW(ARRAY[order_id::text, line::text], oracle.reason(at AT TIME ZONE $zone))::text
			FROM oracle.sales WHERE lsn = $last AND oracle.reason(at AT TIME ZONE $zone) IS NOT NULL
		UNION ALL SELECT 'rejected dw.heads ' || ROW(ARRAY[order_id::text], oracle.reason(at))::text
			FROM oracle.heads WHERE lsn = $last AND oracle.reason(at) IS NOT NULL
		) x); END \$\$;
	CREATE FUNCTION oracle.found() RETURNS text LANGUAGE plpgsql SET TimeZone = 'UTC' AS \$\$
	BEGIN RETURN (SELECT string_agg(line, E'\\n' ORDER BY line COLLATE "C") FROM ($found
		UNION ALL SELECT 'sales ' || ROW($sales, version)::text FROM (SELECT s.*, CASE WHEN c.customer_sk = -1 THEN 'unknown' ELSE
			c.customer_id || ' from ' || c.valid_from END AS version FROM dw.sales s LEFT JOIN dw.customer c ON c.customer_sk = s.customer_sk) s
		UNION ALL SELECT 'heads ' || ROW($heads, version)::text FROM (SELECT s.*, CASE WHEN c.customer_sk = -1 THEN 'unknown' ELSE
			c.customer_id || ' from ' || c.valid_from END AS version FROM dw.heads s LEFT JOIN dw.customer c ON c.customer_sk = s.customer_sk) s
		UNION ALL SELECT 'rejected ' || model || ' ' || ROW(key, reason)::text FROM walhouse.rejected
		) x); END \$\$;
	};
}
