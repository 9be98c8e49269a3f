# walhouse.proto_for and proto_for_publication print .proto files that protoc compiles, whatever the names of tables and
# columns are, and that read the rows of the stream. A plain user may call them: the catalog is public.
use strict;
use warnings;
use WalhouseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('proto', extension => 1);
my $dir = PostgreSQL::Test::Utils::tempdir();

# fields BYTES: the fields of a message, as [number, value]; enough of protobuf to find rows in a batch.
sub fields
{
	my ($data) = @_;
	my @fields;
	my $varint = sub {
		my ($value, $shift) = (0, 0);
		while (1)
		{
			my $byte = ord(substr($data, 0, 1, ''));
			$value |= ($byte & 0x7F) << $shift;
			$shift += 7;
			return $value if $byte < 0x80;
		}
	};
	while (length $data)
	{
		my $tag = $varint->();
		my $type = $tag & 7;
		my $value = $type == 0 ? $varint->() : substr($data, 0, $type == 1 ? 8 : $type == 5 ? 4 : $varint->(), '');
		push @fields, [ $tag >> 3, $value ];
	}
	return @fields;
}

# rows QUERY: the images after of all rows that the query's batches have.
sub rows
{
	my ($query) = @_;
	my @rows;
	for my $batch (map { pack('H*', $_) } split /\n/, sql($node, $query))
	{
		for my $entry (map { fields($_->[1]) } grep { $_->[0] == 1 } fields($batch))
		{
			push @rows, map { $_->[1] } grep { $_->[0] == 4 } fields($entry->[1]) if $entry->[0] == 5;
		}
	}
	return @rows;
}

# decode PROTO, MESSAGE, ROW: what protoc prints.
sub decode
{
	my ($proto, $message, $row) = @_;
	open my $file, '>', "$dir/t.proto" or die;
	print $file $proto;
	close $file;
	my $result = IPC::Run::run([ 'protoc', "-I$dir", "--decode=$message", "$dir/t.proto" ], '<', \$row, '>', \my $out, '2>', \my $err);
	$out .= $err if !$result || $err;
	return $out;
}

sub compiles
{
	my ($proto, $name) = @_;
	open my $file, '>', "$dir/c.proto" or die;
	print $file $proto;
	close $file;
	my $result = IPC::Run::run([ 'protoc', "-I$dir", "--descriptor_set_out=$dir/set", "$dir/c.proto" ], '>', \my $out, '2>', \my $err);
	ok($result && $err eq '', $name) or diag("$err\n$proto");
}

sql($node, <<~'SQL');
	CREATE TYPE public.mood AS ENUM ('sad', 'glad');
	CREATE DOMAIN public.price AS numeric(10,2);
	CREATE TABLE public.item (gone text, id integer PRIMARY KEY, title text, price public.price, tags text[], seen timestamptz, mood public.mood,
		twice integer GENERATED ALWAYS AS (id * 2) STORED);
	ALTER TABLE public.item DROP COLUMN gone;
	CREATE SCHEMA "odd ""names";
	CREATE TABLE "odd ""names"."message" (id integer PRIMARY KEY, "message" integer, "optional" integer, "Größe" integer, "größe" integer,
		"1st" integer, "new
	line" integer, "*/ }" integer, _a integer, a_ integer, "A" integer, walhouse_unchanged integer, "walhouse_Special" integer, "Row" integer[],
		"漢字" integer, "Int32Array" bigint[], package interval, enum timetz, map bytea, oneof "char"[], reserved numeric[]);
	CREATE TABLE "odd ""names"."Message" (id integer PRIMARY KEY);
	CREATE TABLE "odd ""names"."mess age" (id integer PRIMARY KEY);
	CREATE TABLE public."Numeric" (id integer PRIMARY KEY, "Special" numeric);
	CREATE TABLE public.none ();
	CREATE TABLE public.root (id integer, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE public.leaf (v text, id integer NOT NULL);
	ALTER TABLE public.root ATTACH PARTITION public.leaf FOR VALUES FROM (0) TO (10);
	CREATE PUBLICATION everything FOR ALL TABLES;
	CREATE PUBLICATION "a part" FOR TABLE public.item (id, title), public.root, "odd ""names"."message" WITH (publish_via_partition_root);
	CREATE PUBLICATION leaves FOR TABLE public.root;
	CREATE PUBLICATION nothing;
	CREATE ROLE nobody;
	SQL
sql($node, q{SELECT pg_create_logical_replication_slot('proto', 'walhouse_output')});
sql($node, q{INSERT INTO public.item (id, title, price, tags, seen, mood) VALUES (1, 'größer', 12.50, '{a,NULL}', '1970-01-02 00:00+00', 'glad')});
sql($node, q{INSERT INTO "odd ""names"."message" VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, '{14}', 15)});
sql($node, q{INSERT INTO public.root VALUES (1, 'root')});

