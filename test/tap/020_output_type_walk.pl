# P6, wire: a walk over pg_type. Every type that a column can have, and its array, goes through the stream with the values
# below; each must come back as the server's own output function prints it, and be read back to the same image. A type
# of the server that has neither values nor a reason here fails the test.
use strict;
use warnings;
use IPC::Run;
use WalhouseTest;
use WalhouseJson;
use WalhouseWire;
use PostgreSQL::Test::Utils;
use Test::More;

# A source needs the output plugin alone.
my $node = new_server('walk', conf => "shared_preload_libraries = ''\n");
my $dir = PostgreSQL::Test::Utils::tempdir();
my $version = sql($node, q{SELECT current_setting('server_version_num')::integer / 10000});
my $user = sql($node, 'SELECT current_user');

# -------- the values --------

my @text = ('', 'a', "quote ' and \" and \\ and {braces}, commas\nand lines", 'żółć 漢字 😀', ' ', 'NULL', "\x01\x7f");
my @zoned = ('1970-01-01+00', '2024-07-01 12:00:00.5-07', '4713-01-01 00:00+00 BC', '294276-12-31 23:59:59+00', 'infinity', '-infinity');
my @plain = ('1970-01-01', '1969-12-31 23:59:59.999999', '0044-03-15 10:00 BC', '4713-01-01 BC', '294246-12-31',
	'294276-12-31 23:59:59.999999', 'infinity', '-infinity');
