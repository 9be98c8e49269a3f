# Transactions that are sent in progress: what a reader makes of the segments is what the tables hold, whatever aborted, also
# while it was decoded, and whatever came between.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use WalhouseTest;
use WalhouseStream;
use Test::More;

my $node = new_server('source', conf => "shared_preload_libraries = ''\nmax_prepared_transactions = 10\n");
my %stream = (settings => q{SET logical_decoding_work_mem = '64kB';}, streaming => 'on', tally => 'on', messages => 'on');

sql($node, q{
	CREATE TABLE t (id integer PRIMARY KEY, v text);
	CREATE TABLE u (id integer PRIMARY KEY, v text);
	CREATE TYPE mood AS ENUM ('calm', 'wild');
	CREATE TABLE moods (id integer PRIMARY KEY, m mood);
	CREATE TABLE unsent (id integer);
	CREATE PUBLICATION sent FOR TABLE t, u, moods;
	SELECT pg_create_logical_replication_slot('s', 'walhouse_output');
	SELECT pg_create_logical_replication_slot('whole', 'walhouse_output')});

my ($streamed, $whole);

# holds NAME: both slots, streamed and not, give what the tables hold. Returns what is new on the streamed one.
sub holds
{
	my ($name, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $before = $streamed // {};
	my ($transactions, $segments, $aborts) =
		(scalar @{ $before->{transactions} // [] }, $before->{segments} // 0, $before->{aborts} // 0);
	$streamed = replay([ entries_of(get_batches($node, 's', %stream, %options)) ], $streamed);
	$whole = replay([ entries_of(get_batches($node, 'whole', tally => 'on', messages => 'on', %options)) ], $whole);
	for my $table (qw(t u moods))
	{
		my $holds = sql($node, "SELECT * FROM $table ORDER BY id");
		for ([ streamed => $streamed ], [ whole => $whole ])
		{
			my $rows = $_->[1]{rows}{$table} // {};
			is(join("\n", map { join '|', map { $_ // '' } @{ $rows->{$_} } } sort { $a <=> $b } keys %$rows), $holds,
				"$name: $table, $_->[0]");
		}
	}
	is(told($streamed), told($whole), "$name: messages");
	my @new = @{ $streamed->{transactions} };
	return { transactions => [ @new[ $transactions .. $#new ] ], segments => $streamed->{segments} - $segments,
		aborts => $streamed->{aborts} - $aborts };
}

# told STATE: prefixes and contents of its messages.
sub told { return join ' ', map { "$_->[0]=$_->[1]" } @{ $_[0]{messages} } }

# kinds NEW: how its transactions ended, in order.
sub kinds { return join ' ', map { $_->[1] } @{ $_[0]{transactions} } }

# session: a psql that stays; do SESSION, SQL waits for its end.
sub session
{
	my %session = (in => '', out => '', err => '');
	$session{handle} = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres') ], '<', \$session{in}, '>', \$session{out},
		'2>', \$session{err}, IPC::Run::timeout(120));
	return \%session;
}

sub run_in
{
	my ($session, $statements) = @_;
	$session->{out} = '';
	$session->{in} .= "$statements;\n\\echo done\n";
	$session->{handle}->pump until $session->{out} =~ /done\n/;
	return;
}

# -------- one big transaction, subtransactions, aborts --------

sql($node, q{INSERT INTO t SELECT i, 'first ' || i FROM generate_series(1, 3000) AS i});
my $new = holds('a big insert');
is(kinds($new), 'stream_commit', 'it was streamed');
cmp_ok($new->{segments}, '>', 1, "in segments ($new->{segments})");

sql($node, q{
	BEGIN;
	UPDATE t SET v = 'top' WHERE id <= 1000;
	SAVEPOINT a;
		UPDATE t SET v = 'a' WHERE id BETWEEN 900 AND 2000;
		SAVEPOINT a1;
			DELETE FROM t WHERE id BETWEEN 1500 AND 2500;
			INSERT INTO u SELECT i, repeat('u', 50) FROM generate_series(1, 1500) AS i;
		ROLLBACK TO a1;
		SAVEPOINT a2;
			DELETE FROM t WHERE id BETWEEN 2900 AND 3000;
			TRUNCATE u;
			INSERT INTO u SELECT i, 'of a2' FROM generate_series(1, 1500) AS i;
		RELEASE a2;
	RELEASE a;
	SAVEPOINT b;
		UPDATE t SET v = 'b';
		SELECT pg_logical_emit_message(true, 'void', repeat('x', 1000)) IS NOT NULL FROM generate_series(1, 300);
		SAVEPOINT b1;
			INSERT INTO u SELECT i, repeat('b1', 50) FROM generate_series(2001, 3500) AS i;
		RELEASE b1;
	ROLLBACK TO b;
	SELECT pg_logical_emit_message(true, 'kept', 'content') IS NOT NULL;
	UPDATE t SET id = id + 10000 WHERE id < 10;
	COMMIT});
$new = holds('subtransactions');
is(kinds($new), 'stream_commit', 'it was streamed');
cmp_ok($new->{aborts}, '>=', 2, "and what subtransactions had sent was voided ($new->{aborts})");
is(join(' ', map { $_->[0] } @{ $streamed->{messages} }), 'kept', 'messages of aborted subtransactions are void');

sql($node, q{INSERT INTO u VALUES (3999, 'now the table is known'); BEGIN; INSERT INTO u SELECT i, 'gone' FROM generate_series(5000, 7000) AS i; ROLLBACK});
sql($node, q{INSERT INTO u VALUES (4000, 'one')});
$new = holds('an abort');
# From 18 on the server looks whether a transaction has aborted before it streams it. Version 15 may stream, and void, the one
# before once more: it was confirmed to its very end.
like(kinds($new), sql($node, 'SHOW server_version_num') >= 180000 ? qr/^commit commit$/ : qr/^(stream_abort )?commit stream_abort commit$/,
	'the whole transaction is void');

# A subtransaction that was spilled to disk before it was streamed (in the middle of a row out of line nothing can be), and of
# which the server has no change in memory afterwards: on its own it would not tell of the abort.
sql($node, q{CREATE TABLE spilled (id integer, v text, b bytea); ALTER TABLE spilled ALTER v SET STORAGE EXTERNAL});
sql($node, q{SELECT pg_create_logical_replication_slot('spilled', 'walhouse_output')});
sql($node, q{
	BEGIN;
	INSERT INTO spilled SELECT i, repeat('abc' || i, 600000), decode(repeat('00' || i || '0', 700000), 'hex') FROM generate_series(10, 20) i;
	SAVEPOINT a;
	INSERT INTO spilled SELECT i, repeat('abc' || i, 600000) FROM generate_series(30, 40) i;
	ROLLBACK TO a;
	INSERT INTO spilled VALUES (50, 'x');
	COMMIT});
is(sql($node, q~SELECT count(*) FILTER (WHERE data LIKE '{"kind":"stream_abort"%') || ' ' || max(substring(data FROM '"changes":(\d+)'))
	FROM pg_logical_slot_peek_changes('spilled', NULL, NULL, 'format', 'json', 'streaming', 'on')~), '1 12',
	'the abort of a subtransaction that was spilled is told, and its rows are not counted');
sql($node, q{DROP TABLE spilled; SELECT pg_drop_replication_slot('spilled')});

# -------- nothing to send --------

sql($node, q{BEGIN; INSERT INTO unsent SELECT generate_series(1, 5000); COMMIT});
sql($node, q{BEGIN; INSERT INTO unsent SELECT generate_series(1, 5000); ROLLBACK});
sql($node, q{BEGIN; INSERT INTO unsent SELECT generate_series(1, 5000); SAVEPOINT s; INSERT INTO unsent SELECT generate_series(1, 5000);
	ROLLBACK TO s; INSERT INTO u VALUES (4001, 'late'); COMMIT});
$new = holds('changes that are not sent', publication => 'sent');
is(kinds($new), 'stream_commit', 'neither announce nor end a transaction');
is($new->{segments} . ' ' . $new->{aborts}, '1 0', 'nor a segment, nor the abort of a subtransaction');

# -------- several at a time --------

my ($one, $two) = (session(), session());
run_in($one, 'BEGIN');
run_in($two, 'BEGIN');
for my $i (1 .. 6)
{
	run_in($one, "INSERT INTO t SELECT i, 'one' FROM generate_series(20000 + $i * 1000, 20800 + $i * 1000) AS i");
	run_in($two, "SAVEPOINT s$i; INSERT INTO u SELECT i, 'two' FROM generate_series(20000 + $i * 1000, 20800 + $i * 1000) AS i");
	run_in($two, "ROLLBACK TO s$i") if $i % 2;
	sql($node, "BEGIN; UPDATE moods SET m = 'wild'; INSERT INTO moods VALUES ($i, 'calm'); COMMIT");
	sql($node, "SELECT pg_logical_emit_message(false, 'between', '$i')");
}
run_in($two, 'COMMIT');
run_in($one, "UPDATE t SET v = 'last' WHERE id > 25000; COMMIT");
$new = holds('interleaved');
is(kinds($new), 'commit ' x 6 . 'stream_commit stream_commit', 'small transactions come whole between the segments of two');
is(join(' ', map { $_->[1] } grep { $_->[0] eq 'between' } @{ $streamed->{messages} }), '1 2 3 4 5 6', 'and messages at once');
run_in($one, 'BEGIN');
run_in($one, "INSERT INTO t SELECT i, 'one' FROM generate_series(40000, 42000) AS i");
sql($node, q{INSERT INTO u VALUES (50000, 'small')});
$new = holds_open($streamed);
is($new, 1, 'what is open at a session\'s end is forgotten with it');
run_in($one, 'COMMIT');
holds('and comes again in the next');

# holds_open: reads while a transaction is open; how many are.
sub holds_open
{
	replay([ entries_of(get_batches($node, 's', %stream)) ], $streamed);
	replay([ entries_of(get_batches($node, 'whole', tally => 'on', messages => 'on')) ], $whole);
	return scalar keys %{ $streamed->{open} };
}

# -------- aborts that are found while decoding: the catalog is read for a transaction that has long aborted --------

sql($node, q{
	BEGIN;
	CREATE TABLE made (id integer PRIMARY KEY, m mood, v text);
	INSERT INTO made SELECT i, 'wild', repeat('x', 100) FROM generate_series(1, 3000) AS i;
	ALTER TABLE made ADD COLUMN more text DEFAULT 'more';
	INSERT INTO made SELECT i, 'calm', repeat('y', 100) FROM generate_series(3001, 6000) AS i;
	ROLLBACK;
	BEGIN;
	INSERT INTO moods VALUES (100, 'calm');
	SAVEPOINT s;
	ALTER TYPE mood RENAME VALUE 'wild' TO 'mild';
	INSERT INTO moods SELECT i, 'mild' FROM generate_series(1000, 4000) AS i;
	ALTER TABLE moods ADD COLUMN extra integer DEFAULT 5;
	INSERT INTO moods SELECT i, 'mild' FROM generate_series(4001, 6000) AS i;
	ROLLBACK TO s;
	INSERT INTO moods SELECT i, 'wild' FROM generate_series(7000, 9000) AS i;
	COMMIT;
	INSERT INTO moods VALUES (101, 'wild')});
$new = holds('aborts found while decoding');
is(kinds($new), 'stream_commit commit', 'one transaction was not even begun');

# A label that this backend has not seen is looked up in the middle of a row.
sql($node, q{
	BEGIN;
	INSERT INTO moods SELECT i, 'calm' FROM generate_series(10000, 10009) AS i;
	SAVEPOINT s;
	INSERT INTO moods SELECT i, 'wild' FROM generate_series(11000, 14000) AS i;
	ROLLBACK TO s;
	INSERT INTO moods SELECT i, 'calm' FROM generate_series(15000, 18000) AS i;
	COMMIT});
$new = holds('an abort found in the middle of a row');
is("$new->{aborts}", '0', 'leaves nothing of the row');

# -------- an abort that is found while a definition is made does not leave the one before --------

sql($node, q{
	CREATE SCHEMA old;
	CREATE TABLE old.named (id integer PRIMARY KEY);
	INSERT INTO old.named VALUES (0);
	ALTER SCHEMA old RENAME TO new;
	BEGIN;
	SAVEPOINT s;
	INSERT INTO new.named SELECT generate_series(1, 3000);
	ROLLBACK TO s;
	INSERT INTO unsent VALUES (1);
	COMMIT;
	INSERT INTO new.named VALUES (1)});
my @named = grep { $_->{kind} eq 'relation' && $_->{f}{4} eq 'named' } entries_of(get_batches($node, 's', %stream));
is(join(' ', map { $_->{f}{3} } @named), 'old new', 'a schema that was renamed');

# -------- a transaction's own definitions --------

sql($node, q{
	BEGIN;
	ALTER TABLE u ADD COLUMN w integer DEFAULT 7;
	INSERT INTO u SELECT i, 'wide', i FROM generate_series(60000, 62000) AS i;
	SAVEPOINT s;
	ALTER TABLE u DROP COLUMN v;
	INSERT INTO u SELECT i, i FROM generate_series(63000, 65000) AS i;
	ROLLBACK TO s;
	INSERT INTO u SELECT i, 'again', i FROM generate_series(66000, 68000) AS i;
	ALTER TABLE u DROP COLUMN w;
	COMMIT});
$_->{rows}{u} = { map { my @r = @$_; $r[0] => [ @r[ 0, 1 ] ] } values %{ $_->{rows}{u} } } for $streamed, $whole;
get_batches($node, $_, function => 'peek', streaming => 'on') for 's';
$streamed = replay([ entries_of(get_batches($node, 's', %stream)) ], $streamed);
my @wide = grep { $_->[0] >= 60000 } values %{ $streamed->{rows}{u} };
is(scalar(grep { @$_ == 3 && $_->[2] == $_->[0] } @wide), 4002, 'rows are told as the transaction saw their table');

# -------- a segment that takes a transaction's last change: no other tells what its DDL has left, and yet the transaction does --------

sql($node, q{
	SELECT format('CREATE TABLE ends_%s ()', i) FROM generate_series(1, 400) AS i \gexec
	SELECT pg_create_logical_replication_slot(slot, 'walhouse_output') FROM unnest('{ends,sent}'::name[]) slot;
	DO $$ BEGIN FOR i IN 1 .. 400 LOOP
		EXECUTE 'DROP TABLE ends_' || i;
		INSERT INTO unsent SELECT generate_series(1, 200 + i);
		COMMIT;
	END LOOP; END $$});
is(sql($node, q{SET logical_decoding_work_mem = '64kB';
	SELECT count(*) || ' ' || count(DISTINCT xid::text) FROM pg_logical_slot_get_changes('ends', NULL, NULL, 'format', 'json', 'streaming', 'on', 'ddl', 'on') WHERE data LIKE '_"kind":"altered"%'}), '400 400',
	'every table that was dropped is told of, by the transaction that dropped it');
$node->append_conf('postgresql.conf', "logical_decoding_work_mem = '64kB'");
$node->reload;
my $end = sql($node, 'SELECT pg_current_wal_lsn()');
command_ok([ 'pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 'sent', '--start', '-f', $node->basedir . '/sent', '-E', $end, '-n',
	map { ('-o', $_) } 'format=json', 'streaming=on', 'ddl=on' ], 'a walsender sends them');
is(scalar(grep { /^\{"kind":"altered"/ } split /\n/, slurp_file($node->basedir . '/sent')), 400, 'each, and once');
sql($node, q{
	CREATE TABLE parted (id integer) PARTITION BY RANGE (id);
	CREATE PUBLICATION parts FOR TABLE parted;
	SELECT pg_replication_slot_advance('ends', pg_current_wal_lsn())});
sql($node, q{
	DO $$ BEGIN FOR i IN 1 .. 400 LOOP
		EXECUTE format('CREATE TABLE parted_%s PARTITION OF parted FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
		INSERT INTO unsent SELECT generate_series(1, 200 + i);
		COMMIT;
	END LOOP; END $$});
is(sql($node, q{SET logical_decoding_work_mem = '64kB';
	SELECT count(*) || ' ' || count(DISTINCT xid::text) FROM pg_logical_slot_get_changes('ends', NULL, NULL, 'format', 'json', 'streaming', 'on', 'publication', 'parts') WHERE data LIKE '_"kind":"partitions"%'}), '400 400',
	'and every partition by the one that made it');

# -------- a session's first transaction comes in segments, has DDL, and has aborted: it is no error, and nothing is told of it --------

sql($node, q{
	CREATE TABLE first (id integer PRIMARY KEY, v text);
	CREATE TABLE first_parts (id integer) PARTITION BY RANGE (id);
	CREATE PUBLICATION firsts FOR TABLE first, first_parts;
	SELECT pg_create_logical_replication_slot('first', 'walhouse_output');
	BEGIN;
	ALTER TABLE first ADD COLUMN w integer, ALTER COLUMN v TYPE varchar(100);
	CREATE TABLE first_part PARTITION OF first_parts FOR VALUES FROM (0) TO (10);
	INSERT INTO first SELECT i, i, i FROM generate_series(1, 3000) AS i;
	SAVEPOINT s;
	ALTER TABLE first DROP COLUMN v;
	INSERT INTO first SELECT i, i FROM generate_series(3001, 6000) AS i;
	DROP TABLE first_parts;
	INSERT INTO first SELECT i, i FROM generate_series(6001, 9000) AS i;
	ROLLBACK;
	VACUUM pg_class; VACUUM pg_attribute; VACUUM pg_inherits; VACUUM pg_partitioned_table; VACUUM pg_type; VACUUM pg_publication_rel;
	ALTER TABLE first ADD COLUMN x integer;
	INSERT INTO first VALUES (1, 'a', 2);
	CREATE TABLE first_part PARTITION OF first_parts FOR VALUES FROM (0) TO (10)});
for my $streaming (qw(on off))
{
	is(sql($node, qq{SET logical_decoding_work_mem = '64kB';
		SELECT string_agg(concat_ws(' ', j ->> 'kind', coalesce(j ->> 'table', j ->> 'name')), ', ') FROM
			(SELECT data::jsonb AS j FROM pg_logical_slot_peek_changes('first', NULL, NULL, 'format', 'json', 'streaming', '$streaming', 'ddl', 'on', 'publication', 'firsts')) x
		WHERE j ->> 'kind' IN ('insert', 'altered', 'partitions')}), 'altered first, insert first, partitions first_parts, altered first_part', "streaming $streaming: what committed alone is told of");
}
$end = sql($node, 'SELECT pg_current_wal_lsn()');
command_ok([ 'pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 'first', '--start', '-f', $node->basedir . '/first', '-E', $end, '-n',
	map { ('-o', $_) } 'format=json', 'streaming=on', 'ddl=on', 'publication=firsts' ], 'a walsender goes on, too');
is(join(' ', slurp_file($node->basedir . '/first') =~ /^\{"kind":"(insert|altered|partitions)"/mg), 'altered insert partitions altered', 'and sends it');
ok(poll($node, 'postgres', q{SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = 'first'}), 'which came in segments');

$two->{handle}->kill_kill;
$one->{handle}->kill_kill;
$node->stop;
done_testing();
