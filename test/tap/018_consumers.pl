# The consumers of docs/consumers, in C, Python and JavaScript, on a live slot and on the golden files: what they print is what
# walhouse_recv prints. The stream has all that a reader must know: values of many types, transactions in progress with
# subtransactions that abort, prepared ones, chunks, every kind of old image, messages; and each transaction has its tally.
use strict;
use warnings;
use Cwd;
use IPC::Run;
use JSON::PP;
use WalhouseTest;
use PostgreSQL::Test::Utils qw(slurp_file append_to_file);
use Test::More;

my $top = getcwd();
my $dir = PostgreSQL::Test::Utils::tempdir();
my $json = JSON::PP->new->canonical->allow_nonref->allow_bignum;
my @goldens = map { m{([^/]+)\.bin$} ? $1 : () } glob "$top/test/golden/*.bin";

# run INPUT FILE, COMMAND...: status, output, errors.
sub run_on
{
	my ($input, @command) = @_;
	IPC::Run::run(\@command, '<', $input, '>', \my $out, '2>', \my $err, IPC::Run::timeout(300));
	return ($?, $out, $err);
}

# told LINES: what a consumer is to print: transactions, with the values that came in chunks in their places.
sub told
{
	my (%chunks, @told);
	for my $line (split /\n/, $_[0])
	{
		my $entry = $json->decode($line);
		next if $entry->{kind} =~ /^(hello|relation)$/;
		if ($entry->{kind} eq 'chunk')
		{
			$chunks{ $entry->{id} } .= pack 'H*', substr $entry->{data}, 2;
			next;
		}
		for my $image ([qw(chunked after)], [qw(before_chunked before)])
		{
			my $chunked = delete $entry->{ $image->[0] } or next;
			$entry->{ $image->[1] }{$_} = value_of($chunks{ $chunked->{$_}{id} }) for keys %$chunked;
		}
		push @told, $json->encode($entry);
	}
	return \@told;
}

# value_of BYTES: text as text; in this test all else that comes in chunks is bytea that is no valid text.
sub value_of { my $text = $_[0]; return utf8::decode($text) && $text !~ /^\x00/ ? $_[0] : '\\x' . unpack 'H*', $_[0] }

