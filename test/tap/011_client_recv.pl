# P1, client: whatever happens to walhouse_recv or its source, its file ends up with every transaction once, in order, and
# what is confirmed is never more than what is durable in the file.
use strict;
use warnings;
use WalhouseTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('source', conf => "shared_preload_libraries = ''\nlogical_decoding_work_mem = '64kB'\n");
my $dir = PostgreSQL::Test::Utils::tempdir();
my @connect = ('walhouse_recv', '-d', $node->connstr('postgres'));

# run_recv ARGUMENTS: runs it to its end; exit status, standard output, standard error.
sub run_recv
{
	my (@arguments) = @_;
	IPC::Run::run([ @connect, @arguments ], '<', \undef, '>', \my $out, '2>', \my $err, IPC::Run::timeout(120));
	return ($? >> 8, $out, $err);
}

# start_recv ARGUMENTS: starts it and leaves it running.
sub start_recv
{
	my (@arguments) = @_;
	my $err = '';
	my $handle = IPC::Run::start([ @connect, @arguments ], '<', \undef, '>', \my $out, '2>', \$err);
	return { handle => $handle, err => \$err };
}

# finish_recv RUNNING, SIGNAL: exit status, or the signal that ended it as -N.
sub finish_recv
{
	my ($running, $signal) = @_;
	$running->{handle}->signal($signal);
	eval { $running->{handle}->finish };
	my $status = ($running->{handle}->full_results)[0];
	return $status & 127 ? -($status & 127) : $status >> 8;
}

