# P1 with streamed transactions: kill -9 of the feed worker, the walsender and both postmasters, while a source transaction is
# open and half of it lies in the warehouse's temporary files, and while it is ingested. Nothing is lost, nothing comes twice, what
# was rolled back stays away, and no temporary file is left.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $rows = $ENV{ROWS} || 60_000;
my ($source, $house) = source_and_house(
	source => { conf => "logical_decoding_work_mem = 64kB\nmax_wal_size = 4GB\n" },
	house => { conf => "walhouse.feed_memory = 256kB\nmax_wal_size = 4GB\n" });

sql($source, q{
	CREATE TABLE public.t (id int PRIMARY KEY, v text);
	CREATE TABLE public.u (id int PRIMARY KEY, v text);
	INSERT INTO public.u SELECT g, 'start' FROM generate_series(1, 1000) g;
	CREATE PUBLICATION p FOR TABLE public.t, public.u;
});
create_server($house, 's', $source);
sql($house, q{CALL walhouse.create_feed('f', 's', publication => 'p'); SELECT walhouse.start('f')});
ok(reach($house, 'f', $source, 60), 'the worker runs');

my %killer = (
	worker => sub { kill_process($house, sub { worker_pid($house) }, @_) },
	walsender => sub { kill_process($source, sub { ask($source, q{SELECT active_pid FROM pg_replication_slots WHERE active}) }, @_) },
	connection => sub { sql($source, q{SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active}) },
	house => sub { kill9($house); $house->start },
	source => sub { kill9($source); $source->start });
my $base = 0;
for my $victim (qw(worker walsender connection house source))
{
	while_open($victim);
	while_ingested($victim);
}
is(value($house, q{SELECT count(*) FROM (SELECT id FROM f_log.t WHERE op = 'I' GROUP BY id HAVING count(*) > 1) x}), '0', 'no row came twice');
is(value($house, q{SELECT count(*) FROM f_log.t WHERE v LIKE 'void%'}), '0', 'nothing that was rolled back came');
is(value($house, q{SELECT count(*) FROM (SELECT id FROM f_log.t WHERE op = 'I' EXCEPT SELECT id FROM f.t) x}), '0', 'the log fits the mirror');
is(value($house, q{SELECT string_agg(source_name || ' ' || state, ', ' ORDER BY source_name) FROM walhouse.feed_table}), 't ready, u ready', 'no table was stopped');

sql($house, q{SELECT walhouse.stop('f')});
$house->stop;
$source->stop;
done_testing();

# write_half SESSION: a transaction with a subtransaction that is rolled back; it stays open.
sub write_half
{
	my ($session) = @_;
	$base += 1_000_000;
	my ($from, $to) = ($base + 1, $base + $rows);
	$session->query_safe('BEGIN');
	$session->query_safe("INSERT INTO t SELECT g, 'kept ' || g FROM generate_series($from, $to) g");
	$session->query_safe('SAVEPOINT a');
	$session->query_safe("UPDATE t SET v = 'void ' || id WHERE id BETWEEN $from AND $to AND id % 4 = 0");
	$session->query_safe('ROLLBACK TO a');
	$session->query_safe("UPDATE u SET v = 'half $base' WHERE id % 3 = 0");
	return;
}

sub while_open
{
	my ($victim) = @_;
	my $session = $source->background_psql('postgres', on_error_die => 1);
	write_half($session);
	ok(poll($house, 'postgres', q{SELECT open_transactions = 1 AND spilled > 0 FROM walhouse.stat_feed}), "$victim: a transaction is open");
	ok(temporary_files() > 0, "$victim: it is in a temporary file");
	$killer{$victim}->();
	if ($victim eq 'source' || $victim eq 'walsender')
	{
		# the source lost it with everything that was not committed
		eval { $session->quit; };
	}
	else
	{
		ok(poll($house, 'postgres', q{SELECT open_transactions = 1 AND spilled > 0 FROM walhouse.stat_feed}), "$victim: it comes again");
		$session->query_safe('COMMIT');
		$session->quit;
	}
	settled("killed $victim while it was open");
	return;
}

sub while_ingested
{
	my ($victim) = @_;
	my $session = $source->background_psql('postgres', on_error_die => 1);
	write_half($session);
	# Ingest, which writes t first, waits for u.
	my $lock = $house->background_psql('postgres', on_error_stop => 0);
	$lock->query_safe('BEGIN; LOCK TABLE f.u IN SHARE MODE');
	$session->query_safe('COMMIT');
	$session->quit;
	my $caught = until_true(sub {
			(ask($house, q{SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'walhouse feed worker'
				AND l.relation = 'f.t'::regclass AND l.mode = 'RowExclusiveLock' LIMIT 1}) || '') eq '1' }, 60);
	ok($caught, "$victim: it is being ingested");
	my $release = sub { eval { $lock->quit; } }; # it is gone with the server that was killed
	$killer{$victim}->($release);
	$release->();
	settled("killed $victim while it was ingested");
	return;
}

# settled: all that was committed is here, once, and the spool is gone.
sub settled
{
	my ($what) = @_;
	ok(reach($house, 'f', $source, 120), "$what: all that was committed arrives");
	mirrors_equal($house, $source, 'f', qw(t u));
	ok(wait_until(sub { temporary_files() == 0 }), "$what: no temporary file is left");
	return;
}

sub temporary_files
{
	my @files = glob($house->data_dir . '/base/pgsql_tmp/*');
	return scalar @files;
}

# kill_process NODE, CODE, THEN: kills the process whose id the code finds, does what is to be done then, and waits for the one that takes its place.
sub kill_process
{
	my ($node, $find, $then) = @_;
	my ($pid, $other);
	until_true(sub { $pid = $find->(); return $pid }, 60);
	kill9($node, $pid);
	$then->() if $then;
	until_true(sub { $other = $find->(); return $other && $other ne $pid }, 60) or diag("nothing took the place of process $pid");
	return;
}
