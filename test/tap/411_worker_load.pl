# The load worker: models are brought on beside ingest, from one snapshot each; and whatever becomes of it, the feed goes on.
use strict;
use warnings;
use WalhouseTest;
use IPC::Run;
use Test::More;

my ($source, $house) = source_and_house(house => { conf => "walhouse.parallel_load = always\n" });
my $stat = "FROM walhouse.stat_feed WHERE feed = 'shop'";
my $loader = "FROM pg_stat_activity WHERE backend_type = 'walhouse load worker'";

sql($source, q{
	CREATE TABLE public.customers (customer_id int PRIMARY KEY, name text, city_id int);
	CREATE TABLE public.cities (city_id int PRIMARY KEY, city text);
	CREATE TABLE public.orders (order_id int PRIMARY KEY, customer_id int, amount int, at timestamptz);
	INSERT INTO public.cities SELECT i, 'city ' || i FROM generate_series(1, 10) i;
	INSERT INTO public.customers SELECT i, 'customer ' || i, 1 + i % 10 FROM generate_series(1, 100) i;
	INSERT INTO public.orders SELECT i, 1 + i % 100, i, '2026-10-01' FROM generate_series(1, 1000) i;
});
sql($house, 'CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ')');
sql($house, 'CREATE USER MAPPING FOR CURRENT_USER SERVER shop');
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', tables => '{public.customers,public.cities,public.orders}')});
# A load of dw.slow waits for whoever has the lock: it comes first, so that those over joins begin before and end after.
sql($house, q{
	CREATE SCHEMA dw;
	CREATE FUNCTION dw.wait(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN PERFORM pg_advisory_lock_shared(42), pg_advisory_unlock_shared(42); RETURN t; END $$;
	SELECT walhouse.create_dimension('dw.slow', 'SELECT city_id, dw.wait(city) AS city FROM shop.cities', key => '{city_id}');
	SELECT walhouse.create_dimension('dw.customer', $$SELECT customer_id, c.name, i.city FROM shop.customers c
		LEFT JOIN shop.cities i USING (city_id)$$, key => '{customer_id}', scd => '{"*": 2}');
	SELECT walhouse.create_fact('dw.sales', 'SELECT order_id, at, customer_id, amount FROM shop.orders', key => '{order_id}', event_time => 'at',
		dimensions => '{"customer_sk": "dw.customer(customer_id)"}');
	CALL walhouse.run('shop');
	SELECT walhouse.start('shop');
});
ok(poll($house, 'postgres', "SELECT count(*) $loader", 1), 'a load worker comes') or die;
ok(poll($house, 'postgres', "SELECT state = 'idle' AND backend_xid IS NULL AND backend_xmin IS NULL AND query = 'feed shop: waiting for ingest' $loader"),
	'and holds nothing while it waits');
is(sql($house, "SELECT count(*) FROM pg_locks WHERE locktype <> 'virtualxid' AND pid = (SELECT pid $loader)"), '0', 'no lock either');

# Ingest goes on while a load does not.
for my $round (1 .. 3)
{
	my $shut = "SELECT pg_advisory_lock(42);\n";
	my $gate = IPC::Run::start([ 'psql', '-Xq', '-d', $house->connstr('postgres') ], '<', \$shut, '>', \my $out, '2>', \my $err);
	$gate->pump while length $shut;
	ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted}, 1), 'the gate is shut');
	change($round * 100);
	ok(poll($house, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND backend_type = 'walhouse load worker'", 1),
		"round $round: a load hangs");
	my $loaded = sql($house, 'SELECT max(load_id) FROM walhouse.load');
	change($round * 100 + $_) for 1 .. 5;
	my $lsn = sql($source, 'SELECT pg_current_wal_insert_lsn()');
	ok(poll($house, 'postgres', "SELECT position >= '$lsn' $stat"), 'ingest goes on beside it')
		or diag(sql($house, "SELECT position, '$lsn' $stat"));
	is(sql($house, 'SELECT count(*) FROM shop.orders WHERE order_id >= ' . $round * 100000), '6', 'its rows are in the mirror');
	is(sql($house, 'SELECT max(load_id) FROM walhouse.load'), $loaded, 'and in no model');
	$gate->finish;
	caught_up("round $round");
}

# Many statements of a load over joins, while rows of all tables change.
sql($source, q{DO $$ BEGIN FOR i IN 1 .. 1500 LOOP
	UPDATE public.customers SET city_id = 1 + (city_id + i) % 10 WHERE customer_id % 50 = i % 50;
	UPDATE public.cities SET city = 'city ' || i WHERE city_id = 1 + i % 10;
	COMMIT;
END LOOP; END $$});
caught_up('changes without a pause');

