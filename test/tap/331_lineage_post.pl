# walhouse_openlineage posts each event at least once and in order: whatever the endpoint answers, whoever goes away, and however often it is killed.
# What is posted is a table here; the events themselves are held to their schemas elsewhere.
use strict;
use warnings;
use WalhouseTest;
use WalhouseReceiver;
use IPC::Run;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = one_server();
plan skip_all => 'walhouse_openlineage is not built: libcurl is not there' if !grep { -x "$_/walhouse_openlineage" } split /:/, $ENV{PATH};

my $receiver = WalhouseReceiver->new;
my $state = PostgreSQL::Test::Utils::tempdir() . '/state';
my @program = ('walhouse_openlineage', '-d', $node->connstr('events'), '--url', $receiver->url);

sql($node, 'CREATE DATABASE events');
sql($node, q{
	CREATE SCHEMA walhouse;
	CREATE TABLE walhouse.feed (feed_id int, name text);
	INSERT INTO walhouse.feed VALUES (1, 'shop'), (2, 'odd "feed"');
	CREATE TABLE walhouse.event (load_id bigint, n int, event jsonb, feed text DEFAULT 'shop');
	CREATE FUNCTION walhouse.openlineage(since bigint, feed text, namespace text, OUT recorded bigint, OUT load_id bigint, OUT event jsonb) RETURNS SETOF record LANGUAGE sql
		AS $$ SELECT e.load_id, e.load_id, e.event || coalesce(jsonb_build_object('namespace', namespace), '{}') FROM walhouse.event e
			WHERE e.feed = openlineage.feed AND e.load_id > since AND e.load_id <= since + 100 ORDER BY e.load_id, n $$;
	INSERT INTO walhouse.event SELECT l, n, jsonb_build_object('load', l, 'n', n, 'text', 'ü"\\') FROM generate_series(1, 3) l, generate_series(1, 2) n;
}, 'events');

# run ARGUMENTS: to its end; exit status and standard error.
sub run
{
	IPC::Run::run([ @program, @_ ], '<', \undef, '>', \my $out, '2>', \my $err, IPC::Run::timeout(60));
	return ($? >> 8, $err);
}

sub start
{
	my $err = '';
	return { handle => IPC::Run::start([ @program, @_ ], '<', \undef, '>', \my $out, '2>', \$err), err => \$err };
}

sub finish
{
	my ($running, $signal) = @_;
	$running->{handle}->signal($signal);
	eval { $running->{handle}->finish };
	return ($running->{handle}->full_results)[0];
}

sub loads { return join ' ', map { /"n": (\d+)/; my $n = $1; /"load": (\d+)/; "$1.$n" } @_ }
sub kept { return -e $state && slurp_file($state) =~ /^1 (\d+)$/m ? "$1\n" : '' }

