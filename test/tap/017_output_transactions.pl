# What ends, marks and accompanies transactions: two phases, origins, messages; and the ways that batches go out: delimited,
# compressed, as JSON.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use WalhouseTest;
use WalhouseStream;
use Test::More;

my $node = new_server('source', conf => "shared_preload_libraries = ''\nmax_prepared_transactions = 10\n");
my $dir = PostgreSQL::Test::Utils::tempdir();
my $small = q{SET logical_decoding_work_mem = '64kB';};

sql($node, q{
	CREATE TABLE t (id integer PRIMARY KEY, v text);
	CREATE TABLE unsent (id integer);
	CREATE PUBLICATION sent FOR TABLE t});

sub slot { sql($node, "SELECT pg_create_logical_replication_slot('$_', 'walhouse_output')") for @_; return }
sub table_of { my ($state) = @_; return join ' ', map { join '|', map { $_ // '' } @$_ } sort { $a->[0] <=> $b->[0] } values %{ $state->{rows}{t} // {} } }
sub table { return sql($node, q{SELECT coalesce(string_agg(id || '|' || v, ' ' ORDER BY id), '') FROM t}) }
sub kinds { return join ' ', map { $_->[1] } @{ $_[0]{transactions} } }

# fails OPTIONS: the error of reading slot s with them.
sub fails
{
	my ($slot, %options) = @_;
	my $list = join '', map { ", '$_', '$options{$_}'" } sort keys %options;
	my ($status, $out, $err) = $node->psql('postgres',
		"SELECT count(*) FROM pg_logical_slot_peek_binary_changes('$slot', NULL, NULL$list)");
	return $status == 0 ? "no error: $out" : $err;
}

# -------- two phases --------

slot('p', 'ordinary');
my %two_phase = (two_phase => 'on', streaming => 'on', tally => 'on', settings => $small);
my $state = replay([ entries_of(get_batches($node, 'p', %two_phase)) ]);
sub more { return $state = replay([ entries_of(get_batches($node, 'p', %two_phase, @_)) ], $state) }

sql($node, q{
	BEGIN; INSERT INTO t VALUES (1, 'one'); PREPARE TRANSACTION 'a ''gid''';
	BEGIN; INSERT INTO t VALUES (2, 'two'); PREPARE TRANSACTION 'b'; INSERT INTO t VALUES (3, 'three')});
more();
is(kinds($state), 'prepare prepare commit', 'a transaction is sent when it is prepared');
is(table_of($state), '3|three', 'and does not count yet');
is(join(' ', sort keys %{ $state->{prepared} }), q{a 'gid' b}, 'it has its name');
sql($node, q{ROLLBACK PREPARED 'b'});
$node->restart;
sql($node, q{COMMIT PREPARED 'a ''gid'''});
more();
is(kinds($state), 'prepare prepare commit rollback_prepared commit_prepared', 'what becomes of it is told, also after a restart');
is(table_of($state), table(), 'with the right effect');

sql($node, q{
	BEGIN; INSERT INTO unsent VALUES (1); PREPARE TRANSACTION 'empty'; COMMIT PREPARED 'empty';
	BEGIN; INSERT INTO unsent SELECT generate_series(1, 5000); PREPARE TRANSACTION 'empty, streamed'; COMMIT PREPARED 'empty, streamed'});
$state->{transactions} = [];
more(publication => 'sent');
is(kinds($state), 'prepare commit_prepared stream_prepare commit_prepared', 'empty ones are not left out');

sql($node, q{
	BEGIN;
	INSERT INTO t SELECT i, 'big' FROM generate_series(1000, 3000) AS i;
	SAVEPOINT s;
	UPDATE t SET v = 'void';
	ROLLBACK TO s;
	INSERT INTO t SELECT i, 'big' FROM generate_series(4000, 6000) AS i;
	PREPARE TRANSACTION 'big';
	BEGIN; INSERT INTO t SELECT i, 'gone' FROM generate_series(7000, 9000) AS i; PREPARE TRANSACTION 'gone'});
$state->{transactions} = [];
more();
is(kinds($state), 'stream_prepare stream_prepare', 'a big one is streamed, then prepared');
sql($node, q{COMMIT PREPARED 'big'; ROLLBACK PREPARED 'gone'});
more();
is(table_of($state), table(), 'and committed later');

# Rolled back before it is decoded: the catalog is read for a transaction that is no more.
sql($node, q{
	BEGIN; CREATE TABLE made (id integer PRIMARY KEY); INSERT INTO made VALUES (1); PREPARE TRANSACTION 'void'; ROLLBACK PREPARED 'void';
	BEGIN; INSERT INTO t VALUES (9999, 'after'); PREPARE TRANSACTION 'last'; COMMIT PREPARED 'last'});
$state->{transactions} = [];
more();
is(kinds($state), 'prepare rollback_prepared prepare commit_prepared', 'one that had aborted when it was decoded');
is(table_of($state), table(), 'leaves nothing');

like(fails('p'), qr/slot "p" decodes prepared transactions.*two_phase=on/s, 'a slot of two phases is not read without them');
my $ordinary = replay([ entries_of(get_batches($node, 'ordinary', publication => 'sent', streaming => 'on', tally => 'on', settings => $small)) ]);
is(table_of($ordinary), table(), 'another slot has prepared transactions at their commit');
unlike(kinds($ordinary), qr/prepare/, 'and nothing of their prepare');
sql($node, 'TRUNCATE t, unsent');
sql($node, q{SELECT pg_drop_replication_slot(s) FROM unnest('{p,ordinary}'::name[]) AS s});

# -------- origins --------

slot('o');
sql($node, q{SELECT pg_replication_origin_create('an "origin"')});
sql($node, q{
	INSERT INTO t VALUES (1, 'here');
	SELECT pg_replication_origin_session_setup('an "origin"');
	INSERT INTO t VALUES (2, 'there');
	INSERT INTO t SELECT i, 'big' FROM generate_series(1000, 3000) AS i;
	SELECT pg_replication_origin_session_reset()});
my $any = replay([ entries_of(get_batches($node, 'o', function => 'peek', streaming => 'on', settings => $small)) ]);
is(join(' ', map { "$_->[1]:" . ($_->[3] // '') } @{ $any->{transactions} }), 'commit: commit:an "origin" stream_commit:an "origin"',
	'origins are named');
my $none = replay([ entries_of(get_batches($node, 'o', origin => 'none', streaming => 'on', settings => $small)) ]);
is(table_of($none), '1|here', 'origin=none sends what was written here');
like(fails('o', origin => 'mine'), qr/invalid value "mine" for option "origin".*any, none/s, 'a wrong value is named');
sql($node, q{TRUNCATE t; SELECT pg_drop_replication_slot('o')});

# -------- messages --------

slot('m');
sql($node, q{
	BEGIN;
	INSERT INTO t VALUES (1, 'one');
	SELECT pg_logical_emit_message(true, 'within', 'first');
	SELECT pg_logical_emit_message(false, 'at once', E'a \\\\000 byte'::bytea);
	INSERT INTO unsent VALUES (1);
	SELECT pg_logical_emit_message(true, 'other', '');
	INSERT INTO t VALUES (2, 'two');
	COMMIT;
	BEGIN;
	SELECT pg_logical_emit_message(true, 'within', 'rolled back');
	SELECT pg_logical_emit_message(false, 'at once', 'stays');
	ROLLBACK;
	SELECT pg_logical_emit_message(true, 'within', 'alone');
	SELECT pg_logical_emit_message(false, 'walhouse.heartbeat', '');
	INSERT INTO unsent VALUES (2)});

sub messages
{
	my $read = replay([ entries_of(get_batches($node, 'm', function => 'peek', @_)) ]);
	return join '; ', map { join ',', @$_ } @{ $read->{messages} };
}
is(messages(messages => 'on'), "at once,a \0 byte,0; within,first,2; other,,4; at once,stays,0; within,alone,1; walhouse.heartbeat,,0",
	'messages: those of a transaction with their ordinals, the others at once');
is(messages(), '', 'none by default');
is(messages(messages => 'with*,?t\\ once'), "at once,a \0 byte,0; within,first,2; at once,stays,0; within,alone,1", 'by pattern');
is(messages(messages => 'walhouse.heartbeat'), 'walhouse.heartbeat,,0', 'one prefix');
is(messages(messages => 'WITHIN'), '', 'case counts');
like(fails('m', messages => 'a,,b'), qr/A pattern is empty/, 'an empty pattern is an error');
like(fails('m', messages => 'a\\'), qr/A backslash at the end/, 'and so is half an escape');
my ($first) = grep { $_->{kind} eq 'rows' && $_->{f}{3} > 1 } entries_of(get_batches($node, 'm', function => 'peek', publication => 'sent'));
is($first->{f}{3}, 5, 'ordinals count messages and tables that are not sent');
my @batches = get_batches($node, 'm', messages => 'on');
is(scalar(grep { my %k = map { $_->{kind} => 1 } entries_of($_); $k{message} && !$k{commit} } @batches), 3,
	'each that is not of a transaction is a batch of its own');
sql($node, q{SELECT pg_drop_replication_slot('m')});

# -------- operations --------

slot('w');
sql($node, q{TRUNCATE t; INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'; DELETE FROM t});
for ([ 'insert' => '2/1' ], [ 'update, delete' => '2/2 2/3' ], [ 'truncate' => '6' ], [ 'delete,insert,truncate' => '6 2/1 2/3' ])
{
	my ($operations, $expected) = @$_;
	is(join(' ', map { $_->{kind} eq 'truncate' ? 6 : "2/$_->{f}{2}" } grep { $_->{kind} =~ /^(rows|truncate)$/ }
		entries_of(get_batches($node, 'w', function => 'peek', operations => $operations))), $expected, "operations=$operations");
}
like(fails('w', operations => 'insert,merge'), qr/invalid value "merge".*insert, update, delete, truncate/s, 'another is an error');
sql($node, q{SELECT pg_drop_replication_slot('w')});

# -------- framing and compression --------

slot('lz4', 'zstd', 'd', 'j');
sql($node, q{
	INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 5000) AS i;
	UPDATE t SET v = 'x' WHERE id % 100 = 0;
	SELECT pg_logical_emit_message(false, '', '')});
my $end = sql($node, 'SELECT pg_current_wal_lsn()');
command_ok([ 'pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 'd', '--start', '-f', "$dir/delimited", '-E', $end, '-n',
	'-o', 'framing=delimited', '-o', 'streaming=on', '-o', 'messages=on', '-o', 'tally=on' ], 'pg_recvlogical reads framing=delimited');
my $delimited = replay([ entries_of(split_delimited(slurp_file("$dir/delimited"))) ]);
is(table_of($delimited), table(), 'its file can be read, with its line ends');
is($delimited->{options}{framing}, 'delimited', 'Hello tells the options');
IPC::Run::run([ 'walhouse_recv', '--decode', "$dir/delimited" ], '>', \my $lines, '2>', \my $err);
is(scalar(() = $lines =~ /"kind":"(?:insert|update)"/g) . $err, '5050', 'also by walhouse_recv');
sub size { my $size = 0; $size += length for @_; return $size }
my $raw = size(get_batches($node, 'lz4', function => 'peek'));
for my $method (qw(lz4 zstd))
{
	my $error = fails($method, compression => $method);
	SKIP:
	{
		skip "this build has no $method", 2 if $error =~ /not supported by this build/;
		cmp_ok(size(get_batches($node, $method, function => 'peek', compression => $method)), '<', $raw / 2, "$method makes it smaller");
		my $file = "$dir/$method";
		IPC::Run::run([ 'walhouse_recv', '-d', $node->connstr('postgres'), '-S', $method, '--start', '-E', $end, '-f', $file, '-o',
			"compression=$method" ], '2>', \my $complaint);
		is(scalar(() = slurp_file($file) =~ /"kind":"(?:insert|update)"/g), 5050, 'and walhouse_recv reads it');
	}
}
# -------- a walsender: names are looked up outside of its transactions, also where they must be converted --------

sql($node, q{CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'});
sql($node, q{
	SET client_encoding = 'UTF8';
	CREATE TABLE t (id integer PRIMARY KEY, v text);
	CREATE TABLE unsent (id integer);
	SELECT pg_create_logical_replication_slot('latin', 'walhouse_output');
	SELECT pg_logical_emit_message(false, 'ä', 'latin');
	SELECT pg_replication_origin_create('ö');
	SELECT pg_replication_origin_session_setup('ö');
	BEGIN; INSERT INTO t VALUES (1, 'é'); PREPARE TRANSACTION 'ü'; COMMIT PREPARED 'ü';
	BEGIN; INSERT INTO unsent SELECT generate_series(1, 5000); PREPARE TRANSACTION 'üü'; ROLLBACK PREPARED 'üü';
	BEGIN; INSERT INTO t SELECT i, 'é' FROM generate_series(2, 3000) AS i; PREPARE TRANSACTION 'üüü'; COMMIT PREPARED 'üüü'}, 'latin');
sql($node, q{ALTER SYSTEM SET logical_decoding_work_mem = '64kB'; SELECT pg_reload_conf()});
$end = sql($node, 'SELECT pg_current_wal_flush_lsn()');
command_ok([ 'pg_recvlogical', '-d', $node->connstr('latin'), '-S', 'latin', '--start', '-f', "$dir/latin", '-E', $end, '-n',
	'-o', 'framing=delimited', '-o', 'streaming=on', '-o', 'two_phase=on', '-o', 'messages=on', '-o', 'tally=on' ], 'pg_recvlogical reads it');
my $latin = replay([ entries_of(split_delimited(slurp_file("$dir/latin"))) ]);
# From 18 on what has been rolled back is not streamed.
like(kinds($latin), qr/^prepare commit_prepared (stream_)?prepare rollback_prepared stream_prepare commit_prepared$/,
	'all kinds of prepared transactions');
is(join(' ', map { $_->[3] // '-' } @{ $latin->{transactions} }), 'ö ö ö - ö ö', 'origins');
is($latin->{messages}[0][0], 'ä', 'a prefix');
is(scalar(grep { $_->[1] eq 'é' } values %{ $latin->{rows}{t} }), 3000, 'rows');
like(sql($node, q{
	SELECT string_agg(data::json ->> 'kind', ' ') FROM pg_logical_slot_peek_changes('j', NULL, NULL, 'format', 'json', 'streaming', 'on',
		'messages', 'on') WHERE data::json ->> 'kind' NOT IN ('insert', 'update')}),
	qr/^hello stream_start relation stream_stop (stream_start stream_stop )+stream_commit/, 'segments as JSON');

like(fails('d', compression => 'lz4', format => 'json'), qr/option "compression" does not go with format "json"/, 'JSON is not compressed');
like(fails('d', framing => 'delimited', format => 'json'), qr/option "framing" does not go with format "json"/, 'nor delimited');

$node->stop;
done_testing();
