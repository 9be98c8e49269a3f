# A round of ingest goes on while the source has sent more, also where that is many small transactions: their models are loaded together, and not
# after each batch. Ingest is held until the source has sent what the connection takes, so that there is something to go on with.
use strict;
use warnings;
use WalhouseTest;
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE public.t (id bigint PRIMARY KEY, v text);
	INSERT INTO public.t VALUES (0, 'first');
	CREATE PUBLICATION p FOR TABLE public.t;
});
sql($house, 'CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ');
	CREATE USER MAPPING FOR CURRENT_USER SERVER s;');
sql($house, q{CALL walhouse.create_feed('f', 's', publication => 'p')});
sql($house, q{SELECT walhouse.create_dimension('public.d', 'SELECT id, v FROM f.t', key => '{id}', scd => '{"*": 1}')});
sql($house, q{CALL walhouse.run('f')});

my $transactions = 1000;
my $batch = 40;
sql($source, "DO \$\$ BEGIN FOR i IN 1 .. $transactions LOOP INSERT INTO public.t VALUES (i, 'more'); COMMIT; END LOOP; END \$\$");
my $loads = sql($house, 'SELECT count(*) FROM walhouse.load');
my $holder = $house->background_psql('postgres', on_error_die => 1);
$holder->query_safe('BEGIN; LOCK TABLE f.t IN EXCLUSIVE MODE');
my $runner = $house->background_psql('postgres', on_error_die => 1);
$runner->query_safe("SET walhouse.feed_batch_rows = $batch");
$runner->query_until(qr/runs/, "\\echo runs\nCALL walhouse.run('f');\n\\echo ran\n");
ok(poll($house, 'postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'f.t'::regclass AND NOT granted}), 'ingest waits');
# The source is at its end, or the connection is full.
my ($sent, $since) = ('', time());
ok(wait_until(sub {
	my $now = sql($source, 'SELECT sent_lsn FROM pg_stat_replication');
	($sent, $since) = ($now, time()) if $now ne $sent;
	return time() - $since >= 2;
}), 'the source has sent what it could');
$holder->query_safe('COMMIT');
$holder->quit;
$runner->query_until(qr/ran/, '');
$runner->quit;
is(sql($house, 'SELECT count(*) FROM public.d WHERE id BETWEEN 1 AND 1000'), $transactions, 'all has come');
$loads = sql($house, 'SELECT count(*) FROM walhouse.load') - $loads;
cmp_ok($loads, '<', $transactions / $batch / 2, "in far fewer loads than ingests");
note("loads: $loads");
done_testing();