# agrees NAME, OUTPUT, EXPECTED: line by line; the first difference is shown.
sub agrees
{
	my ($name, $output, $expected) = @_;
	my $found = told($output);
	my ($first) = grep { ($found->[$_] // '') ne ($expected->[$_] // '') } 0 .. ($#$expected > $#$found ? $#$expected : $#$found);
	ok(!defined $first, "$name: all " . @$expected . ' lines are the same')
		or diag("line $first\nexpected: " . substr($expected->[$first] // 'nothing', 0, 2000) . "\nfound: "
			. substr($found->[$first] // 'nothing', 0, 2000));
	return;
}

# -------- readers --------

my %reader;

# Debian's package of the library belongs to the system's Python, whatever other ones there are.
my ($python) = grep { -x && system("$_ -c 'import google.protobuf' 2>/dev/null") == 0 } '/usr/bin/python3';
my $generated = !system('protoc', '-I', "$top/src/wire", "--python_out=$dir", "$top/src/wire/walhouse.proto");
ok($generated, 'protoc writes the Python code');
$ENV{PYTHONPATH} = $dir;
$reader{Python} = [ $python, "$top/docs/consumers/consumer.py" ] if $python;

my ($status, $out, $err) = run_on(\undef, 'sh', '-c', "command -v node npm && cd $dir && timeout 120 npm install --no-audit --no-fund protobufjs\@7");
$ENV{NODE_PATH} = "$dir/node_modules";
$reader{JavaScript} = [ 'node', "$top/docs/consumers/consumer.js", "$top/src/wire/walhouse.proto" ]
	if $status == 0 && -d "$dir/node_modules/protobufjs";

# -------- golden files --------

for my $language ('Python', 'JavaScript')
{
SKIP:
	{
		skip("$language: " . ($language eq 'Python' ? '/usr/bin/python3 has no google.protobuf (package python3-protobuf)'
				: 'there is no node, or npm cannot install protobufjs here'), 1) if !$reader{$language};
		for my $golden (grep { !/lz4|zstd/ } @goldens)
		{
			my $whole = "$top/test/golden/$golden.whole.json";
			my $expected = told(slurp_file(-e $whole ? $whole : "$top/test/golden/$golden.json"));
			($status, $out, $err) = run_on("$top/test/golden/$golden.bin", @{ $reader{$language} });
			is($status, 0, "$language reads $golden") or diag($err);
			agrees("$language, $golden", $out, $expected);
		}
		# A tally that does not match is noticed: the last digit of a row is another.
		my $bytes = slurp_file("$top/test/golden/changes.bin");
		$bytes =~ s/moved/mowed/ or die;
		append_to_file("$dir/$language.bin", $bytes);
		($status, $out, $err) = run_on("$dir/$language.bin", @{ $reader{$language} });
		isnt($status, 0, "$language: a row that was changed on its way is noticed");
		like($err, qr/tally/, 'by the tally');
	}
}
for my $golden (@goldens)
{
	($status, $out, $err) = run_on(\undef, 'walhouse_recv', '--decode', "$top/test/golden/$golden.bin");
	if ($golden =~ /lz4|zstd/ && $err =~ /cannot read the batch's compression/)
	{
		pass("walhouse_recv reads $golden # skip this build cannot");
		next;
	}
	is($out, slurp_file("$top/test/golden/$golden.json"), "walhouse_recv reads $golden");
}

# -------- a live slot --------

my $node = new_server('source', conf =>
		"shared_preload_libraries = ''\nmax_prepared_transactions = 10\nlogical_decoding_work_mem = '64kB'\n");
my @recv = ('walhouse_recv', '-d', $node->connstr('postgres'));
my @options = ('-o', 'tally=on', '-o', 'messages=on');
run_on(\undef, @recv, '--create-slot', '--slot', $_, '--two-phase') for 'streamed', 'plain';
sql($node, q{
	CREATE TYPE mood AS ENUM ('calm', 'wild');
	CREATE TABLE mix (id bigint PRIMARY KEY, "Größe" text, n numeric, f4 real, f8 double precision, ok boolean, d date, t time,
		tz timetz, ts timestamp, at timestamptz, i interval, u uuid, b bytea, j jsonb, m mood, p point, list integer[],
		words text[], nested numeric[], net inet, span int4range);
	CREATE TABLE full_image (id integer PRIMARY KEY, v text, w integer);
	ALTER TABLE full_image REPLICA IDENTITY FULL;
	CREATE TABLE parted (id integer, v text) PARTITION BY RANGE (id);
	CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
	CREATE TABLE no_key (v text)});
sql($node, q{INSERT INTO mix VALUES
	(9007199254740993, 'größe "x"', 12.50, 0.1, 0.1, true, '2026-11-23', '12:34:56.5', '12:34:56+05:30', '2026-11-23 01:02:03',
		'2026-11-23 01:02:03.5+02', '1 year -3 days 04:05:06.7', '01234567-89ab-cdef-0123-456789abcdef', '\x00ff', '{"a": [1, null]}',
		'wild', '(1,2)', '{1,NULL,-3}', '{"",NULL,"a,b"}', '{{1.50,2},{NULL,4}}', '10.0.0.0/8', '[1,5)'),
	(-1, '', 'NaN', 'NaN', '-Infinity', false, 'infinity', '24:00', '00:00-15:59', '-infinity', '4713-01-01 00:00 BC', '-1 mons',
		'00000000-0000-0000-0000-000000000000', '', 'null', 'calm', NULL, '[0:1]={5,6}', '{}', NULL, NULL, 'empty');
	INSERT INTO mix (id, n, f4, f8, d, t)
		VALUES (0, '123456789012345678901234567890.50', 1e-45, 5e-324, '0001-01-01 BC', '00:00:00.000001')});
sql($node, q{INSERT INTO full_image SELECT i, 'v' || i, i FROM generate_series(1, 5) i; UPDATE full_image SET w = w + 1 WHERE id < 3;
	UPDATE full_image SET id = 30 WHERE id = 3; DELETE FROM full_image WHERE id = 4;
	UPDATE mix SET id = 1 WHERE id = 0; DELETE FROM mix WHERE id = -1; TRUNCATE full_image, no_key CASCADE});
# Transactions in progress: a subtransaction that aborts, one that does not, one within another; a whole one that aborts.
sql($node, q{BEGIN; INSERT INTO full_image SELECT i, repeat('x', 100), i FROM generate_series(1, 700) i;
	SAVEPOINT a; INSERT INTO full_image SELECT i, repeat('y', 100), i FROM generate_series(2001, 2700) i; ROLLBACK TO a;
	SAVEPOINT b; INSERT INTO full_image SELECT i, repeat('z', 100), i FROM generate_series(4001, 4700) i;
	SAVEPOINT c; UPDATE full_image SET w = 0 WHERE id < 300; DELETE FROM mix; ROLLBACK TO c; RELEASE b;
	SELECT pg_logical_emit_message(true, 'outbox', '{"inside": true}'); DELETE FROM full_image WHERE id % 10 = 0; COMMIT});
sql($node, q{BEGIN; INSERT INTO no_key SELECT repeat('gone', 20) FROM generate_series(1, 900); ROLLBACK});
sql($node, q{SELECT pg_logical_emit_message(false, 'outbox', 'alone ' || chr(233))});
# Values in chunks: text, bytes, both images of an update.
sql($node, q{INSERT INTO full_image VALUES (-1, (SELECT string_agg(md5(i::text), 'é') FROM generate_series(1, 35000) i), 1);
	UPDATE full_image SET v = v || 'more' WHERE id = -1;
	INSERT INTO mix (id, b) SELECT -2, '\x00ff'::bytea || decode(string_agg(md5(i::text), ''), 'hex') FROM generate_series(1, 70000) i});
sql($node, q{BEGIN; INSERT INTO parted VALUES (1, 'a'); PREPARE TRANSACTION 'one'});
sql($node, q{BEGIN; INSERT INTO no_key SELECT repeat('large', 20) FROM generate_series(1, 900); PREPARE TRANSACTION 'two'});
sql($node, q{BEGIN; INSERT INTO no_key VALUES ('in vain'); PREPARE TRANSACTION 'three'});
sql($node, q{COMMIT PREPARED 'one'});
sql($node, q{COMMIT PREPARED 'two'});
sql($node, q{ROLLBACK PREPARED 'three'});
# A rewrite; partitions that come and go; then something after them, so that the end can be reached.
sql($node, q{ALTER TABLE no_key ADD at timestamptz DEFAULT clock_timestamp(); INSERT INTO no_key VALUES ('x')});
sql($node, q{CREATE TABLE part_2 PARTITION OF parted FOR VALUES FROM (100) TO (200); INSERT INTO parted VALUES (101, 'b');
	ALTER TABLE parted DETACH PARTITION part_1});
my $end = sql($node, 'SELECT pg_current_wal_lsn()');
sql($node, q{SELECT pg_logical_emit_message(true, '', '')});

my $file = "$dir/stream";
($status, $out, $err) = run_on(\undef, @recv, '--slot', 'streamed', '--start', '--endpos', $end, '--streaming', '--two-phase',
	@options, '--format', 'delimited', '--file', $file, '--compression', 'off');
is($status, 0, 'walhouse_recv takes the stream') or diag($err);
my $streamed = (run_on(\undef, 'walhouse_recv', '--decode', $file))[1];
cmp_ok(scalar(() = $streamed =~ /"kind":"stream_start"/g), '>', 3, 'with transactions in progress');
like($streamed, qr/"kind":"stream_abort"/, 'and aborts');
like($streamed, qr/"kind":"$_"/, $_) for qw(chunk stream_prepare prepare commit_prepared rollback_prepared truncate message);
my $expected = told((run_on(\undef, 'walhouse_recv', '--decode', $file, '--whole'))[1]);
for my $language ('Python', 'JavaScript')
{
SKIP:
	{
		skip("$language: not here, see above", 1) if !$reader{$language};
		($status, $out, $err) = run_on($file, @{ $reader{$language} });
		is($status, 0, "$language reads the live stream, and all tallies match") or diag($err);
		agrees("$language, live", $out, $expected);
	}
}

# -------- C, on a slot of its own, without streaming --------

my $config = sub { my $text = `$ENV{PG_CONFIG} $_[0]`; chomp $text; return split ' ', $text };
is(system('cc', "-I$top/src", $config->('--cppflags'), '-I' . join('', $config->('--includedir')),
		'-I' . join('', $config->('--includedir-server')), '-o', "$dir/consumer", "$top/docs/consumers/consumer.c",
		glob("$top/src/wire/*.c"), '-L' . join('', $config->('--pkglibdir')), '-L' . join('', $config->('--libdir')),
		qw(-lpgcommon -lpgport -lpq -lprotobuf-c -lm)), 0, 'the consumer in C is compiled');
($status, $out, $err) = run_on(\undef, "$dir/consumer", $node->connstr('postgres'), 'plain', $end, 'tally=on', 'messages=on', 'two_phase=on');
is($status, 0, 'C reads the stream, and all tallies match') or diag($err);
# In a streamed transaction ordinals also count what a subtransaction had sent before it aborted.
s/"seq":\d+,// for @$expected;
agrees('C, live', $out =~ s/"seq":\d+,//gr, $expected);
ok(poll($node, 'postgres', "SELECT confirmed_flush_lsn >= '$end' FROM pg_replication_slots WHERE slot_name = 'plain'"), 'and confirms it');

$node->stop;
done_testing();