my %samples = (
	bool => [ 't', 'f' ],
	int2 => [ '0', '-32768', '32767' ],
	int4 => [ '0', '-2147483648', '2147483647' ],
	int8 => [ '0', '-9223372036854775808', '9223372036854775807', '9007199254740993' ],
	money => [ '0', '-12345.67', '92233720368547758.07', '-92233720368547758.08' ],
	oid => [ '0', '4294967295' ],
	xid => [ '3', '4294967295' ],
	cid => [ '0', '4294967295' ],
	xid8 => [ '0', '18446744073709551615' ],
	float4 => [ '0', '-0', '1.5', 'NaN', 'Infinity', '-Infinity', '3.4028235e38', '1e-45', '0.1' ],
	float8 => [ '0', '-0', '0.1', 'NaN', 'Infinity', '-Infinity', '1.7976931348623157e308', '5e-324' ],
	numeric => [
		'0', '0.00', '1', '1.0', '1.00', '-1.50', '0.000001', '10000', '100000000', '9223372036854775807', '-9223372036854775808',
		'9223372036854775808', '92233720368547758.08', '123456789012345678901234567890.123456789', '1e200', '1e-200', '1e130000',
		'NaN', 'Infinity', '-Infinity'
	],
	'numeric(12,4)' => [ '1', '-99999999.9999', 'NaN' ],
	date => [ '1970-01-01', '2000-02-29', '0044-03-15 BC', '4713-01-01 BC', '5874897-12-31', 'infinity', '-infinity' ],
	time => [ '00:00', '24:00', '12:34:56.789012' ],
	'time(0)' => ['12:34:56.7'],
	timetz => [ '00:00+00', '12:34:56.789+05:30', '23:59:59.999999-15:59:59', '24:00+14' ],
	timestamp => \@plain,
	'timestamp(0)' => ['2024-02-29 12:00:00.6'],
	timestamptz => \@zoned,
	interval => [
		'0', '1 mon', '-1 mon 2 days -3 seconds', '178000000 years', '-178000000 years', '1 day', '24 hours', '-00:00:00.000001',
		'2 years -5 mons 10 days 04:05:06.789', '-2147483647 mons -2147483647 days', '2562047788:00:54.775807', '-2562047788:00:54.775807',
		$version >= 17 ? ('infinity', '-infinity') : ()
	],
	'interval year to month' => ['1 year 2 mons'],
	uuid => [ '00000000-0000-0000-0000-000000000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' ],
	bytea => [ '', '\x00', '\xdeadbeef00ff5c22' ],
	text => \@text,
	varchar => \@text,
	'varchar(20)' => [ '', 'twenty' ],
	bpchar => [ '', 'a  ', 'ż' ],
	'character(5)' => [ '', 'ab', 'abcde' ],
	name => [ '', 'a name', 'x' x 63 ],
	'"char"' => [ 'x', '' ],
	json => [ '{"a":  [1, 2.50, null]}', 'null', '"x"', '[]' ],
	jsonb => [
		'{"a": [1, 2.50, null], "": {"ż": "é\"\\\\"}}', 'null', 'true', 'false', '12345678901234567890.5', '"x"', '""', '[]',
		'{}', '[[], {}, [[{"a": {}}]], "\b\f\n\r\t\u0001\u001f\u007f/"]', '[0, -0.5, 0.00, 1e-30, 1e-31, -1.05, 1e20, 9223372036854775807]',
		'{' . join(',', map { qq("key $_": ["$_", $_.0$_, {"$_": true}]) } 1 .. 100) . '}', '[' x 500 . ']' x 500,
		'"' . 'long ' x 5000 . '"'
	],
	jsonpath => [ '$', 'strict $.a[*] ? (@ > 1 && @.b like_regex "^x" flag "i")' ],
	xml => [ '<a>b</a>', 'x' ],
	inet => [ '192.168.0.1/24', '::1', '0.0.0.0/0', '2001:db8::/32' ],
	cidr => [ '10.0.0.0/8', '::/0' ],
	macaddr => ['08:00:2b:01:02:03'],
	macaddr8 => ['08:00:2b:01:02:03:04:05'],
	bit => [ '0', '1' ],
	'bit(3)' => ['101'],
	varbit => [ '', '10101', '1' x 100 ],
	point => [ '(1.5,-2)', '(NaN,Infinity)', '(-0,1e-300)' ],
	line => ['{1,-2,0.1}'],
	lseg => ['[(0,0),(1.5,2)]'],
	box => ['(2,2),(1,1)'],
	path => [ '((0,0),(1,1))', '[(0,0),(1,1),(2,0)]' ],
	polygon => ['((0,0),(1,1),(2,0))'],
	circle => ['<(0,0),1.5>'],
	tsvector => [ "'a':1 'b c':2,3A", '' ],
	tsquery => [ q{'a' & !'b' | 'c':*A <-> 'd'}, '' ],
	pg_lsn => [ '0/0', 'FFFFFFFF/FFFFFFFF' ],
	tid => [ '(1,2)', '(4294967295,65535)' ],
	txid_snapshot => [ '10:20:10,14,15', '1:1:' ],
	pg_snapshot => [ '10:20:10,14,15', '1:1:' ],
	refcursor => [ '', 'a cursor' ],
	aclitem => [ "$user=r*w/$user", "=X/$user" ],
	oidvector => [ '', '1 2 4294967295' ],
	int2vector => [ '', '1 -2 32767' ],
	regproc => [ 'now', '-', '4294967295' ],
	regprocedure => [ 'sum(integer)', '-' ],
	regoper => [ '||/', '0' ],
	regoperator => [ '*(integer,integer)', '0' ],
	regclass => [ 'pg_class', 'public."A table"', '-', '4294967295' ],
	regtype => [ 'integer', 'public.mood[]', '-' ],
	regrole => [ $user, '-' ],
	regnamespace => [ 'pg_catalog', 'public', '-' ],
	regconfig => [ 'english', '-' ],
	regdictionary => [ 'simple', '-' ],
	regcollation => [ '"C"', '-' ],
	int4range => [ '[1,5)', 'empty', '(,)', '[1,)', '(,-3)' ],
	int8range => [ '[1,9223372036854775807)', 'empty' ],
	numrange => [ '(1.0,2.00]', '[NaN,NaN]', '(,)' ],
	tsrange => [ '["2024-01-01 00:00:00","2024-01-02 00:00:00")', '[-infinity,infinity]' ],
	tstzrange => [ '["2024-01-01 00:00:00+00",infinity)', 'empty' ],
	daterange => [ '[2024-01-01,2024-02-01)', '[,infinity)' ],
	int4multirange => [ '{[1,2),[5,9)}', '{}' ],
	int8multirange => ['{(,1),[5,)}'],
	nummultirange => ['{[1.0,2.00],(3,4)}'],
	tsmultirange => ['{["2024-01-01 00:00:00","2024-01-02 00:00:00")}'],
	tstzmultirange => ['{["2024-01-01 00:00:00+00",infinity)}'],
	datemultirange => [ '{[2024-01-01,2024-02-01)}', '{}' ],
	'information_schema.cardinal_number' => [ '0', '7' ],
	'information_schema.character_data' => [ '', 'x' ],
	'information_schema.sql_identifier' => ['an identifier'],
	'information_schema.time_stamp' => ['2024-07-01 12:00:00.5+00'],
	'information_schema.yes_or_no' => [ 'YES', 'NO' ],

	# of users
	'public.mood' => [ 'sad', 'größer', '' ],
	'public.positive' => [ '1', '7' ],
	'public.label' => [ '', 'words' ],
	'public.happy' => ['größer'],
	'public.numbers' => [ '{1,2}', '{}', '{{1},{NULL}}' ],
	'public.pair' => [ '(1,"a b")', '(,)', '(,"")' ],
	'public.nest' => [ '("(1,""a,b"")","{1,NULL}",sad,7,"2024-07-01 12:00:00+00")', '(,,,,)' ],
	'public.floatrange' => [ '[0.1,1e+300)', 'empty' ],
	'public.floatmultirange' => ['{[0.1,0.2),[1,)}'],
	'public."A table"' => [ '(1,x)', '(,)' ],
	'public.citext' => [ 'MiXed', '' ],
	'public.hstore' => [ '"a"=>"1", "b"=>NULL', '' ],
	'public.ltree' => [ 'top.a.b', '' ],
	'public.ltxtquery' => ['a & !b'],
	'public.lquery' => ['top.*{1,2}.!x'],
	'public.cube' => [ '(1, 2),(3, 4)', '(0.1)' ]);