sub size { return -s $_[0] || 0 }
sub contains { my ($file, $text) = @_; return -e $file && index(slurp_file($file), $text) >= 0 }
sub confirmed { return sql($node, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '$_[0]'") }
sub current { return sql($node, 'SELECT pg_current_wal_lsn()') }
sub at_least { return sql($node, "SELECT '$_[0]'::pg_lsn >= '$_[1]'::pg_lsn") eq 't' }

# ids LINES: the ids that are inserted, in order, of whole transactions; dies where the lines are not a proper stream.
sub ids
{
	my (@ids, $open, @pending);
	for my $line (split /\n/, $_[0])
	{
		if ($line =~ /^\{"kind":"begin"/) { die "begin in a transaction" if $open; $open = 1; @pending = () }
		elsif ($line =~ /^\{"kind":"commit".*"changes":(\d+)\}$/)
		{
			die "commit of nothing" if !$open;
			die "commit counts $1, not " . @pending if $1 != @pending;
			$open = 0;
			push @ids, @pending;
		}
		elsif ($line =~ /^\{"kind":"insert".*"after":\{"id":(\d+)/) { push @pending, $1 }
		elsif ($line !~ /^\{"kind":"(hello|relation)"/) { die "what is $line" }
	}
	die 'the last transaction is not whole' if $open;
	return join ' ', @ids;
}

sql($node, 'CREATE TABLE t (id serial PRIMARY KEY, pad text); CREATE TABLE unpublished (id integer);
	CREATE PUBLICATION only_t FOR TABLE t');

# -------- slots and options --------

my ($status, $out, $err) = run_recv('--slot', 'a', '--create-slot');
is($status, 0, '--create-slot');
($status, $out, $err) = run_recv('--slot', 'a', '--create-slot');
is($status, 1, 'a second time it is an error');
($status) = run_recv('--slot', 'a', '--create-slot', '--if-not-exists');
is($status, 0, 'but not with --if-not-exists');
is(sql($node, q{SELECT plugin FROM pg_replication_slots}), 'walhouse_output', 'the slot has the plugin');
($status) = run_recv('--slot', 'b c"d', '--drop-slot');
is($status, 1, 'a slot that is not there cannot be dropped');
for my $wrong ([ '-o', 'colour=red' ], [ '-o', 'own_writes' ], [ '-o', 'format=json' ], [ '--publication', 'missing' ],
	[ '--endpos', 'x' ], ['--drop-slot'], [ '--format', 'xml' ], ['more'], [ '--slot', 'missing' ])
{
	sql($node, q{INSERT INTO t (pad) VALUES ('for the missing publication')});
	($status, $out, $err) = run_recv('--slot', 'a', '--start', @$wrong, '--file', "$dir/wrong");
	is($status, 1, "status 1 with @$wrong");
}
like((run_recv('--help'))[1], qr/--create-slot/, '--help');
like((run_recv('--version'))[1], qr/^walhouse_recv \d/, '--version');
run_recv('--slot', 'a', '--drop-slot');
sql($node, 'TRUNCATE t RESTART IDENTITY');

# -------- --endpos --------

run_recv('--slot', 'e', '--create-slot');
sql($node, 'INSERT INTO t (pad) VALUES (1)');
my $middle = current();
sql($node, 'INSERT INTO t (pad) VALUES (2)');
($status, $out) = run_recv('--slot', 'e', '--start', '--endpos', $middle);
is($status . ids($out), '01', '--endpos ends before what comes later');
($status, $out) = run_recv('--slot', 'e', '--start', '--endpos', current());
is($status . ids($out), '02', 'and the next run goes on there');
($status, $out) = run_recv('--slot', 'e', '--start', '--endpos', current());
is($status . $out, '0', 'what was printed is confirmed');
run_recv('--slot', 'e', '--drop-slot');

# -------- what is confirmed --------

run_recv('--slot', 'f', '--create-slot');
my $file = "$dir/confirmed";
my $running = start_recv('--slot', 'f', '--start', '--file', $file, '--publication', 'only_t', '--fsync-interval', 0,
	'--status-interval', 0.02);
sql($node, q{INSERT INTO t (pad) VALUES ('unsynced')});
my $position = current();
ok(wait_until(sub { contains($file, 'unsynced') }), 'a row arrives at once');
sql($node, q{INSERT INTO unpublished SELECT generate_series(1, 100)}) for 1 .. 20;
ok(!at_least(confirmed('f'), $position), 'what is not synced is not confirmed');
is(finish_recv($running, 'TERM'), 0, 'SIGTERM ends it with status 0');
ok(at_least(confirmed('f'), $position), 'and confirms what it synced');
my $size = size($file);
($status) = run_recv('--slot', 'f', '--start', '--file', $file, '--publication', 'only_t', '--endpos', current());
is($status . size($file), "0$size", 'nothing is written twice');

$running = start_recv('--slot', 'f', '--start', '--file', $file, '--publication', 'only_t', '--status-interval', 0.05);
sql($node, q{INSERT INTO unpublished SELECT generate_series(1, 1000)});
$position = current();
ok(wait_until(sub { at_least(confirmed('f'), $position) }), 'transactions without a change to send move the slot');
is(size($file), $size, 'and write nothing');
is(finish_recv($running, 'INT'), 0, 'SIGINT ends it with status 0');

# -------- a source that goes away --------

$running = start_recv('--slot', 'f', '--start', '--file', $file, '--publication', 'only_t');
sql($node, q{INSERT INTO t (pad) VALUES ('before the restart')});
wait_until(sub { contains($file, 'before the restart') });
$node->restart;
sql($node, q{INSERT INTO t (pad) VALUES ('after the restart')});
ok(wait_until(sub { contains($file, 'after the restart') }), 'it connects again');
kill9($node);
$node->start;
sql($node, q{INSERT INTO t (pad) VALUES ('after the crash')});
ok(wait_until(sub { contains($file, 'after the crash') }), 'also after a crash');
is(finish_recv($running, 'TERM'), 0, 'and ends in order');
is(ids(slurp_file($file)), sql($node, q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM t WHERE id >= 3}),
	'the file has every row once');
$running = start_recv('--slot', 'f', '--start', '--file', $file, '--publication', 'only_t', '--no-loop');
wait_until(sub { sql($node, q{SELECT active FROM pg_replication_slots WHERE slot_name = 'f'}) eq 't' });
$node->restart;
eval { $running->{handle}->finish };
is(($running->{handle}->full_results)[0] >> 8, 1, '--no-loop ends with status 1');

# -------- a file of another cluster --------

my $foreign = slurp_file($file);
$foreign =~ s/("system_identifier":")\d+/${1}1/g;
append_to_file("$dir/foreign", $foreign);
($status, $out, $err) = run_recv('--slot', 'f', '--start', '--file', "$dir/foreign", '--no-loop');
is($status, 1, 'a file of another cluster is refused');
like($err, qr/another cluster/, 'with a message');
append_to_file("$dir/letter", "Dear reader,\n");
($status) = run_recv('--slot', 'f', '--start', '--file', "$dir/letter", '--no-loop');
is($status . slurp_file("$dir/letter"), "1Dear reader,\n", 'so is a file of something else, which stays as it is');

# -------- kill -9, at any point --------

for my $format ('json', 'delimited')
{
	my $slot = "k_$format";
	my $file = "$dir/$slot";
	my $first = sql($node, q{SELECT last_value + 1 FROM t_id_seq});
	my @arguments = ('--slot', $slot, '--start', '--publication', 'only_t', '--file', $file, '--format', $format,
		'--fsync-interval', 0.02, '--status-interval', 0.02);
	my $kills = 0;

	run_recv('--slot', $slot, '--create-slot');
	my $load = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', q{
			DO $$ BEGIN
				FOR i IN 1 .. 400 LOOP
					INSERT INTO t (pad) SELECT repeat('x', n) FROM generate_series(1, CASE WHEN i % 50 = 0 THEN 3000 ELSE i % 20 END) n;
					COMMIT;
				END LOOP;
			END $$} ], '<', \undef, '>', \my $load_out, '2>', \my $load_err);
	for my $round (1 .. 20)
	{
		my $running = start_recv(@arguments);
		my $goal = size($file) + int(rand(400_000));

		wait_until(sub { size($file) > $goal || rand() < 0.02 }, 1);
		$kills++ if finish_recv($running, 'KILL') == -9;
		# the walsender of a killed client may still hold the slot
		wait_until(sub { sql($node, "SELECT active FROM pg_replication_slots WHERE slot_name = '$slot'") eq 'f' });
	}
	ok($load->finish, 'the load ends well') or diag($load_err);
	cmp_ok($kills, '>=', 20, "$format: killed 20 times");
	($status) = run_recv(@arguments, '--endpos', current());
	is($status, 0, "$format: the last run ends well");
	my $lines = $format eq 'json' ? slurp_file($file) : (run_recv('--decode', $file))[1];
	my $expected = sql($node, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t WHERE id >= $first");
	is(length(ids($lines)), length($expected), "$format: as many rows as there are");
	ok(ids($lines) eq $expected, "$format: each once, in order");

	# a file that ends in the middle of something
	append_to_file($file, $format eq 'json' ? '{"kind":"begin","xid":1' : "\x80\x01abc");
	sql($node, q{INSERT INTO t (pad) VALUES ('one more')});
	run_recv(@arguments, '--endpos', current());
	$lines = $format eq 'json' ? slurp_file($file) : (run_recv('--decode', $file))[1];
	$expected = sql($node, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM t WHERE id >= $first");
	ok(ids($lines) eq $expected, "$format: half a batch at the end of the file is cut off");
	run_recv('--slot', $slot, '--drop-slot');
}

$node->stop;
done_testing();
