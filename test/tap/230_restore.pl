# Dumps, restores and copies. A restored copy and a promoted base backup, with their workers on, beside production: they stop
# with the hint to take over, and never touch production's slot. A copy that is older than the slot is refused after
# takeover too. A dump of the stopped warehouse, restored elsewhere, taken over and run, is the warehouse.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use PostgreSQL::Test::Utils qw(slurp_file);

my ($source, $house) = source_and_house(source => { conf => "log_replication_commands = on\n" });

sql($source, q{
	CREATE TABLE customer (id int PRIMARY KEY, name text, city text);
	CREATE TABLE "Order" (id int PRIMARY KEY, customer int, at timestamptz, amount numeric);
	INSERT INTO customer SELECT i, 'name ' || i, 'Köln' FROM generate_series(1, 50) AS i;
	INSERT INTO "Order" SELECT i, 1 + i % 55, timestamptz '2025-11-01 00:00+00' + i * interval '8 hours', i FROM generate_series(1, 300) AS i;
	CREATE PUBLICATION shop FOR TABLE customer, "Order";
	CREATE SEQUENCE step;
	CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
	DECLARE n int := nextval('step');
	BEGIN
		UPDATE customer SET city = 'Bonn ' || n WHERE id % 7 = n % 7;
		COMMIT;
		UPDATE customer SET city = 'Trier ' || n WHERE id % 11 = n % 11;
		INSERT INTO "Order" SELECT 1000 * n + i, 1 + i, now(), n FROM generate_series(1, 20) AS i;
		COMMIT;
		UPDATE "Order" SET at = at - interval '1 month', amount = amount + 1 WHERE id % 10 = n % 10;
		DELETE FROM "Order" WHERE id % 100 = n % 100;
		DELETE FROM customer WHERE id = n;
		COMMIT;
	END $$;
});
create_server($house, 'shop', $source);
sql($house, q{
	CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop');
	CREATE SCHEMA dw;
	SELECT walhouse.create_date_dimension('dw.date', '2024-01-01', '2028-12-31');
	SELECT walhouse.create_dimension('dw.customer', $$ SELECT id, name, city FROM shop.customer $$, key => '{id}', scd => '{"*": 2, "name": 1}');
	SELECT walhouse.create_mini_dimension('dw.profile', $$ SELECT id, left(city, 4) AS place FROM shop.customer $$, key => '{id}');
	SELECT walhouse.create_dimension('dw.client', $$ SELECT id, name FROM shop.customer $$, key => '{id}', outriggers => '{"profile_sk": "dw.profile(id)"}');
	SELECT walhouse.create_bridge('dw.buyer', $$ SELECT id, customer, 1 AS share FROM shop."Order" $$, key => '{id}', members => '{"client_sk": "dw.client(customer)"}', weight => 'share');
	SELECT walhouse.create_dimension('dw.agreed', $$ SELECT id, amount, at FROM shop."Order" $$, key => '{id}', effective => 'at');
	SELECT walhouse.create_fact('dw.sale', $$ SELECT id, at, customer, amount FROM shop."Order" $$, key => '{id}', event_time => 'at',
		dimensions => '{"customer_sk": "dw.customer(customer)", "date_sk": "dw.date(at)", "profile_sk": "dw.profile(customer)", "agreed_sk": "dw.agreed(id)"}');
	SELECT walhouse.create_fact('dw.ledger', $$ SELECT id, at, customer, amount FROM shop."Order" $$, key => '{id}', event_time => 'booked_at',
		dimensions => '{"customer_sk": "dw.customer(customer)", "agreed_sk": "dw.agreed(id)"}', corrections => 'reverse', measures => '{amount}');
	SELECT walhouse.create_fact('dw.way', $$ SELECT id, at, amount > 5 AS is_large FROM shop."Order" $$, key => '{id}', event_time => 'at',
		dimensions => '{"large_sk": "dw.date(large_at)"}', milestones => '{"large_at": "is_large"}', lags => '{"to_large": ["at", "large_at"]}');
	SELECT walhouse.start('shop');
});
my @models = qw(dw.customer dw.profile dw.profile_history dw.client dw.buyer dw.agreed dw.sale dw.ledger dw.way);
sql($source, 'CALL work()') for 1 .. 3;
ok(models_reach($house, 'shop') && reach($house, 'shop', $source), 'production runs');
verify_clean($house, 'production', @models);