my ($status, $err) = run('--once', '--state', $state);
is($status, 0, 'what there is is posted');
is(loads($receiver->taken), '1.1 1.2 2.1 2.2 3.1 3.2', 'each event once, in order');
like(($receiver->taken)[0], qr/"text": "ü\\"\\\\"/, 'byte by byte');
like(($receiver->requests)[0][2], qr/^POST \/api\/v1\/lineage .*Content-Type: application\/json/, 'as JSON');
unlike(join(' ', map { $_->[2] } $receiver->requests), qr/Authorization/, 'without a key');
is(kept(), "3\n", 'and how far is kept');
$receiver->forget;
($status) = run('--once', '--state', $state);
is(loads($receiver->taken), '', 'a second time there is nothing');
($status) = run('--once', '--since', 2, '--namespace', 'postgres://dw:5432');
is(loads($receiver->taken), '3.1 3.2', '--since leaves loads out');
like(($receiver->taken)[0], qr{"namespace": "postgres://dw:5432"}, 'and the namespace goes along');
{
	local $ENV{OPENLINEAGE_API_KEY} = 'secret';
	$receiver->forget;
	run('--once', '--since', 2);
	like(($receiver->requests)[0][2], qr/Authorization: Bearer secret/, 'the key of the environment is sent');
}

# Each feed has a position of its own.
sql($node, q{INSERT INTO walhouse.event SELECT 2, n, jsonb_build_object('load', 2, 'n', n + 10), 'odd "feed"' FROM generate_series(1, 2) n}, 'events');
$receiver->forget;
($status) = run('--once', '--state', $state);
is(loads($receiver->taken), '2.11 2.12', 'a feed that came later is posted from its first load');
is(slurp_file($state), "1 3\n2 2\n", 'with a position of its own');
sql($node, q{DELETE FROM walhouse.event WHERE feed <> 'shop'}, 'events');

# What passes by itself is tried again.
$receiver->forget;
$receiver->answer(503, 429, 201, 500);
($status, $err) = run('--once', '--since', 2);
is($status, 0, 'an endpoint that is busy is asked again');
is(loads($receiver->taken), '3.1 3.2', 'until it has taken each event');
is(join(' ', map { $_->[0] } $receiver->refused), '503 429 500', 'which it had not');
like($err, qr/trying again in 500 ms: HTTP status 503: sorry, 503/, 'and the reason is told');
$receiver->forget;
$receiver->answer('hang');
my $running = start('--once', '--since', 2, '--timeout', 1);
ok(wait_until(sub { scalar($receiver->requests) }), 'an endpoint that does not answer');
ok(wait_until(sub { pump($running); ${ $running->{err} } =~ /trying again/ }), 'is given up after a while');
$receiver->stop;
ok(wait_until(sub { pump($running); ${ $running->{err} } =~ /onnect.*refused|Couldn't connect|Failed to connect/i }), 'one that is gone');
$receiver = WalhouseReceiver->new($receiver);
ok(wait_until(sub { loads($receiver->taken) eq '3.1 3.2' }), 'and comes back has each event in the end');
$running->{handle}->finish;

# A refusal ends it, and nothing behind is posted.
$receiver->forget;
unlink $state;
$receiver->answer(201, 201, 201, 400);
($status, $err) = run('--once', '--state', $state);
is($status, 1, 'an event that is refused ends it');
like($err, qr/an event of load 2 was refused: HTTP status 400: sorry, 400.*"load": 2/s, 'it is shown');
is(loads($receiver->taken), '1.1 1.2 2.1', 'nothing behind it is posted');
is(kept(), "1\n", 'the load before is kept');
($status) = run('--once', '--state', $state);
is(loads($receiver->taken), '1.1 1.2 2.1 2.1 2.2 3.1 3.2', 'the load is posted again from its first event');
$receiver->forget;
$receiver->answer(400, 201);
($status, $err) = run('--once', '--since', 2, '--skip-refused');
is($status, 0, '--skip-refused');
is(loads($receiver->taken), '3.2', 'goes on behind it');

# It runs on, through restarts of the warehouse and kill -9 of itself.
$receiver->forget;
unlink $state;
$running = start('--state', $state, '--interval', 1);
ok(wait_until(sub { kept() eq "3\n" }), 'without --once');
sql($node, q{INSERT INTO walhouse.event SELECT 4, n, jsonb_build_object('load', 4, 'n', n) FROM generate_series(1, 2) n}, 'events');
ok(wait_until(sub { kept() eq "4\n" }), 'it looks again');
$node->restart;
sql($node, q{INSERT INTO walhouse.event SELECT 5, n, jsonb_build_object('load', 5, 'n', n) FROM generate_series(1, 2) n}, 'events');
ok(wait_until(sub { kept() eq "5\n" }), 'also after a restart of the warehouse');
is(loads($receiver->taken), '1.1 1.2 2.1 2.2 3.1 3.2 4.1 4.2 5.1 5.2', 'each event once');
$receiver->answer((503) x 100);
sql($node, q{INSERT INTO walhouse.event SELECT 6, n, jsonb_build_object('load', 6, 'n', n) FROM generate_series(1, 2) n}, 'events');
ok(wait_until(sub { scalar(grep { $_->[0] eq '503' } $receiver->requests) }), 'while it tries again');
is(finish($running, 'TERM'), 0, 'SIGTERM ends it in order');
is(kept(), "5\n", 'at the load of which all was taken');
$receiver->answer();
$receiver->forget;
sql($node, q{INSERT INTO walhouse.event SELECT l, n, jsonb_build_object('load', l, 'n', n) FROM generate_series(7, 300) l, generate_series(1, 2) n}, 'events');
for (1 .. 8)
{
	my $before = scalar($receiver->requests);
	$running = start('--state', $state, '--interval', 1);
	wait_until(sub { scalar($receiver->requests) > $before + 40 });
	finish($running, 'KILL');
	last if kept() eq "300\n";
}
($status) = run('--once', '--state', $state);
is(kept(), "300\n", 'killed again and again, it comes to the end');
my (%seen, @first);
for my $event (split ' ', loads($receiver->taken))
{
	push @first, $event if !$seen{$event}++;
}
is(join(' ', @first), join(' ', map { ("$_.1", "$_.2") } 6 .. 300), 'every event has come, in order');
cmp_ok((sort { $b <=> $a } values %seen)[0], '<=', 9, 'few of them again');

# What cannot work is told at once.
($status, $err) = run('--once', '--state', '/nowhere/state');
is($status, 1, 'a state file that cannot be written');
like($err, qr{could not write file "/nowhere/state.new"}, 'is named');
open my $file, '>', $state or die $!;
print $file "x\n";
close $file;
($status, $err) = run('--once', '--state', $state);
like($err, qr/does not hold the positions of feeds/, 'one with something else in it is refused');
($status, $err) = run('--interval', '0');
like($err, qr/option --interval takes a number from 1 to 86400/, 'an interval of nothing');
@program = ('walhouse_openlineage', '-d', $node->connstr('template1'), '--url', $receiver->url);
($status, $err) = run('--once');
is($status, 1, 'a database without walhouse');
like($err, qr/could not read feeds: ERROR:  relation "walhouse.feed" does not exist/, 'is told');
@program = ('walhouse_openlineage', '-d', 'port=1 host=/nowhere', '--url', $receiver->url);
($status, $err) = run('--once');
is($status, 1, 'a warehouse that is not there');
like($err, qr{connection to server on socket "/nowhere/}, 'is told, too');
@program = ('walhouse_openlineage');
($status, $err) = run('--once');
is($status, 1, 'no URL');
like($err, qr/no URL is given/, 'is an error');
IPC::Run::run([ 'walhouse_openlineage', '--help' ], '>', \my $help);
like($help, qr/^walhouse_openlineage posts the loads/, '--help');
$node->stop;
done_testing();

sub pump
{
	my ($running) = @_;
	$running->{handle}->pump_nb;
	return;
}
