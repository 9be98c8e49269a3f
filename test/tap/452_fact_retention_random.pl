# Retention of facts under random histories: whatever is written, however it is cut into loads, whenever a partition is retired and a model
# built again, a fact has the rows that its query gives with an event time at or above its horizon, in plain SQL; its ledger the bookings of
# these times; its rollups what these rows add up to and what each retired range had when it was retired. SEED=7 plays one history.
use strict;
use warnings;
use FindBin;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $rounds = $ENV{ROUNDS} || 15;
my $node = one_server(conf => "walhouse.worker = off\n");
open my $file, '<', "$FindBin::Bin/../lib/handfeed.sql" or die "handfeed.sql: $!";
sql($node, join('', <$file>));
my $feed;
my $restored = 0;
my $folder = $node->basedir . '/archive';
mkdir $folder or die "$folder: $!";
sql($node, "ALTER SYSTEM SET walhouse.archive_directory = '$folder'");
sql($node, 'SELECT pg_reload_conf()');

for my $seed ($ENV{SEED} || (1 .. 2))
{
	play($seed);
	last unless Test::More->builder->is_passing;
}
isnt($restored, 0, 'ranges came back');
$node->stop;
done_testing();

sub pick { return $_[int rand @_] }

# play SEED: a history in a schema of its own.
sub play
{
	my ($seed) = @_;
	srand $seed;
	$feed = "shop$seed";
	my $dw = "dw$seed";
	my $now = 0;
	sql($node, qq{
		SET client_min_messages = warning;
		SELECT handfeed.make('$feed', 'Europe/Berlin');
		CREATE TABLE $feed.customers (customer_id int PRIMARY KEY, region text);
		CREATE TABLE $feed.sales (sale_id int PRIMARY KEY, customer_id int, at timestamptz, amount numeric);
		CREATE TABLE $feed.items (sale_id int, line int, amount numeric, PRIMARY KEY (sale_id, line));
		CREATE TABLE $feed.booked (sale_id int, at timestamptz, amount numeric, is_reversal boolean);
		SELECT handfeed.add('$feed', '$feed.customers'); SELECT handfeed.add('$feed', '$feed.sales'); SELECT handfeed.add('$feed', '$feed.items');
		CREATE FUNCTION $feed.book() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
			IF TG_OP = 'UPDATE' AND NEW IS NOT DISTINCT FROM OLD THEN RETURN NULL; END IF;
			IF TG_OP <> 'INSERT' THEN INSERT INTO $feed.booked VALUES (OLD.sale_id, OLD.at, -OLD.amount, true); END IF;
			IF TG_OP <> 'DELETE' THEN INSERT INTO $feed.booked VALUES (NEW.sale_id, NEW.at, NEW.amount, false); END IF;
			RETURN NULL; END \$\$;
		CREATE TRIGGER book AFTER INSERT OR UPDATE OR DELETE ON $feed.sales FOR EACH ROW EXECUTE FUNCTION $feed.book();
		CREATE SCHEMA $dw;
		SELECT walhouse.create_dimension('$dw.customer', 'SELECT customer_id, region FROM $feed.customers', '{customer_id}');
		SELECT walhouse.create_fact('$dw.sale', 'SELECT sale_id, customer_id, at, amount FROM $feed.sales', '{sale_id}', 'at', '{"customer_sk": "$dw.customer(customer_id)"}');
		SELECT walhouse.create_fact('$dw.item', 'SELECT i.sale_id, i.line, s.at, i.amount FROM $feed.items i JOIN $feed.sales s USING (sale_id)', '{sale_id,line}', 'at');
		SELECT walhouse.create_fact('$dw.ledger', 'SELECT sale_id, customer_id, at, amount FROM $feed.sales', '{sale_id}', 'at', corrections => 'reverse', measures => '{amount}');
		SELECT walhouse.create_rollup('$dw.monthly', '$dw.sale', '{customer_id}', '{"n": "count(*)", "amount": "sum(amount)", "most": "max(amount)", "kinds": "count(distinct amount)"}', bucket => 'week');
		SELECT walhouse.create_periodic_snapshot('$dw.stock', '$dw.sale', '{customer_id}', '{"amount": "balance(amount)", "last": "last(amount)"}', period => 'month', fill => false);
		CREATE TABLE $feed.retired AS SELECT * FROM $dw.sale LIMIT 0;
		INSERT INTO $feed.customers SELECT i, 'r' || i FROM generate_series(1, 6) i;
		SELECT handfeed.commit('$feed', '2100-01-01 00:00+00'); SELECT handfeed.reach('$feed');
	});
	# Procedures commit, so each is a statement of its own.
	sql($node, "CALL walhouse.build('$_')") for map { "$dw.$_" } qw(customer sale item ledger monthly stock);
	for my $fact (qw(sale item ledger))
	{
		sql($node, "SELECT walhouse.create_partition_set('$dw.$fact', 'month', zone => 'Europe/Berlin', lead_count => 0, lead => '0 days', retire_after => '50 days', archive => true)");
	}
	for my $round (1 .. $rounds)
	{
		for (1 .. 1 + int rand 6)
		{
			$now += int rand 3;
			sql($node, change($now) . "; SELECT handfeed.commit('$feed', timestamptz '2100-01-01 12:00+00' + $now * interval '1 day')");
			next if rand() < 0.4;
			load();
		}
		load();
		retire($dw, pick(qw(sale sale item ledger)), $now) if rand() < 0.6;
		restore($dw, pick(qw(sale item))) if rand() < 0.15;
		# With a fact what is made of it.
		sql($node, "CALL walhouse.build('$dw.$_')") for rand() < 0.8 ? () : pick([qw(sale monthly stock)], ['item'], ['ledger'], ['monthly'], ['stock'])->@*;
		sql($node, "CALL walhouse.build('$_')") for split / /, value($node, "SELECT coalesce(string_agg(model::text, ' '), '') FROM walhouse.stat_model WHERE state = 'rebuild'");
		sql($node, "CALL walhouse.load('$feed')");
		compare($dw, "seed $seed, round $round");
		return unless Test::More->builder->is_passing;
	}
	isnt(value($node, "SELECT count(*) FROM $feed.retired"), '0', "seed $seed: rows were retired");
	isnt(value($node, "SELECT sum(late_changes) FROM walhouse.stat_model WHERE model::text LIKE '$dw.%'"), '0', "seed $seed: and changed then");
	verify_clean($node, "seed $seed", map { "$dw.$_" } qw(sale item ledger monthly stock));
	return;
}