# What no column can hold, or nobody can write.
my %reasons = (
	pg_node_tree => 'input is refused',
	pg_ndistinct => 'input is refused',
	pg_dependencies => 'input is refused',
	pg_mcv_list => 'input is refused',
	pg_brin_bloom_summary => 'input is refused',
	pg_brin_minmax_multi_summary => 'input is refused',
	gtsvector => 'input is refused',
	'cstring[]' => 'elements are of a pseudo-type',
	'public.ltree_gist' => 'input is refused',
	'public.ghstore' => 'input is refused');

sql($node, <<~'SQL');
	CREATE TYPE mood AS ENUM ('sad', 'größer', '');
	CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
	CREATE DOMAIN label AS text;
	CREATE DOMAIN happy AS mood CHECK (VALUE <> 'sad');
	CREATE DOMAIN numbers AS integer[];
	CREATE TYPE pair AS (a integer, b text);
	CREATE TYPE nest AS (p pair, n integer[], m mood, d positive, t timestamptz);
	CREATE TYPE floatrange AS RANGE (subtype = float8, multirange_type_name = floatmultirange);
	CREATE TABLE "A table" (a integer, b text);
	SQL
for my $extension (qw(citext hstore ltree cube))
{
	sql($node, "CREATE EXTENSION IF NOT EXISTS $extension")
		if sql($node, "SELECT count(*) FROM pg_available_extensions WHERE name = '$extension'");
}
for my $type (keys %samples) { delete $samples{$type} unless sql($node, 'SELECT to_regtype(' . quoted($type) . ') IS NOT NULL') eq 't' }

sub quoted
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