my $peek = q{SELECT encode(data, 'hex') FROM pg_logical_slot_peek_binary_changes('proto', NULL, NULL%s)};
my ($item, $odd, $leaf) = rows(sprintf $peek, '');

# -------- one table --------

for my $table (qw(item none root leaf Numeric))
{
	compiles(sql($node, "SELECT walhouse.proto_for('public.\"$table\"')"), "the file of $table compiles");
}
compiles(sql($node, q{SELECT walhouse.proto_for('"odd ""names"."message"')}), 'with odd names, too');
is(decode(sql($node, q{SELECT walhouse.proto_for('public.item')}), 'public.item', $item), <<~'TEXT', 'a row is read by it');
	id: 1
	title: "gr\303\266\303\237er"
	price {
	  unscaled: 1250
	  scale: 2
	}
	tags {
	  dimension: 2
	  nulls: "\002"
	  value: "a"
	}
	seen: 86400000000
	mood: "glad"
	twice: 2
	TEXT
my $text = decode(sql($node, q{SELECT walhouse.proto_for('"odd ""names"."message"')}), 'odd__names.message', $odd);
is(join(',', $text =~ /: (\d+)$/mg), join(',', 1 .. 13, 1, 14, 15), 'and one with odd names') or diag($text);
unlike($text, qr/^\s*\d+:/m, 'without a field that is not known');
is(decode(sql($node, q{SELECT walhouse.proto_for('public.leaf')}), 'public.leaf', $leaf), qq{v: "root"\nid: 1\n}, 'and one of a partition');

# -------- publications --------

for my $publication ('everything', 'a part', 'leaves', 'nothing')
{
	compiles(sql($node, "SELECT walhouse.proto_for_publication('$publication')"), "the file of publication $publication compiles");
}
my $everything = sql($node, q{SELECT walhouse.proto_for_publication('everything')});
is(scalar(() = $everything =~ /^\/\/ Rows of (?!walhouse)/mg), 7, 'it has a message for each table');
is(decode($everything, 'everything.public_leaf', $leaf), qq{v: "root"\nid: 1\n}, 'which reads rows');
my $part = sql($node, q{SELECT walhouse.proto_for_publication('a part')});
my ($part_item, undef, $root) = rows(sprintf $peek, q{, 'publication', '"a part"'});
is(decode($part, 'a_part.public_item', $part_item), qq{id: 1\ntitle: "gr\\303\\266\\303\\237er"\n}, 'a column list is honoured');
unlike($part, qr/price/, 'in the file, too');
is(decode($part, 'a_part.public_root', $root), qq{id: 1\nv: "root"\n}, 'and so is the root, under its numbers');
unlike($part, qr/leaf/, 'without its partitions');
like(sql($node, q{SELECT walhouse.proto_for_publication('leaves')}), qr/message public_leaf \{/, 'which otherwise are there');

# -------- who may, and errors --------

is(sql($node, q{SET ROLE nobody; SELECT walhouse.proto_for('public.item') = walhouse.proto_for(r) FROM (SELECT 'public.item'::regclass AS r) x}),
	't', 'a plain user may');
my ($status, $out, $err) = $node->psql('postgres', q{SELECT walhouse.proto_for('pg_roles')});
like($err, qr/ERROR:  "pg_roles" is not a table/, 'a view has no rows in the stream');
($status, $out, $err) = $node->psql('postgres', q{SELECT walhouse.proto_for_publication('absent')});
like($err, qr/ERROR:  publication "absent" does not exist/, 'a publication must exist');
is(sql($node, q{SELECT walhouse.proto_for(NULL) IS NULL AND walhouse.proto_for_publication(NULL) IS NULL}), 't', 'NULL gives NULL');
is(sql($node, q{SELECT count(*) FROM pg_locks WHERE relation = 'public.item'::regclass}), '0', 'no lock stays');

$node->stop;
done_testing();
