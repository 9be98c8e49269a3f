# P1, client: with transactions in progress in the stream, and kill -9 at any point, what walhouse_recv's file stands for is every
# committed row once, and none that was voided; messages of no transaction are neither lost nor doubled; heartbeats keep an idle
# slot going.
use strict;
use warnings;
use IPC::Run;
use JSON::PP;
use WalhouseTest;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $node = new_server('source', conf =>
		"shared_preload_libraries = ''\nlogical_decoding_work_mem = '64kB'\nmax_prepared_transactions = 10\n");
my $dir = PostgreSQL::Test::Utils::tempdir();
my @connect = ('walhouse_recv', '-d', $node->connstr('postgres'));
my $seed = $ENV{RANDOM_SEED} || int(time()) % 1_000_000;
srand($seed);
note("RANDOM_SEED=$seed");

sub run_recv
{
	my (@arguments) = @_;
	IPC::Run::run([ @connect, @arguments ], '<', \undef, '>', \my $out, '2>', \my $err, IPC::Run::timeout(120));
	return ($? >> 8, $out, $err);
}

sub start_recv
{
	my (@arguments) = @_;
	my $err = '';
	my $handle = IPC::Run::start([ @connect, @arguments ], '<', \undef, '>', \my $out, '2>', \$err);
	return { handle => $handle, err => \$err };
}

sub finish_recv
{
	my ($running, $signal) = @_;
	$running->{handle}->signal($signal);
	eval { $running->{handle}->finish };
	my $status = ($running->{handle}->full_results)[0];
	return $status & 127 ? -($status & 127) : $status >> 8;
}

sub size { return -s $_[0] || 0 }
sub current { return sql($node, 'SELECT pg_current_wal_lsn()') }

# read_whole LINES: {id => times}, {message => times} of a stream without segments; dies where it is no proper stream.
sub read_whole
{
	my (%ids, %messages, $open, @pending, $last);
	for my $line (split /\n/, $_[0])
	{
		my $entry = decode_json($line);
		my $kind = $entry->{kind};
		if ($kind eq 'begin') { die 'begin in a transaction' if $open++; @pending = () }
		elsif ($kind eq 'insert') { die 'a row of no transaction' if !$open; push @pending, $entry->{after}{id} }
		elsif ($kind eq 'commit' || $kind eq 'prepare')
		{
			die "$entry->{changes} changes told, " . @pending . ' came' if $entry->{changes} != @pending;
			$ids{$_}++ for @pending;
			$open = 0;
		}
		elsif ($kind eq 'message') { $messages{ $entry->{content} }++ }
		elsif ($kind !~ /^(hello|relation|commit_prepared)$/) { die "what is $line" }
	}
	die 'the last transaction is not whole' if $open;
	return (\%ids, \%messages);
}

sub once
{
	my ($name, $found, $expected) = @_;
	my @missing = grep { !$found->{$_} } @$expected;
	my %is_expected = map { $_ => 1 } @$expected;
	my @doubled = grep { $found->{$_} > 1 } keys %$found;
	my @void = grep { !$is_expected{$_} } keys %$found;
	is("@missing[0 .. ($#missing < 9 ? $#missing : 9)]", '', "$name: none of " . @$expected . ' is lost');
	is(join(' ', splice @doubled, 0, 10), '', "$name: none is doubled");
	is(join(' ', splice @void, 0, 10), '', "$name: none that was voided");
	return;
}

sql($node, q{CREATE TABLE t (id serial PRIMARY KEY, pad text); CREATE TABLE told (n integer); CREATE PUBLICATION only_t FOR TABLE t});

# Transactions of several sizes; each may lose a subtransaction, or all; some are prepared; messages between them.
my $load = q{
	CREATE PROCEDURE load(worker integer, rounds integer) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. rounds LOOP
			INSERT INTO t (pad) SELECT repeat('x', 100) FROM generate_series(1, (random() * 500)::integer + 1);
			BEGIN
				INSERT INTO t (pad) SELECT repeat('y', 100) FROM generate_series(1, (random() * 500)::integer);
				PERFORM 1 / (random() * 1.5)::integer;
			EXCEPTION WHEN division_by_zero THEN
				INSERT INTO t (pad) VALUES ('after an abort');
			END;
			IF random() < 0.2 THEN
				ROLLBACK;
			ELSE
				COMMIT;
			END IF;
			PERFORM pg_logical_emit_message(false, 'n', worker || ' ' || i);
			INSERT INTO told VALUES (i);
			COMMIT;
		END LOOP;
	END $$};
sql($node, $load);

