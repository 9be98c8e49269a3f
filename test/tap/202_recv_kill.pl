# walhouse_recv under kill -9: the program itself, its walsender and its server die at random points of a running load; the
# file at the end has each change of the source exactly once, in order, and no half transaction.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use BankLoad;
use Test::More;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils qw(slurp_file);
use Time::HiRes qw(time);

my $seed = $ENV{RANDOM_SEED} || int(time()) % 1_000_000;
srand($seed);
note("RANDOM_SEED=$seed");

my $source = new_server('source');
bank_create($source);
my $file = PostgreSQL::Test::Utils::tempdir() . '/stream.json';
my @recv = ('walhouse_recv', '-S', 'reader', '-d', $source->connstr('postgres'));
is(system(@recv, '--create-slot'), 0, 'the slot is made');
my $reader = start_reader();
my $clients = bank_start($source, 300);

for my $n (1 .. 12)
{
	wait_for_changes($source, 1 + int(rand(800)));
	if ($n % 3 == 0)
	{
		kill9($source, wait_for_pid(sub { sender_pid($source) }));
	}
	elsif ($n % 3 == 1)
	{
		kill 'KILL', $reader;
		waitpid $reader, 0;
		$reader = start_reader();
	}
	else
	{
		ok(restart_after_kill($source), 'the source restarts');
	}
}
wait_for_changes($source, 200);
ok(bank_stop($source, $clients), 'the clients have gone');
my $end = source_lsn($source);
# Something after it, so that the end can be reached.
sql($source, q{SELECT pg_switch_wal(); SELECT pg_logical_emit_message(false, '', '')});
ok(poll($source, 'postgres', "SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots"), 'all is confirmed');
kill 'INT', $reader;
waitpid $reader, 0;
is($?, 0, 'Ctrl-C ends the reader');

my (%expected, %found, %ends);
my ($changes, $open, $twice, $strange) = (0, 0, 0, '');
for my $line (split /\n/, slurp_file(bank_history($source)))
{
	my ($seq, $table, $op, $id, $n) = split /\t/, $line;
	$expected{"$table $id"} .= $op eq 'D' ? ' D' : " $op$n";
	$changes++;
}
for my $line (split /\n/, slurp_file($file))
{
	my $entry = decode_json($line);
	my $kind = $entry->{kind};
	my $table = $entry->{table} || '';
	my ($old, $new) = ($entry->{before} || $entry->{key}, $entry->{after});
	if ($kind eq 'begin')
	{
		$twice++ if $ends{ $entry->{end_lsn} }++;
		$strange ||= "begin in a transaction: $line" if $open++;
	}
	elsif ($kind eq 'commit')
	{
		$open = 0;
	}
	elsif ($table eq 'audit')
	{
		# Not published, but this reader takes all tables.
	}
	elsif ($kind eq 'insert')
	{
		$found{"$table $new->{id}"} .= " I$new->{n}";
	}
	elsif ($kind eq 'delete')
	{
		$found{"$table $old->{id}"} .= ' D';
	}
	elsif ($kind eq 'update' && $old && $old->{id} != $new->{id})
	{
		$found{"$table $old->{id}"} .= ' D';
		$found{"$table $new->{id}"} .= " I$new->{n}";
	}
	elsif ($kind eq 'update')
	{
		$found{"$table $new->{id}"} .= " U$new->{n}";
	}
	elsif ($kind ne 'relation' && $kind ne 'hello' && $kind ne 'message')
	{
		$strange ||= "what is this: $line";
	}
}
cmp_ok($changes, '>', 1000, "the source made $changes changes");
my @different = grep { ($expected{$_} || '') ne ($found{$_} || '') } keys %{ { %expected, %found } };
is(join("\n", map { "$_: made" . ($expected{$_} || '') . ', read' . ($found{$_} || '') } splice @different, 0, 5), '',
	'each change is in the file once, in order');
is($twice, 0, 'no transaction is there twice');
is($open, 0, 'no transaction is open at the end');
is($strange, '', 'nothing strange is in the file');

$source->stop;
done_testing();

sub start_reader
{
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	return $pid if $pid;
	exec @recv, '--start', '-f', $file, '-s', 1, '-F', 1 or POSIX::_exit(1);
}
