# Text leaves as UTF-8, whatever the database's encoding; what cannot be is sent as raw bytes, apart; and names of every
# kind make descriptors that protoc accepts.
use strict;
use warnings;
use WalhouseTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('source', conf => "shared_preload_libraries = ''\n");
my $dir = PostgreSQL::Test::Utils::tempdir();

# lines DATABASE, SLOT: what walhouse_recv prints of a slot, up to now.
sub lines
{
	my ($database, $slot) = @_;
	my $end = sql($node, 'SELECT pg_current_wal_lsn()');
	my ($out, $err);
	IPC::Run::run([ 'walhouse_recv', '-d', $node->connstr($database), '--slot', $slot, '--start', '--endpos', $end ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(60)) or diag($err);
	return $out;
}

sub slot
{
	my ($database) = @_;
	sql($node, "SELECT pg_create_logical_replication_slot('$database', 'walhouse_output')", $database);
}

sub after { return join "\n", map { /"after":(.*)\}$/ ? $1 : () } split /\n/, $_[0] }

for my $encoding ('LATIN1', 'SQL_ASCII', 'EUC_JP', 'WIN1252')
{
	my $name = lc $encoding;
	sql($node, "CREATE DATABASE $name ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	slot($name);
}

sql($node, q{SET client_encoding = 'UTF8';
	CREATE TYPE "größe" AS ENUM ('groß', 'klein');
	CREATE TABLE "tëst" (id integer PRIMARY KEY, "größe" "größe", v text, c char(3), n name, j jsonb, x text[]);
	INSERT INTO "tëst" VALUES (1, 'groß', 'für ÿ', 'é', 'ñ', '{"ä": "ö"}', '{ß}')}, 'latin1');
my $out = lines('latin1', 'latin1');
is(after($out), '{"id":1,"größe":"groß","v":"für ÿ","c":"é  ","n":"ñ","j":"{\"ä\": \"ö\"}","x":["ß"]}',
	'LATIN1: text, names and labels are converted');
like($out, qr/"encoding":"LATIN1"/, 'LATIN1: hello names the encoding');
like($out, qr/"table":"tëst"/, 'LATIN1: names are converted');

IPC::Run::run([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('sql_ascii') ], '<',
	\(q{SET client_encoding = 'SQL_ASCII';
	CREATE TABLE t (id integer PRIMARY KEY, v text, w text);
	INSERT INTO t VALUES (1, E'caf\xc3\xa9', 'plain'), (2, E'caf\xe9', ''), (3, E'\xff\xfe', E'\xed\xa0\x80'), (4, NULL, NULL);
	CREATE TABLE a (id integer PRIMARY KEY, v text[], j jsonb);
	INSERT INTO a VALUES (1, ARRAY[E'caf\xc3\xa9', 'x'], to_jsonb(E'caf\xc3\xa9'::text)), (2, ARRAY['x', E'\xe9'], to_jsonb(E'\xe9'::text));}
		. "CREATE TABLE \"b\xe9\" (\"c\xe9\" integer PRIMARY KEY); INSERT INTO \"b\xe9\" VALUES (1);")) or BAIL_OUT('psql');
$out = lines('sql_ascii', 'sql_ascii');
is(after($out), join("\n", '{"id":1,"v":"café","w":"plain"}', '{"id":2,"v":{"not_utf8":"\\\\x636166e9"},"w":""}',
		'{"id":3,"v":{"not_utf8":"\\\\xfffe"},"w":{"not_utf8":"\\\\xeda080"}}', '{"id":4,"v":null,"w":null}',
		'{"id":1,"v":["café","x"],"j":"\\"café\\""}', '{"id":2,"v":{"not_utf8":"\\\\x7b782ce97d"},"j":{"not_utf8":"\\\\x22e922"}}',
		'{"c\\\\xE9":1}'), 'SQL_ASCII: what is UTF-8 is text, the rest raw bytes');
like($out, qr/"table":"b\\\\xE9"/, 'SQL_ASCII: bytes in names are escaped');

sql($node, q{SET client_encoding = 'UTF8'; CREATE TABLE t (v text); INSERT INTO t VALUES ('日本語')}, 'euc_jp');
is(after(lines('euc_jp', 'euc_jp')), '{"v":"日本語"}', 'EUC_JP: text is converted');

# 0x81 is no character of WIN1252, but the server lets it in
sql($node, q{CREATE TABLE t (v text); INSERT INTO t VALUES (E'a\x81'), (E'\x80')}, 'win1252');
is(after(lines('win1252', 'win1252')), qq({"v":{"not_utf8":"\\\\x6181"}}\n{"v":"€"}),
	'WIN1252: a character that Unicode lacks is raw bytes');

# A UTF-8 database that holds what is not UTF-8: the SQL_ASCII one's bytes under another name, as a C function could make.
sql($node, q{CREATE TABLE t (id integer PRIMARY KEY, v text);
	SELECT pg_create_logical_replication_slot('invalid', 'walhouse_output');
	INSERT INTO t VALUES (1, 'valid')});
sql($node, q{CREATE TYPE raw;
	CREATE FUNCTION raw_in(cstring) RETURNS raw LANGUAGE internal IMMUTABLE STRICT AS 'byteain';
	CREATE FUNCTION raw_out(raw) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'byteaout';
	CREATE TYPE raw (INPUT = raw_in, OUTPUT = raw_out, STORAGE = extended);
	CREATE CAST (raw AS text) WITHOUT FUNCTION;
	INSERT INTO t VALUES (2, ('\x63e9')::raw::text), (3, ('\xf4908080')::raw::text)});
is(after(lines('postgres', 'invalid')),
	join("\n", '{"id":1,"v":"valid"}', '{"id":2,"v":{"not_utf8":"\\\\x63e9"}}', '{"id":3,"v":{"not_utf8":"\\\\xf4908080"}}'),
	'UTF8: invalid text is raw bytes');

# -------- descriptors of tables with difficult names --------

my @names = ('id', 'ID', 'i_d', 'i d', '_id', '1st', 'größe', 'message', 'optional', 'walhouse_special', 'Numeric', 'Row',
	'a"b', "a'b", 'a.b', 'a__b', 'aB', 'a_b', '', 'x' x 63, '漢字', 'c_1st', 'id_2');
my $columns = join ', ', map { my $n = $_ eq '' ? ' ' : $_; $n =~ s/"/""/g; qq("$n" numeric) } @names;
sql($node, "CREATE TABLE odd ($columns, k interval, z timetz); INSERT INTO odd DEFAULT VALUES;");
IPC::Run::run([ 'walhouse_recv', '-d', $node->connstr('postgres'), '--slot', 'invalid', '--start', '--endpos',
		sql($node, 'SELECT pg_current_wal_lsn()'), '--format', 'delimited', '--file', "$dir/odd" ], '<', \undef);
system('make -s with_llvm=no build/repack >&2') == 0 or BAIL_OUT('build/repack cannot be built');
like(`build/repack < $dir/odd`, qr/^\d+ batches/, 'protobuf-c reads it');

# The descriptor is field 9 of the relation; take it by its beginning, the file name.
my $stream = slurp_file("$dir/odd");
my $found = 0;
while ($stream =~ m{\x4a([\x80-\xff]*[\x00-\x7f])(?=\x0a.walhouse/row/s(\d+)\.proto)}gs)
{
	my ($prefix, $id, $start) = ($1, $2, pos $stream);
	my ($length, $shift) = (0, 0);

	for my $byte (map { ord } split //, $prefix) { $length |= ($byte & 0x7F) << $shift; $shift += 7 }
	append_to_file("$dir/set$id", "\x0a$prefix" . substr $stream, $start, $length);
	my $row = '';
	IPC::Run::run([ 'protoc', "--descriptor_set_in=$dir/set$id", "--decode=walhouse.row.s$id.Row",
			"walhouse/row/s$id.proto" ], '<', \$row, '>', \my $text, '2>', \my $err);
	is($? >> 8, 0, "protoc accepts descriptor $id") or diag($err);
	is($err, '', 'without a warning');
	$found++;
}
cmp_ok($found, '>=', 1, 'there are descriptors');

$node->stop;
done_testing();
