# A load worker takes one of max_worker_processes. Where there is none, the feed worker loads by itself and says so once; when one
# is free again, it comes.
use strict;
use warnings;
use WalhouseTest;
use Test::More;
use PostgreSQL::Test::Utils;

# Four: PostgreSQL's launcher of subscriptions, walhouse's, and two feed workers.
my ($source, $house) = source_and_house(house => { conf => "max_worker_processes = 4\nwalhouse.parallel_load = off\nwalhouse.verify_interval = 0\n" });
my $loader = "FROM pg_stat_activity WHERE backend_type = 'walhouse load worker'";
my $warning = qr/WARNING:.*walhouse finds no free background worker process for "walhouse load of feed shop"/;

sql($source, q{
	CREATE TABLE public.customers (customer_id int PRIMARY KEY, name text);
	CREATE TABLE public.other (id int PRIMARY KEY);
	INSERT INTO public.customers SELECT i, 'customer ' || i FROM generate_series(1, 100) i;
});
sql($house, 'CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ')');
sql($house, q{
	CREATE USER MAPPING FOR CURRENT_USER SERVER shop;
	CREATE SCHEMA dw;
});
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', tables => '{public.customers}')});
sql($house, q{CALL walhouse.create_feed('other', server => 'shop', tables => '{public.other}')});
sql($house, q{
	SELECT walhouse.create_dimension('dw.customer', 'SELECT customer_id, name FROM shop.customers', key => '{customer_id}', scd => '{"*": 2}');
	CALL walhouse.run('shop');
	SELECT walhouse.start('shop'), walhouse.start('other');
});
ok(poll($house, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker'", 2), 'two feeds take all processes');
ok(poll($house, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse database worker'", 0), 'nobody else has one');

sql($house, q{ALTER SYSTEM SET walhouse.parallel_load = always; SELECT pg_reload_conf()});
for my $round (1 .. 3)
{
	sql($source, "UPDATE public.customers SET name = name || ' $round' WHERE customer_id % 3 = 0; INSERT INTO public.customers VALUES (100 + $round, 'new')");
	my $lsn = sql($source, 'SELECT pg_current_wal_insert_lsn()');
	is(sql($house, "SELECT walhouse.wait_for('shop', '$lsn', '60 s')"), 't', "round $round: the model follows");
	ok(poll($house, 'postgres', q{SELECT true}) && wait_until(sub { slurp_file($house->logfile) =~ $warning }), 'the log says that there is no process') if $round == 1;
}
is(sql($house, 'SELECT sum(missing + unexpected + different) FROM walhouse.verify()'), '0', 'what came is right');
is(sql($house, "SELECT count(*) $loader"), '0', 'without a load worker');
is(sql($house, q{SELECT string_agg(worker || ' ' || (error IS NULL), ', ' ORDER BY feed) FROM walhouse.stat_feed}), 'running true, running true',
	'both feeds run, and have no error');
is(scalar(() = slurp_file($house->logfile) =~ /$warning/g), 1, 'it is said once');

sql($house, q{SELECT walhouse.stop('other')});
ok(poll($house, 'postgres', "SELECT count(*) $loader", 1), 'once another feed has stopped, a load worker comes');
sql($source, q{UPDATE public.customers SET name = 'last'});
my $lsn = sql($source, 'SELECT pg_current_wal_insert_lsn()');
is(sql($house, "SELECT walhouse.wait_for('shop', '$lsn', '60 s')"), 't', 'the model follows');
is(sql($house, q{SELECT count(*) FROM dw.customer WHERE is_current AND name = 'last'}), '103', 'with all rows');

$source->stop;
$house->stop;
done_testing();