# ---- Two copies of running production: a dump, and a base backup that is promoted.
my $copy = restored('copy');
my $twin = PostgreSQL::Test::Cluster->new('twin');
$house->backup('base');
$twin->init_from_backup($house, 'base', has_streaming => 1);
$twin->start;
ok($twin->safe_psql('postgres', 'SELECT pg_is_in_recovery()') eq 't', 'the twin is a standby');
is($twin->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker'}), '0', 'a standby runs no feed');
$twin->promote;
$copy->restart;

my $active = value($source, 'SELECT active_pid FROM pg_replication_slots');
my $streams = streams();
for my $node ($copy, $twin)
{
	my $name = $node->name;
	is(value($node, 'SHOW walhouse.worker'), 'on', "$name: its workers are on");
	is(value($node, q{SELECT enabled FROM walhouse.feed}), 't', "$name: its feed is to run");
	ok(poll($node, 'postgres', q{SELECT count(*) FROM walhouse.stat_feed WHERE error IS NOT NULL}, '1'), "$name: its state shows an error");
	like(value($node, 'SELECT error FROM walhouse.stat_feed'), qr/takeover|another|elsewhere|copy|restored/i, "$name: which says why");
	fails_with($node, "$name: run is refused, with the hint", q{CALL walhouse.run('shop')}, qr/ERROR/, qr/HINT:.*walhouse\.takeover/);
}
sql($source, 'CALL work()') for 1 .. 3;
ok(reach($house, 'shop', $source), 'production goes on beside its copies');
is(value($source, 'SELECT active_pid FROM pg_replication_slots'), $active, 'one process has held the slot all the time');
is(streams(), $streams, 'nobody else has asked the source for the stream');

# What is durable is confirmed a moment later.
my $old = value($copy, 'SELECT max(position) FROM walhouse.feed_position');
ok(poll($source, 'postgres', "SELECT confirmed_flush_lsn > '$old' FROM pg_replication_slots"), 'the slot moves past the copies');

# ---- Production stops: the slot is free, and still nobody takes it.
sql($house, q{SELECT walhouse.stop('shop')});
ok(poll($source, 'postgres', 'SELECT active FROM pg_replication_slots', 'f'), 'production has stopped');
my $slot = 'SELECT slot_name, plugin, active_pid, restart_lsn, confirmed_flush_lsn, catalog_xmin FROM pg_replication_slots';
my $before = value($source, $slot);
sql($source, 'CALL work()');
for my $node ($copy, $twin)
{
	$node->restart;
	ok(poll($node, 'postgres', q{SELECT count(*) FROM walhouse.stat_feed WHERE error IS NOT NULL}, '1'), $node->name . ': shows an error again');
	fails_with($node, $node->name . ': run is refused while the slot is free', q{CALL walhouse.run('shop')}, qr/HINT:.*walhouse\.takeover/);
}
is(value($source, $slot), $before, 'the slot is as production left it');
is(streams(), $streams, 'nobody has asked for the stream');

# ---- The copy is older than the slot: taking over does not make up for what it lacks.
sql($copy, q{SELECT walhouse.takeover('shop')});
fails_with($copy, 'a copy older than the slot is refused after takeover', q{CALL walhouse.run('shop')},
	qr/ERROR:.*slot.*ahead/, qr/HINT:.*walhouse\.resync.*or restore/);
is(value($source, $slot), $before, 'and has not touched the slot');
$copy->stop;
$twin->stop;

# ---- The real thing: stop, dump, restore, take over, run.
my $heir = restored('heir');
sql($source, 'CALL work()') for 1 .. 2;
fails_with($heir, 'the heir is refused before takeover', q{CALL walhouse.run('shop')}, qr/HINT:.*walhouse\.takeover/);
verify_clean($heir, 'restored, not yet run', @models);
sql($heir, q{SELECT walhouse.takeover('shop')});
sql($heir, q{CALL walhouse.run('shop')});
mirrors_equal($heir, $source, 'shop', 'customer', '"Order"');
verify_clean($heir, 'after takeover and run', @models);
sql($heir, q{SELECT walhouse.start('shop')});
sql($source, 'CALL work()') for 1 .. 2;
ok(reach($heir, 'shop', $source), 'the worker follows in the restored warehouse');
verify_clean($heir, 'with the worker', @models);
star_holds($heir, 'with the worker');
my $kept = q{SELECT id, at, customer, amount, date_sk FROM dw.sale WHERE load_id <= (SELECT max(load_id) FROM walhouse.load)};
is(value($heir, "SELECT count(*) FROM ($kept) AS s"), value($source, 'SELECT count(*) FROM "Order"'), 'all sales are there');
is(value($heir, q{SELECT count(*) FROM dw.sale_as_is s JOIN shop.customer c ON c.id = s.customer WHERE s.profile_place = left(c.city, 4)}),
	value($source, 'SELECT count(*) FROM "Order" o JOIN customer c ON c.id = o.customer'), 'with the present profiles of their customers');
is(value($heir, q{SELECT count(*) FROM dw.client_as_is w JOIN shop.customer c USING (id) WHERE w.is_current AND w.profile_place = left(c.city, 4)}),
	value($source, 'SELECT count(*) FROM customer'), 'the view over the outrigger works');
is(value($heir, q{SELECT count(*) FROM dw.buyer_members m LEFT JOIN dw.client_as_is c USING (client_sk) WHERE m.is_current AND c.id IS NOT DISTINCT FROM
	(SELECT max(x.id) FROM dw.client x WHERE x.id = m.customer)}), value($source, 'SELECT count(*) FROM "Order"'), 'and the one of the bridge');
fails_with($heir, 'a dimension that others refer to is held', q{SELECT walhouse.drop_model('dw.profile')}, qr/dw\.client, dw\.sale/);
fails_with($house, 'the old warehouse finds the slot ahead of it', q{CALL walhouse.run('shop')}, qr/ERROR/, qr/slot/);
sql($heir, qq{SELECT walhouse.drop_model('dw.$_')}) for qw(sale ledger way agreed buyer client profile customer);
fails_with($heir, 'a feed that a worker reads is not dropped', q{CALL walhouse.drop_feed('shop')}, qr/is being read/, qr/HINT:.*walhouse\.stop/);
sql($heir, q{SELECT walhouse.stop('shop'); CALL walhouse.drop_feed('shop')});
is(value($source, 'SELECT count(*) FROM pg_replication_slots'), '0', 'the heir drops feed and slot');

$_->stop for $heir, $house, $source;
done_testing();

# restored NAME: a new cluster with a dump of the warehouse.
sub restored
{
	my ($name) = @_;
	my $dump = PostgreSQL::Test::Utils::tempdir() . "/$name.dump";
	my $node = new_server($name);
	PostgreSQL::Test::Utils::system_or_bail('pg_dump', '-Fc', '-f', $dump, '-d', $house->connstr('postgres'));
	$node->command_ok(['pg_restore', '--exit-on-error', '-d', $node->connstr('postgres'), $dump], "$name: a dump of the warehouse is restored");
	return $node;
}

# streams: how often somebody has asked the source to stream, or to make or drop a slot.
sub streams
{
	my $count = () = slurp_file($source->logfile) =~ /received replication command: (?:START|CREATE|DROP)_REPLICATION/g;
	return $count;
}
