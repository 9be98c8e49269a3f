# A started feed stays current by itself: through restarts of both servers, SIGTERM, and while others wait for it; and
# its idle worker holds nothing that anybody would wait for.
use strict;
use warnings;
use WalhouseTest;
use Test::More;
use Time::HiRes qw(time);

my ($source, $house) = source_and_house();
my $stat = 'FROM walhouse.stat_feed WHERE feed = \'shop\'';

sql($source, q{
	CREATE TABLE public.customers (customer_id int PRIMARY KEY, name text, city text);
	INSERT INTO public.customers SELECT i, 'customer ' || i, 'Ulm' FROM generate_series(1, 100) i;
});
sql($house, 'CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ')');
sql($house, q{CREATE USER MAPPING FOR CURRENT_USER SERVER shop});
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', tables => '{public.customers}')});
is(sql($house, 'SELECT count(*) FROM shop.customers'), '100', 'the first copy is there');
is(sql($house, "SELECT enabled, worker, pid IS NULL $stat"), 'f|stopped|t', 'a new feed is not started');

# start() keeps it current
sql($house, q{SELECT walhouse.start('shop')});
ok(poll($house, 'postgres', "SELECT worker = 'running' AND activity = 'waiting for changes' $stat"), 'start() brings a worker');
sql($source, q{INSERT INTO public.customers VALUES (101, 'Ada', 'Köln')});
is(wait_for_now(), 't', 'wait_for returns true');
is(sql($house, 'SELECT name FROM shop.customers WHERE customer_id = 101'), 'Ada', 'and the change is there');
is(sql($house, q{SELECT count(*), min(application_name), bool_and(usename = current_user)
	FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker'}),
	'1|walhouse feed shop|t', 'pg_stat_activity names the feed');

# nothing is held while idle
ok(poll($house, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker'
	AND state = 'idle' AND backend_xid IS NULL AND backend_xmin IS NULL AND query = 'feed shop: waiting for changes'}),
	'the idle worker has no xid and no snapshot');
ok(poll($house, 'postgres', qq{SELECT string_agg(DISTINCT locktype || ' ' || coalesce(objsubid::text, ''), ', ' ORDER BY locktype || ' ' || coalesce(objsubid::text, ''))
	FROM pg_locks WHERE pid = (SELECT pid $stat)}, 'object 1, virtualxid '), 'and no lock but the stream lock');

# wait_for: progress of an idle feed, and what is refused
sql($source, 'CREATE TABLE public.unrelated AS SELECT generate_series(1, 1000) AS a');
is(wait_for_now(), 't', 'wait_for sees an idle feed pass what does not concern it');
ok(poll($house, 'postgres', 'SELECT caught_up FROM walhouse.stat_workers()'), 'which counts as no lag');
ok(poll($house, 'postgres', "SELECT lag_bytes, commit_lag $stat", '0|00:00:00'), 'in stat_feed too');
like(error(q{BEGIN; CREATE TABLE public.x (); SELECT walhouse.wait_for('shop', '0/1')}), qr/transaction that has written/,
	'wait_for is refused in a transaction that has written');
like(error(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT walhouse.wait_for('shop', '0/1')}), qr/fixed snapshot/,
	'and with a fixed snapshot');
like(error(q{SELECT walhouse.wait_for('shop', 'FFFF/0', '100 ms')}), qr/has not reached FFFF\/0 in time.*Its position is/s,
	'wait_for that comes to nothing says where the feed is');
like(error(q{SELECT walhouse.wait_for('nothing', '0/1')}), qr/"nothing" does not exist/, 'wait_for of an unknown feed');

# run while the worker has the stream
sql($source, q{UPDATE public.customers SET city = 'Bonn' WHERE customer_id <= 50});
my ($status, $out, $err) = $house->psql('postgres', q{CALL walhouse.run('shop')});
is($status, 0, 'run works beside the worker');
like($err, qr/waiting for process \d+, which reads the stream of feed "shop"/, 'and says whom it waits for');
is(sql($house, q{SELECT count(*) FROM shop.customers WHERE city = 'Bonn'}), '50', 'what was committed before is in');