my $worker = 0;
for my $case ([ 'json', 'lz4', '--whole' ], [ 'delimited', 'zstd' ])
{
	my ($format, $compression, @whole) = @$case;
	my $slot = "k_$format";
	my $file = "$dir/$slot";
	my $first = sql($node, q{SELECT nextval('t_id_seq')});
	my @arguments = ('--slot', $slot, '--start', '--publication', 'only_t', '--file', $file, '--format', $format, @whole,
		'--streaming', '--two-phase', '-o', 'messages=n', '-o', 'tally=on', '--fsync-interval', 0.02, '--status-interval', 0.02);
	my $kills = 0;

	# Batches are compressed on their way where the build can.
	push @arguments, '--compression', $compression if (run_recv('--compression', $compression, '--version'))[0] == 0;
	run_recv('--slot', $slot, '--create-slot', '--two-phase');
	my @loads = map { IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', "CALL load($_, 25)" ],
			'<', \undef, '>', \my $load_out, '2>', \my $load_err) } $worker + 1 .. $worker + 3;
	for my $round (1 .. 12)
	{
		my $running = start_recv(@arguments);
		my $goal = size($file) + int(rand(600_000));

		wait_until(sub { size($file) > $goal || rand() < 0.02 }, 1);
		$kills++ if finish_recv($running, 'KILL') == -9;
		wait_until(sub { sql($node, "SELECT active FROM pg_replication_slots WHERE slot_name = '$slot'") eq 'f' });
	}
	is(scalar(grep { $_->finish } @loads), 3, "$format: the load ends well");
	sql($node, "BEGIN; INSERT INTO t (pad) VALUES ('prepared'); PREPARE TRANSACTION '$slot'");
	sql($node, "COMMIT PREPARED '$slot'");
	cmp_ok($kills, '>=', 10, "$format: killed $kills times");
	my ($status, $out, $err) = run_recv(@arguments, '--endpos', current());
	is($status, 0, "$format: the last run ends well") or diag($err);
	my $lines = @whole ? slurp_file($file) : (run_recv('--decode', $file, '--whole'))[1];
	my ($ids, $messages) = read_whole($lines);
	once("$format, rows", $ids, [ split /\n/, sql($node, "SELECT id FROM t WHERE id >= $first") ]);
	once("$format, messages", $messages, [ map { my $w = $_; map { "$w $_" } 1 .. 25 } $worker + 1 .. $worker + 3 ]);
	if (!@whole)
	{
		my $plain = (run_recv('--decode', $file))[1];
		cmp_ok(scalar(() = $plain =~ /"kind":"stream_start"/g), '>', 20, 'with segments');
		like($plain, qr/"kind":"stream_abort"/, 'and aborts');
		like($plain, qr/"kind":"hello".*"kind":"hello"/s, 'and several sessions');
	}
	$worker += 3;
	run_recv('--slot', $slot, '--drop-slot');
}

# -------- a message of no transaction that comes last --------

my $file = "$dir/message";
run_recv('--slot', 'm', '--create-slot');
my @arguments = ('--slot', 'm', '--start', '--file', $file, '-o', 'messages=on', '--fsync-interval', 0.02, '--status-interval', 0.02);
my $running = start_recv(@arguments);
sql($node, q{SELECT pg_logical_emit_message(false, 'alone', 'here'), txid_current()});
my $behind = current();
ok(wait_until(sub { -e $file && slurp_file($file) =~ /"prefix":"alone"/ }), 'a message arrives');
ok(poll($node, 'postgres', "SELECT confirmed_flush_lsn >= '$behind' FROM pg_replication_slots WHERE slot_name = 'm'"),
	'what is behind it is confirmed');
finish_recv($running, 'KILL');
wait_until(sub { sql($node, q{SELECT active FROM pg_replication_slots WHERE slot_name = 'm'}) eq 'f' });
sql($node, q{INSERT INTO told VALUES (0)});
run_recv(@arguments, '--endpos', current());
is(scalar(() = slurp_file($file) =~ /"prefix":"alone"/g), 1, 'and is there once after a kill');
run_recv('--slot', 'm', '--drop-slot');

# -------- heartbeats --------

run_recv('--slot', 'h', '--create-slot');
my $confirmed = sql($node, q{SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'h'});
$running = start_recv('--slot', 'h', '--start', '--file', "$dir/beats", '--heartbeat', 0.1, '--status-interval', 0.1, '-F', 0.1, '-v');
ok(wait_until(sub { $running->{handle}->pump_nb;
			scalar(() = ${ $running->{err} } =~ /round trip/g) >= 3 }), 'heartbeats come back') or diag(${ $running->{err} });
ok(poll($node, 'postgres', "SELECT confirmed_flush_lsn > '$confirmed' FROM pg_replication_slots WHERE slot_name = 'h'"),
	'and move an idle slot');
my $beating = sub { my @n = slurp_file("$dir/beats") =~ /walhouse.heartbeat/g; return scalar @n };
my $n = $beating->();
kill9($node);
$node->start;
ok(wait_until(sub { $beating->() > $n + 2 }), 'also after the source has crashed');
is(finish_recv($running, 'TERM'), 0, 'and it ends in order');

$node->stop;
done_testing();