# -------- nothing is left out --------

my $known = join ', ', map { '(' . quoted($_) . '::regtype)' } keys %samples;
my $left = join ', ', map { '(to_regtype(' . quoted($_) . '))' } keys %reasons;
sql($node, "CREATE TABLE known (type regtype); INSERT INTO known VALUES $known;
	CREATE TABLE left_out (type regtype); INSERT INTO left_out VALUES $left");
is(sql($node, q{
	SELECT string_agg(t.oid::regtype::text, ', ')
	FROM pg_type t
	LEFT JOIN pg_class c ON c.oid = t.typrelid AND c.relkind <> 'c'
	WHERE t.typtype <> 'p'
	AND (c.oid IS NULL OR c.relnamespace = 'public'::regnamespace AND c.relname = 'A table')
	AND NOT EXISTS (SELECT FROM pg_type e JOIN pg_class r ON r.oid = e.typrelid AND r.relkind <> 'c'
		WHERE e.typarray = t.oid AND r.relname <> 'A table')
	AND NOT EXISTS (SELECT FROM known k JOIN pg_type e ON e.oid = k.type WHERE t.oid IN (e.oid, e.typarray))
	AND NOT EXISTS (SELECT FROM left_out k JOIN pg_type e ON e.oid = k.type WHERE t.oid IN (e.oid, e.typarray))}), '',
	'every type of pg_type has values, or a reason to have none');

# -------- one table a type, one its array --------

my (@walks, $fill);
my $settings = "SET xmloption = content; SET lc_monetary = 'C'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres';
	SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = 'hex';\n";
my $setup = '';
for my $type (sort keys %samples)
{
	my $table = sprintf 't%03d', scalar @walks;
	my @values = map { quoted($_) . "::$type" } @{ $samples{$type} };
	my ($first, $last) = @values[0, -1];
	my $row = 0;

	push @walks, { type => $type, table => $table };
	$setup .= "CREATE TABLE $table (id integer PRIMARY KEY, v $type);\n";
	$fill .= "INSERT INTO $table VALUES (" . $row++ . ", $_);\n" for 'NULL', @values;

	push @walks, { type => "$type\[]", table => "a$table" };
	$setup .= "CREATE TABLE a$table (id integer PRIMARY KEY, v $type\[]);\n";
	$row = 0;
	$fill .= "INSERT INTO a$table VALUES (" . $row++ . ", $_);\n"
		for 'NULL', "'{}'", (map { "ARRAY[$_]::$type\[]" } @values), 'ARRAY[' . join(', ', @values, 'NULL') . "]::$type\[]",
		"ARRAY[NULL, NULL]::$type\[]", "array_fill($first, ARRAY[2, 1, 3])",
		"('[0:1][-2:-1]=' || (ARRAY[[$first, NULL], [$last, $first]]::$type\[])::text)::$type\[]";
}
sql($node, $setup . 'CREATE TABLE lines (n serial, line json)');
sql($node, $json_reader);
sql($node, "SELECT pg_create_logical_replication_slot(slot, 'walhouse_output') FROM unnest(ARRAY['walk', 'images']) AS slot");
sql($node, $settings . "BEGIN;\n$fill COMMIT;");

my $end = sql($node, 'SELECT pg_current_wal_lsn()');
my ($lines, $err);
IPC::Run::run([ 'walhouse_recv', '-d', $node->connstr('postgres'), '--slot', 'walk', '--start', '--endpos', $end ],
	'<', \undef, '>', \$lines, '2>', \$err, IPC::Run::timeout(120)) or BAIL_OUT($err);
open my $file, '>:raw', "$dir/lines" or die;
print $file ($lines =~ s/\\/\\\\/gr);
close $file;
command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c',
		"\\copy lines (line) FROM '$dir/lines'" ], 'every line is JSON');

# -------- what came is what is there --------

