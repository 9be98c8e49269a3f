# Memory of a walsender and of walhouse_recv stays flat over half a million changes in one session: small and large transactions,
# subtransactions that abort, large values, tables that change and that come and go. `make leak` does so with ten million.
use strict;
use warnings;
use WalhouseTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'there is no /proc' unless -r '/proc/self/status';

my $node = new_server('source', conf => "shared_preload_libraries = ''\nlogical_decoding_work_mem = '1MB'\n");

# own PID: the kB of memory that are the process's own.
sub own
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : die "no RssAnon of $pid";
}

$node->safe_psql('postgres', slurp_file('test/stress/churn.sql'));
sql($node, q{SELECT pg_create_logical_replication_slot('leak', 'walhouse_output')});
my $reader = IPC::Run::start([ 'walhouse_recv', '-d', $node->connstr('postgres'), '--slot', 'leak', '--start', '--file', '/dev/null',
	'--status-interval', '0.05', '-o', 'streaming=on', '-o', 'tally=on' ], '<', \undef, '2>', \my $err);
my (@sender, @reader);
for my $part (0 .. 4)
{
	sql($node, sprintf 'CALL churn(100000, %d)', $part * 100000);
	my $end = sql($node, 'SELECT pg_current_wal_lsn()');
	poll($node, 'postgres', qq{SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots WHERE slot_name = 'leak'})
		or last;
	push @sender, own(sql($node, q{SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'leak'}));
	push @reader, own($reader->{KIDS}[0]{PID});
}
is(scalar(@sender), 5, 'one session takes half a million changes') or diag($err);
# The cache of relations is looked through at 256 of them; the reader keeps all definitions.
cmp_ok($sender[4], '<=', $sender[1] + 1024, "the walsender does not grow: @sender kB") if @sender == 5;
cmp_ok($reader[4], '<=', $reader[1] + 512, "nor does walhouse_recv: @reader kB") if @reader == 5;
$reader->signal('TERM');
$reader->finish;
$node->stop;
done_testing();