# What ends it ends nothing else.
for my $i (1 .. 2)
{
	my $pid = sql($house, "SELECT pid $loader");
	sql($house, "SELECT pg_terminate_backend($pid)");
	change(1000 + $i);
	caught_up("pg_terminate_backend, $i");
	ok(poll($house, 'postgres', "SELECT count(*) $loader AND pid <> $pid", 1), 'another one comes');
}
is(sql($house, "SELECT error IS NULL, worker $stat"), 't|running', 'the feed has no error');
kill9($house, sql($house, "SELECT pid $loader"));
ok(poll($house, 'postgres', "SELECT count(*) $loader", 1), 'kill -9: it comes back');
change(1100);
caught_up('kill -9');

# A change of a definition waits for the load, and the other way round.
sql($source, q{ALTER TABLE public.customers ADD COLUMN email text; UPDATE public.customers SET email = name || '@example.com', city_id = 3 WHERE customer_id < 20});
change(1200);
caught_up('a column is added');
is(sql($house, q{SELECT email FROM shop.customers WHERE customer_id = 7}), 'customer 7@example.com', 'the column has come');

# An error of a model is the model's.
sql($house, q{CREATE OR REPLACE FUNCTION dw.wait(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'no'; END $$});
change(1300);
ok(poll($house, 'postgres', q{SELECT state FROM walhouse.stat_model WHERE model = 'dw.slow'::regclass}, 'stopped'), 'a model stops');
is(sql($house, "SELECT error IS NULL, worker $stat"), 't|running', 'nothing else does');
sql($house, q{CREATE OR REPLACE FUNCTION dw.wait(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT t $$; SELECT walhouse.resume('dw.slow')});
caught_up('it is resumed');

sql($house, q{SELECT walhouse.stop('shop')});
ok(poll($house, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'walhouse (feed|load) worker'", 0), 'stop() ends both workers');

# auto: only while there is much to do.
sql($house, q{ALTER SYSTEM SET walhouse.parallel_load = auto; SELECT pg_reload_conf(); SELECT walhouse.start('shop')});
change(1400);
caught_up('auto');
is(sql($house, "SELECT count(*) $loader"), '0', 'a feed with little to do has no load worker');
sql($house, q{SELECT walhouse.stop('shop')});
sql($source, q{DO $$ BEGIN FOR i IN 1 .. 3000 LOOP
	INSERT INTO public.orders SELECT n, 1 + n % 100, n, '2026-10-02' FROM generate_series(10000000 + i * 100, 10000099 + i * 100) n;
	COMMIT;
END LOOP; END $$});
ok(poll($house, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker'", 0), 'much gathers');
sql($house, q{SELECT walhouse.start('shop')});
ok(poll($house, 'postgres', "SELECT count(*) $loader", 1, 20), 'one with much has');
caught_up('much');
ok(poll($house, 'postgres', "SELECT count(*) $loader", 0), 'which leaves when there is no more');
sql($house, q{ALTER SYSTEM SET walhouse.parallel_load = always; SELECT pg_reload_conf()});
change(1500);
ok(poll($house, 'postgres', "SELECT count(*) $loader", 1), 'always');
sql($house, q{ALTER SYSTEM SET walhouse.parallel_load = off; SELECT pg_reload_conf()});
ok(poll($house, 'postgres', "SELECT count(*) $loader", 0), 'off ends it');
change(1600);
caught_up('off');

$source->stop;
$house->stop;
done_testing();

# change N: customers move between cities, cities change their names, an order comes: each moves what the models over joins read.
sub change
{
	my ($n) = @_;
	sql($source, "BEGIN; UPDATE public.customers SET city_id = 1 + (city_id + $n) % 10 WHERE customer_id % 7 = $n % 7;"
		. "UPDATE public.cities SET city = city || ' $n' WHERE city_id = 1 + $n % 10;"
		. "INSERT INTO public.orders VALUES (${n} * 1000 + 7, 1 + $n % 100, $n, '2026-10-02'); COMMIT");
}

# caught_up NAME: everything is in the models, and right.
sub caught_up
{
	my ($name) = @_;
	my $lsn = sql($source, 'SELECT pg_current_wal_insert_lsn()');
	is(sql($house, "SELECT walhouse.wait_for('shop', '$lsn', '60 s')"), 't', "$name: the models follow");
	is(sql($house, 'SELECT sum(missing + unexpected + different) FROM walhouse.verify()'), '0', 'and are right');
}
