# What a crash, an empty beginning and one's own database leave: a copy that was killed is done again, a feed without a copy
# starts from empty mirrors, and a FOR ALL TABLES feed on its own database becomes quiet.
use strict;
use warnings;
use WalhouseTest;
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE public.small (id int PRIMARY KEY, v text);
	CREATE TABLE public.large (id int PRIMARY KEY, v text);
	INSERT INTO public.small VALUES (1, 'a');
	INSERT INTO public.large SELECT g, repeat('x', 200) FROM generate_series(1, 4000) g;
	CREATE PUBLICATION p FOR TABLE public.small, public.large;
});
sql($house, 'CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ');
	CREATE USER MAPPING FOR CURRENT_USER SERVER s;');

# -------- killed while it copies --------
# The copy waits in the middle of the table for whoever has the lock.
sql($house, q{
	CREATE FUNCTION public.stand(id int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
		IF id = 2000 THEN PERFORM pg_advisory_lock(42); END IF; RETURN true; END $$;
	CREATE FUNCTION public.make_stand() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
		IF to_regclass('f.large') IS NOT NULL AND to_regclass('f_log.large') IS NULL THEN ALTER TABLE f.large ADD CONSTRAINT stand CHECK (public.stand(id)); END IF; END $$;
	CREATE EVENT TRIGGER stand ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.make_stand()});
my $gate = $house->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(42)');
my $session = start_call($house, q{CALL walhouse.create_feed('f', 's', publication => 'p')});
ok(poll($house, 'postgres', q{SELECT EXISTS (SELECT FROM walhouse.progress_snapshot WHERE relid = to_regclass('f.large') AND tuples_processed > 1000)}),
	'the progress of the copy is seen');
kill9($house);
$session->finish;
eval { $gate->quit };
$house->start;
sql($house, 'DROP EVENT TRIGGER stand; ALTER TABLE f.large DROP CONSTRAINT stand');
is(sql($house, q{SELECT string_agg(source_name || ' ' || state, ', ' ORDER BY source_name) FROM walhouse.feed_table WHERE source_name = 'large'}),
	'large copy', 'the table is in state copy');
sql($source, q{UPDATE public.large SET v = 'changed' WHERE id <= 10; UPDATE public.small SET v = 'b'});
sql($house, q{CALL walhouse.ingest('f')});
sql($source, q{UPDATE public.large SET v = 'again' WHERE id <= 5; DELETE FROM public.large WHERE id = 11});
sql($house, q{CALL walhouse.ingest('f')});
is(sql($house, q{SELECT count(*), md5(string_agg(v, '' ORDER BY id)) FROM f.large}),
	sql($source, q{SELECT count(*), md5(string_agg(v, '' ORDER BY id)) FROM public.large}), 'it is copied again and goes on');
is(sql($house, 'SELECT v FROM f.small'), 'b', 'and so does the other one');
is(sql($house, q{SELECT string_agg(op::text, '' ORDER BY lsn, seq, op) FROM f_log.large WHERE id = 5}), 'BU',
	'what the copy brought is not in the log');

# -------- killed while the feed is made, again and again --------
for my $i (1 .. 3)
{
	my $s2 = start_call($house, q{CALL walhouse.create_feed('g', 's', publication => 'p')});
	poll($house, 'postgres', q{SELECT EXISTS (SELECT FROM walhouse.feed WHERE name = 'g')});
	sql($house, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL walhouse.create_feed%'});
	$s2->finish;
	sql($house, q{CALL walhouse.drop_feed('g')});
	is(sql($house, q{SELECT count(*) FROM pg_namespace WHERE nspname IN ('g', 'g_log')}), '0', "attempt $i leaves nothing here");
	ok(poll($source, 'postgres', q{SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'g')}), 'and no slot');
}

# -------- the source goes away, and comes back --------
$source->stop('immediate');
my ($status, undef, $err) = $house->psql('postgres', q{CALL walhouse.ingest('f')});
like($err, qr/could not connect to the source of feed "f"/, 'no source, a clear word');
$source->start;
sql($house, q{CALL walhouse.ingest('f')});

# -------- nothing copied --------
sql($source, 'CREATE TABLE public.new (id int PRIMARY KEY, v text)');
sql($house, q{CALL walhouse.create_feed('n', 's', tables => '{public.new}', copy_data => false)});
sql($source, q{INSERT INTO public.new VALUES (1, 'x'); UPDATE public.new SET v = 'y'});
sql($house, q{CALL walhouse.ingest('n')});
is(sql($house, q{SELECT * FROM n.new}), '1|y', 'a feed without a copy begins with empty mirrors');

# -------- all tables of one's own database --------
sql($house, 'CREATE TABLE public.own (id int PRIMARY KEY, v text); CREATE PUBLICATION everything FOR ALL TABLES;
	CREATE SERVER me FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($house) . ');
	CREATE USER MAPPING FOR CURRENT_USER SERVER me;');
sql($house, q{CALL walhouse.create_feed('own', 'me', publication => 'everything')});
is(sql($house, q{SELECT string_agg(t.source_name, ', ') FROM walhouse.feed_table t JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'own'}),
	'own', 'walhouse\'s own tables are left out');
sql($house, q{INSERT INTO public.own VALUES (1, 'a'); UPDATE public.own SET v = 'b';});
sql($source, q{UPDATE public.new SET v = 'z'});
sql($house, q{CALL walhouse.ingest('own')});
sql($house, q{CALL walhouse.ingest('n')});
is(sql($house, q{SELECT count(*) FROM own_log.own}), '3', 'its changes are in the log');
# positions that a call waits for are stored; beyond them there is nothing: it sees none of what it writes itself
sql($house, q{CALL walhouse.ingest('own')}) for 1 .. 3;
is(sql($house, q{SELECT count(*) FROM own_log.own}), '3', 'and its own writes are not');
is(sql($house, q{SELECT count(*) FROM own_log.txn}), '2', 'not as transactions either');
is(sql($house, q{SELECT count(*) FROM pg_class WHERE relname = 'own' AND relnamespace = 'own'::regnamespace}), '1', 'one mirror');
sql($house, q{CALL walhouse.drop_feed('own')});

$house->stop;
$source->stop;
done_testing();

# start_call NODE, STATEMENT: a session of its own that runs it; finish() it.
sub start_call
{
	my ($node, $call) = @_;
	my $ignored = '';
	return IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'), '-c', $call ],
		'<', \undef, '>', \$ignored, '2>', \$ignored);
}