# Types that are sent as text must be, to the letter, what the output function prints.
my %kinds = map { /"table":"(a?t\d+)".*"name":"v","type":.*?"kind":"(\w+)"/ ? ($1 => $2) : () } grep { /"kind":"relation"/ }
	split /\n/, $lines;
my $check = $settings . "SET search_path = pg_catalog;\n";
for my $walk (@walks)
{
	my ($type, $table) = @$walk{qw(type table)};
	my $read = from_json($type, "line #> '{after,v}'", $kinds{$table} eq 'array') =~ s/array_of_json/public.array_of_json/r;
	my $is_text = ($kinds{$table} // '') =~ /^(text|output)$/ ? "OR coalesce(line #>> '{after,v}', '') <> format('%s', t.v)" : '';

	# format() prints what the output function does, a cast to text may not
	$check .= "SELECT '$type: ' || coalesce(left(t.v::text, 200), 'NULL') || ' came as ' || coalesce(left(line::text, 300), 'nothing')
		FROM public.$table t
		LEFT JOIN public.lines l ON line ->> 'table' = '$table' AND (line #>> '{after,id}')::integer = t.id
		WHERE line IS NULL OR NOT record_image_eq(ROW(t.v), ROW($read))
			OR format('%s', t.v) <> format('%s', $read) $is_text;\n";
}
sql($node, "CREATE INDEX ON lines ((line ->> 'table')); ANALYZE lines");
sql($node, 'ALTER FUNCTION json_items(json, numeric, text) SET search_path = public;
	ALTER FUNCTION array_of_json(json, numeric, text) SET search_path = public');
is(sql($node, $check), '', 'every value came as it is');

# -------- two ways to the same bytes --------

# A row that is inserted is written straight from its tuple; with a full old image both rows are taken apart first.
sql($node, join '', map { "ALTER TABLE $_->{table} REPLICA IDENTITY FULL; UPDATE $_->{table} SET id = id;\n" } @walks);
$end = sql($node, 'SELECT pg_current_wal_lsn()');
IPC::Run::run([ 'walhouse_recv', '-d', $node->connstr('postgres'), '--slot', 'images', '--start', '--endpos', $end,
		'--format', 'delimited', '--file', "$dir/images" ], '<', \undef, '2>', \$err, IPC::Run::timeout(120)) or BAIL_OUT($err);
my (%table_of, %inserted, %differ);
my $compared = 0;
for my $entry (map { entries($_) } batches(slurp_file("$dir/images")))
{
	my ($kind, @fields) = @$entry;
	my ($schema, $op) = (one(1, @fields), one(2, @fields));

	$table_of{$schema} = one(4, @fields) if $kind == 4;
	next unless $kind == 5;
	my $table = $table_of{$schema};
	push @{ $inserted{$table} }, map { $_->[1] } grep { $_->[0] == 4 } @fields if $op == 1;
	next unless $op == 2;
	for my $image (grep { $_->[0] == 4 || $_->[0] == 5 } @fields)
	{
		my $id = one(1, fields($image->[1])) / 2;
		$differ{$table} = 1 if $image->[1] ne $inserted{$table}[$id];
		$compared++;
	}
}
is(join(', ', sort keys %differ), '', 'both ways of writing a row give the same bytes');
cmp_ok($compared, '>', 2000, 'images');

is(scalar(grep { !$kinds{ $_->{table} } } @walks), 0, 'every type has been sent');
my $types = sql($node, 'SELECT count(DISTINCT oid) FROM (SELECT unnest(ARRAY[t.oid, t.typarray]) FROM known k JOIN pg_type t ON t.oid = k.type) x (oid)');
my $values = sql($node, q{SELECT count(*) FROM lines WHERE line ->> 'kind' = 'insert' AND line #>> '{after,v}' IS NOT NULL});
cmp_ok($types, '>', 180, 'types');
diag("$types types walked, arrays among them, with $values values; left out: " . scalar(keys %reasons));
$node->stop;
done_testing();
