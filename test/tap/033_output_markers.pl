# Markers of rewrites and partitions in transactions that overlap, are streamed, rolled back or prepared: told once, in the
# transaction that did it, and never of what was undone.
use strict;
use warnings;
use JSON::PP;
use WalhouseTest;
use Test::More;

my $node = new_server('markers', conf => "shared_preload_libraries = ''\nmax_prepared_transactions = 5\n");
my $json = JSON::PP->new->utf8(0);

sql($node, <<~'SQL');
	CREATE TABLE t (id integer PRIMARY KEY, v text);
	CREATE TABLE other (id integer);
	CREATE TABLE root (id integer, v text) PARTITION BY RANGE (id);
	CREATE TABLE first PARTITION OF root FOR VALUES FROM (0) TO (10);
	CREATE TABLE second (id integer, v text);
	CREATE TABLE third (id integer, v text);
	INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 200) i;
	SQL
sql($node, q{SELECT pg_create_logical_replication_slot('markers', 'walhouse_output')});
my $slot = 'markers';

# entries OPTIONS: what the slot has, read and confirmed, without rows and what frames segments.
sub entries
{
	my (@options) = @_;
	my $options = join('', map { ", '$_'" } @options);
	my @entries;
	my $xid;

	for my $entry (map { $json->decode($_) } split /\n/, sql($node, "SET logical_decoding_work_mem = '64kB';"
		. " SELECT data FROM pg_logical_slot_get_changes('$slot', NULL, NULL, 'format', 'json'$options)"))
	{
		my $kind = $entry->{kind};
		$xid = $entry->{xid} if $kind =~ /^(begin|stream_start)$/;
		my @names = map { my $list = $_; map { "$list $_->{table}" } @{ $entry->{$list} || [] } } qw(attached detached);
		push @entries, "$kind $entry->{table} @names of $xid" if $kind eq 'partitions';
		push @entries, "$kind $entry->{table} of " . ($entry->{subxid} || $xid) if $kind eq 'rewrite';
		push @entries, "$kind " . ($entry->{subxid} || $entry->{xid}) if $kind =~ /^(commit|prepare|stream_commit|stream_abort|commit_prepared|rollback_prepared)$/;
	}
	return join("\n", @entries);
}

my $fill = q{INSERT INTO t SELECT i, repeat('y', 1000) FROM generate_series(%d, %d) i;};

# -------- a large transaction and a small one that overlap --------

my $large = $node->background_psql('postgres');
my ($xid) = $large->query('BEGIN; ALTER TABLE root ATTACH PARTITION second FOR VALUES FROM (10) TO (20); SELECT txid_current();') =~ /(\d+)/;
$large->query(sprintf($fill, 1000, 1200));
my $small = sql($node, 'BEGIN; INSERT INTO other VALUES (1); SELECT txid_current(); COMMIT; ANALYZE other');
($small) = $small =~ /(\d+)/;
$large->query(sprintf($fill, 1201, 1400));
$large->query('COMMIT');
# A commit that is the last that a session reads is streamed again by the next, and void: nothing to be seen here.
my $last = sql($node, 'BEGIN; INSERT INTO other VALUES (1); SELECT txid_current(); COMMIT');
is(entries('streaming', 'on'), "commit $small\npartitions root attached second of $xid\nstream_commit $xid\ncommit $last",
	'a streamed transaction tells in its last segment, and no other for it');

# -------- rolled back --------

($xid) = $large->query('BEGIN; ALTER TABLE root DETACH PARTITION second; SELECT txid_current();') =~ /(\d+)/;
$large->query(sprintf($fill, 2000, 2200));
$large->query('ROLLBACK');
($small) = sql($node, 'BEGIN; INSERT INTO other VALUES (2); SELECT txid_current(); COMMIT') =~ /(\d+)/;
like(entries('streaming', 'on'), qr/^(stream_abort $xid\n)?commit $small$/, 'nothing is told of what was rolled back');
($small) = sql($node, 'BEGIN; ALTER TABLE root DETACH PARTITION second; SELECT txid_current(); COMMIT') =~ /(\d+)/;
is(entries('streaming', 'on'), "partitions root detached second of $small\ncommit $small", 'and it is told when it is done');

# -------- a rewrite in a subtransaction that stays, and in one that does not --------

($xid) = $large->query('BEGIN; INSERT INTO other VALUES (3); SELECT txid_current();') =~ /(\d+)/;
$large->query("SAVEPOINT a; ALTER TABLE t ALTER COLUMN id TYPE bigint;");
my ($kept) = $large->query(q{SELECT xmin FROM pg_class WHERE relname = 't'}) =~ /(\d+)/;
$large->query("SAVEPOINT b; ALTER TABLE t ALTER COLUMN id TYPE numeric; ROLLBACK TO b;");
$large->query(sprintf($fill, 3000, 3300));
$large->query('COMMIT');
my $entries = entries('streaming', 'on');
my %void = map { $_ => 1 } $entries =~ /^stream_abort (\d+)$/mg;
my @kept = grep { !/of (\d+)$/ || !$void{$1} } grep { /^rewrite/ } split /\n/, $entries;
is("@kept", "rewrite t of $kept", 'a rewrite is told once, of its subtransaction') or diag($entries);

# -------- prepared --------

$slot = 'prepared';
sql($node, q{SELECT pg_create_logical_replication_slot('prepared', 'walhouse_output', false, true)});

sql($node, q{BEGIN; ALTER TABLE root ATTACH PARTITION third FOR VALUES FROM (20) TO (30); PREPARE TRANSACTION 'p'});
like(entries('two_phase', 'on'), qr/^partitions root attached third of (\d+)\nprepare \1$/, 'a prepared transaction tells when it is prepared');
sql($node, q{ROLLBACK PREPARED 'p'; INSERT INTO other VALUES (4)});
like(entries('two_phase', 'on'), qr/^rollback_prepared \d+\ncommit \d+$/, 'rolled back, nothing more is told');
sql($node, q{BEGIN; ALTER TABLE root ATTACH PARTITION third FOR VALUES FROM (20) TO (30); PREPARE TRANSACTION 'p'});
sql($node, q{COMMIT PREPARED 'p'; DROP TABLE third});
$entries = entries('two_phase', 'on');
like($entries, qr/partitions root attached third of (\d+)\nprepare \1\ncommit_prepared/, 'committed, it has been told');
like($entries, qr/commit_prepared \d+\npartitions root detached  of (\d+)\ncommit \1$/, 'and what follows is, too') or diag($entries);

$large->quit;
$node->stop;
done_testing();
