# A mirror is switched on at a place of the stream that the feed has not reached: the copy waits for transactions that are open. What lies
# between is logged, and the copy, which has it already, is not touched by it, also where it is a transaction by chunks, or a TRUNCATE.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use IPC::Run ();
use Test::More;

my ($source, $house) = source_and_house(house => { conf => "walhouse.feed_memory = 512kB\nwalhouse.feed_batch_rows = 300\n" });

sql($source, q{
	CREATE TABLE public.event (id numeric PRIMARY KEY, body text, n int);
	ALTER TABLE public.event ALTER body SET STORAGE EXTERNAL;
	CREATE TABLE public.small (id int PRIMARY KEY, name text);
	INSERT INTO public.event SELECT i, repeat(md5(i::text), 100), i FROM generate_series(1, 500) i;
	INSERT INTO public.small SELECT i, 'small ' || i FROM generate_series(1, 50) i;
	ALTER TABLE public.event REPLICA IDENTITY FULL;
	ALTER TABLE public.small REPLICA IDENTITY FULL;
	CREATE PUBLICATION p FOR TABLE public.event, public.small;
});
create_server($house, 'src', $source);
sql($house, "CALL walhouse.create_feed('$_', server => 'src', publication => 'p')") for qw(full lean);
sql($house, "CALL walhouse.set_mirror('lean', '$_', false)") for qw(event small);

# ---- by chunks: each row is touched in several of them; large values that stay are not sent
sql($source, q{UPDATE public.event SET n = n + 1 WHERE id < 10});
switch_on('event', q{
	UPDATE public.event SET n = n + 1; UPDATE public.small SET name = 'big';
	UPDATE public.event SET body = body || 'z' WHERE id % 2 = 0; DELETE FROM public.event WHERE id % 5 = 0;
	SAVEPOINT s; UPDATE public.event SET n = -1; ROLLBACK TO s;
	INSERT INTO public.event SELECT i, repeat('w', 3000), 0 FROM generate_series(5, 500, 10) i;
	UPDATE public.event SET n = n + 1; UPDATE public.event SET id = id + 5000 WHERE id % 3 = 0; UPDATE public.event SET n = n - 1;
	UPDATE public.event SET id = id - 5000 WHERE id IN (5003, 5006); DELETE FROM public.event WHERE id = 6;
	UPDATE public.small SET name = 'bigger'});
sql($source, q{UPDATE public.event SET n = n + 7 WHERE id % 4 = 0});
both_ingest();
same_log('by chunks', 'event');
mirrors_equal($house, $source, 'lean', 'event');
is(value($house, 'SELECT count(*) FROM lean.small'), '0', 'the mirror that is off stays empty');
same_log('of that beside', 'small');

# ---- a TRUNCATE
switch_on('small', q{UPDATE public.small SET name = 'last' WHERE id = 1; TRUNCATE public.small; INSERT INTO public.small VALUES (1, 'new'), (2, 'new');
	UPDATE public.small SET name = 'newer' WHERE id = 1});
both_ingest();
my $truncated = q{SELECT lsn FROM full_log.small WHERE op = 'T'};
same($house, 'but for the rows that it removed', "SELECT l::text FROM full_log.small l WHERE NOT (op = 'B' AND id <> 1 AND lsn IN ($truncated))",
	'SELECT l::text FROM lean_log.small l');
mirrors_equal($house, $source, 'lean', 'small');
is(value($house, q{SELECT sync_lsn >= (SELECT max(lsn) FROM lean_log.small) FROM walhouse.feed_table t JOIN walhouse.feed f USING (feed_id)
	WHERE f.name = 'lean' AND source_name = 'small'}), 't', 'the log is complete from the copy on');

# ---- and both go on
sql($source, q{UPDATE public.small SET name = name || '!'; UPDATE public.event SET n = 0; DELETE FROM public.event WHERE id % 2 = 0});
both_ingest();
mirrors_equal($house, $source, 'lean', 'event', 'small');
same_log('after', 'event');
is(value($house, q{SELECT string_agg(DISTINCT state, ' ') FROM walhouse.feed_table}), 'ready', 'no table has stopped');

$_->stop for $source, $house;
done_testing();

# switch_on TABLE, STATEMENTS: switches its mirror on while a transaction of the source that does so is open.
sub switch_on
{
	my ($table, $statements) = @_;
	my ($in, $err, $called) = ("BEGIN; $statements; \\echo done\n", '', '');
	my $out = '';
	my $open = IPC::Run::start([ 'psql', '-qXAt', '-v', 'ON_ERROR_STOP=1', '-d', $source->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err);
	$open->pump until $out =~ /done/ || $err ne '';
	is($err, '', 'a transaction is open');
	my $call = IPC::Run::start([ 'psql', '-qX', '-d', $house->connstr('postgres'), '-c', "CALL walhouse.set_mirror('lean', '$table', true)" ], '2>', \$called);
	# From 18 on the source's look at what it publishes waits for a TRUNCATE, before the copy's slot does.
	ok(poll($source, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND wait_event IN ('transactionid', 'relation')}, '1'),
		'the copy waits for it');
	$in .= "COMMIT;\n";
	ok(IPC::Run::finish($open) && IPC::Run::finish($call), "and the mirror of $table is on") or diag($called);
	mirrors_equal($house, $source, 'lean', $table);
	return;
}

sub both_ingest
{
	sql($house, "CALL walhouse.ingest('$_')") for qw(full lean);
	return;
}

sub same_log
{
	my ($what, $table) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return same($house, "$what: the log of $table", map { "SELECT l::text FROM ${_}_log.$table l" } qw(full lean));
}