sub load
{
	sql($node, "SELECT handfeed.reach('$feed')");
	sql($node, 'SET walhouse.load_path = ' . pick(qw(auto auto sql)) . "; CALL walhouse.load('$feed')");
	return;
}

# change NOW: a source transaction in which each sale is touched once at most. Event times lie up to four months back.
sub change
{
	my ($now) = @_;
	my $at = sub { my $back = rand() < 0.6 ? int rand 20 : int rand 120; return sprintf "timestamptz '2100-01-01 08:00+00' + %d * interval '1 day' + %d * interval '1 minute'", $now - $back, int rand 1440 };
	my $some = sub { return '(SELECT sale_id FROM ' . $feed . '.sales ORDER BY md5(sale_id::text || ' . int(rand 1e6) . ') LIMIT ' . (1 + int rand 4) . ')' };
	my @kinds = (
		sub { my $n = int rand 1e8; return "INSERT INTO $feed.sales SELECT $n + i, 1 + (i * $n) % 8, " . $at->() . " + i * interval '9 days' - interval '18 days', (i * $n) % 50 FROM generate_series(1, 4) i; INSERT INTO $feed.items SELECT $n + i, l, i + l FROM generate_series(1, 4) i, generate_series(1, 2) l" },
		sub { return "UPDATE $feed.sales SET amount = amount + " . int(rand 3) . " WHERE sale_id IN " . $some->() },
		sub { return "UPDATE $feed.sales SET at = " . $at->() . " WHERE sale_id IN " . $some->() },
		sub { return "UPDATE $feed.sales SET at = at + interval '40 days', customer_id = 1 + customer_id % 8 WHERE at < timestamptz '2100-01-01' + $now * interval '1 day' - interval '40 days' AND sale_id IN " . $some->() },
		sub { return "DELETE FROM $feed.sales WHERE sale_id IN " . $some->() },
		sub { return "UPDATE $feed.items SET amount = amount * 2 WHERE sale_id IN " . $some->() },
		sub { return "DELETE FROM $feed.items WHERE line = 2 AND sale_id IN " . $some->() },
		sub { return "UPDATE $feed.customers SET region = region || 'x' WHERE customer_id = " . (1 + int rand 6) },
		sub { return "INSERT INTO $feed.customers VALUES (7, 'new') ON CONFLICT DO NOTHING" },
	);
	return pick(@kinds[0, 0, 0 .. $#kinds])->();
}

# retire DW, FACT, NOW: what is 50 days old by then goes; what the fact had of it is written down before, for the rollups.
sub retire
{
	my ($dw, $fact, $now) = @_;
	my $at = "(timestamptz '2100-01-01 12:00+00' + $now * interval '1 day')";
	my $was = value($node, "SELECT coalesce(retired_to, '-infinity') FROM walhouse.stat_model WHERE model = '$dw.$fact'::regclass");
	my $due = value($node, qq{SET timezone = 'UTC'; SELECT greatest('$was'::timestamptz, max("to" AT TIME ZONE 'UTC')) FROM walhouse.fact_partitions('$dw.$fact')
		WHERE (("to" AT TIME ZONE 'UTC') AT TIME ZONE 'Europe/Berlin' + interval '50 days') AT TIME ZONE 'Europe/Berlin' <= $at});
	sql($node, "INSERT INTO $feed.retired SELECT * FROM $dw.sale WHERE at >= '$was' AND at < '$due'") if $fact eq 'sale' && $due ne '';
	sql($node, "SET timezone = 'UTC'; DO \$\$ BEGIN PERFORM set_config('my.at', $at\::text, false); END \$\$; CALL walhouse.maintain_partitions('$dw.$fact', current_setting('my.at')::timestamptz)");
	is(value($node, "SET timezone = 'UTC'; SELECT coalesce(retired_to, '-infinity')::timestamptz FROM walhouse.stat_model WHERE model = '$dw.$fact'::regclass"), $due eq '' ? '-infinity' : $due, "$fact is retired to $due");
	is(value($node, qq{SELECT count(*) FROM walhouse.fact_partitions('$dw.$fact') WHERE "to" <= '} . ($due eq '' ? '-infinity' : $due) . q{'::timestamptz AT TIME ZONE 'UTC'}), '0', 'and what lies before is gone');
	return;
}

# restore DW, FACT: the range that was retired last comes back, and goes again when it is asked for.
sub restore
{
	my ($dw, $fact) = @_;
	my $last = value($node, "SELECT a.from_value FROM walhouse.partition_archives a JOIN walhouse.stat_model m ON m.model = a.parent AND m.retired_to = a.to_value WHERE a.parent = '$dw.$fact'::regclass AND a.restored_to IS NULL");
	return if $last eq '';
	sql($node, "CALL walhouse.restore_partition('$dw.$fact', '$last')");
	sql($node, "SELECT walhouse.unhold_partition(partition) FROM walhouse.partitions WHERE parent = '$dw.$fact'::regclass AND hold IS NOT NULL");
	sql($node, "DELETE FROM $feed.retired WHERE at >= '$last'") if $fact eq 'sale';
	$restored++;
	return;
}

sub compare
{
	my ($dw, $what) = @_;
	my $kept = sub { return "at >= (SELECT coalesce(retired_to, '-infinity')::timestamptz FROM walhouse.stat_model WHERE model = '$dw.$_[0]'::regclass)" };
	my $counted = "(SELECT sale_id, customer_id, at, amount FROM $feed.sales WHERE " . $kept->('sale') . " UNION ALL SELECT sale_id, customer_id, at, amount FROM $feed.retired) r";
	same($node, "$what: the fact", "SELECT sale_id, customer_id, at, amount FROM $feed.sales WHERE " . $kept->('sale'), "SELECT sale_id, customer_id, at, amount FROM $dw.sale");
	same($node, "$what: over two tables", "SELECT i.sale_id, i.line, s.at, i.amount FROM $feed.items i JOIN $feed.sales s USING (sale_id) WHERE " . $kept->('item'), "SELECT sale_id, line, at, amount FROM $dw.item");
	same($node, "$what: the ledger", "SELECT sale_id, at, amount, is_reversal FROM $feed.booked WHERE " . $kept->('ledger'), "SELECT sale_id, at, amount, is_reversal FROM $dw.ledger");
	same($node, "$what: the rollup", "SELECT date_trunc('week', at AT TIME ZONE 'Europe/Berlin')::date, customer_id, count(*), sum(amount), max(amount), count(DISTINCT amount) FROM $counted GROUP BY 1, 2",
		"SELECT period_start, customer_id, n, amount, most, kinds FROM $dw.monthly");
	same($node, "$what: the snapshot", "SELECT DISTINCT customer_id, date_trunc('month', at AT TIME ZONE 'Europe/Berlin')::date, sum(amount) OVER (PARTITION BY customer_id ORDER BY date_trunc('month', at AT TIME ZONE 'Europe/Berlin')) FROM $counted",
		"SELECT customer_id, period_start, amount FROM $dw.stock");
	empty($node, "$what: the members", qq{SELECT s.sale_id FROM $dw.sale s JOIN $dw.customer c USING (customer_sk) WHERE c.customer_id <> s.customer_id OR c.valid_from > s.at});
	return;
}