# SIGTERM while it waits
my $pid = sql($house, "SELECT pid $stat");
my $start = time();
sql($house, "SELECT pg_terminate_backend($pid)");
ok(poll($house, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'SIGTERM ends an idle worker');
cmp_ok(time() - $start, '<', 5, 'at once');
ok(poll($house, 'postgres', "SELECT pid <> $pid $stat"), 'and the launcher starts another');
sql($source, q{INSERT INTO public.customers VALUES (102, 'Bob', 'Köln')});
is(wait_for_now(), 't', 'which goes on where the first was');

# the launcher's death
sql($house, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walhouse launcher'});
$pid = sql($house, "SELECT pid $stat");
ok(poll($house, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'walhouse launcher'}),
	'a launcher that was ended comes back');
is(sql($house, "SELECT pid $stat"), $pid, 'and leaves the running worker alone');

# restart of the warehouse
$house->restart;
ok(poll($house, 'postgres', "SELECT worker = 'running' $stat"), 'a restart of the server brings the feed back');
sql($source, q{DELETE FROM public.customers WHERE customer_id = 102});
is(wait_for_now(), 't', 'and it goes on');

# the source goes away: it waits until the feed has confirmed all of its WAL, also what concerns no feed
sql($source, 'CREATE TABLE public.unrelated_too AS SELECT generate_series(1, 1000) AS a');
my $stopping = time();
$source->stop('fast');
cmp_ok(time() - $stopping, '<', 30, 'a source that shuts down is not kept waiting by an idle feed');
ok(poll($house, 'postgres', "SELECT failures >= 2 AND error IS NOT NULL AND error_time IS NOT NULL $stat"),
	'without the source the worker ends with an error that is on view, and is tried again');
ok(poll($house, 'postgres', "SELECT worker = 'waiting to restart' AND next_start > now() $stat"), 'after a delay');
$source->start;
sql($source, q{INSERT INTO public.customers VALUES (103, 'Cleo', 'Köln')});
is(wait_for_now('90 s'), 't', 'when the source is back, the feed goes on by itself');
ok(poll($house, 'postgres', "SELECT error IS NULL AND error_time IS NULL $stat"), 'and the error is gone');

# walhouse.worker = off
sql($house, 'ALTER SYSTEM SET walhouse.worker = off');
$house->reload;
ok(poll($house, 'postgres', "SELECT pid IS NULL $stat"), 'walhouse.worker = off ends the worker');
sql($house, 'ALTER SYSTEM RESET walhouse.worker');
$house->reload;
ok(poll($house, 'postgres', "SELECT worker = 'running' $stat"), 'and on starts it');

# models are built by workers
sql($house, 'CREATE SCHEMA dw');
sql($house, q{SELECT walhouse.create_dimension('dw.customer', 'SELECT customer_id, name, city FROM shop.customers', key => '{customer_id}')});
ok(poll($house, 'postgres', q{SELECT is_current FROM walhouse.stat_model WHERE model = 'dw.customer'::regclass}),
	'a new model is built by a worker');
sql($source, q{UPDATE public.customers SET city = 'Jena' WHERE customer_id = 1});
is(wait_for_now(), 't', 'wait_for waits for the models');
is(sql($house, q{SELECT city FROM dw.customer WHERE customer_id = 1 AND is_current}), 'Jena', 'which have the change, too');
ok(poll($house, 'postgres', q{SELECT kind, feed, state, waits_for IS NULL, lag_bytes = 0, loads >= 2, inserted >= 102, error IS NULL FROM walhouse.stat_model
	WHERE model = 'dw.customer'::regclass}, 'dimension|shop|live|t|t|t|t|t'), 'stat_model');
is(sql($house, q{SELECT feed, source_name, mirror, state, mirror_bytes > 0 FROM walhouse.stat_table}),
	'shop|customers|shop.customers|ready|t', 'stat_table');

# stop()
sql($house, q{BEGIN; SELECT walhouse.stop('shop'); ROLLBACK});
is(sql($house, "SELECT enabled $stat"), 't', 'stop() that is rolled back does nothing');
sql($house, q{SELECT walhouse.stop('shop')});
ok(poll($house, 'postgres', "SELECT worker = 'stopped' AND stream_pid IS NULL $stat"), 'stop() ends the worker');
is(sql($house, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker'}), '0', 'no process is left');
sql($source, q{UPDATE public.customers SET city = 'Gera' WHERE customer_id = 1});
like(error(q{SELECT walhouse.wait_for('shop', 'FFFF/0', '50 ms')}), qr/It has no worker.*CALL walhouse\.run\('shop'\)/s,
	'wait_for says that nobody is at work');
sql($house, q{CALL walhouse.run('shop')});
is(sql($house, q{SELECT city FROM dw.customer WHERE customer_id = 1 AND is_current}), 'Gera', 'run() does what the worker did');

$source->stop;
$house->stop;
done_testing();

# wait_for_now [TIMEOUT]: wait_for's answer for the source's position now.
sub wait_for_now
{
	my ($timeout) = @_;
	my $lsn = sql($source, 'SELECT pg_current_wal_lsn()');
	return sql($house, sprintf("SELECT walhouse.wait_for('shop', '%s', '%s')", $lsn, $timeout || '60 s'));
}

# error STATEMENT: what the warehouse answers to a statement that it refuses.
sub error
{
	my ($statement) = @_;
	my ($status, $out, $err) = $house->psql('postgres', $statement, on_error_stop => 1);
	return $status ? $err : "no error: $out";
}
