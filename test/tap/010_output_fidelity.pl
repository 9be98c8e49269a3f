# P6, wire: every value of every built-in type arrives as it was. A stream over all types, replica identities, TOAST and
# special values is captured and read by three independent readers, each of which must give the table back:
#   1. protobuf-c unpacks every batch and packs it to the same bytes;
#   2. protoc reads the rows by the descriptors that the stream itself carries;
#   3. the JSON lines, each member cast to its column's type.
# The server then compares what was read with its own tables, as images.
use strict;
use warnings;
use WalhouseTest;
use WalhouseJson;
use WalhouseWire;
use PostgreSQL::Test::Utils;
use Test::More;

# A source needs the output plugin alone.
my $node = new_server('fidelity', conf => "shared_preload_libraries = ''\n");
my $dir = PostgreSQL::Test::Utils::tempdir();
my $connection = $node->connstr('postgres');

sub recv_ok
{
	my ($name, @arguments) = @_;
	my $result = IPC::Run::run([ 'walhouse_recv', '-d', $connection, @arguments ], '>', \my $out, '2>', \my $err,
		IPC::Run::timeout(120));
	ok($result, $name) or diag($err);
	return $out;
}

# -------- the tables --------

# Columns: type => the values that are stored, beside NULL.
my %types = (
	boolean => [ 'true', 'false' ],
	smallint => [ '0', '-32768', '32767' ],
	integer => [ '0', '-2147483648', '2147483647' ],
	bigint => [ '0', '-9223372036854775808', '9223372036854775807', '9007199254740993' ],
	money => [ '0', '-12345.67', '92233720368547758.07' ],
	oid => [ '0', '4294967295' ],
	xid => [ '3', '4294967295' ],
	cid => [ '0', '4294967295' ],
	xid8 => [ '0', '18446744073709551615' ],
	real => [ '0', '-0', '1.5', 'NaN', 'Infinity', '-Infinity', '3.4028235e38', '1e-45', '0.1' ],
	'double precision' => [ '0', '-0', '0.1', 'NaN', 'Infinity', '-Infinity', '1.7976931348623157e308', '5e-324' ],
	numeric => [
		'0', '0.00', '1', '1.0', '1.00', '-1.50', '12345.6789', '0.000001', 'NaN', 'Infinity', '-Infinity',
		'9223372036854775807', '-9223372036854775808', '9223372036854775808', '-9223372036854775809',
		'92233720368547758.07', '123456789012345678901234567890.123456789', '1e200', '1e-200', '10000', '100000000'
	],
	'numeric(12,4)' => [ '1', '-99999999.9999' ],
	date => [ '1970-01-01', '2000-02-29', '0044-03-15 BC', '4713-01-01 BC', '5874897-12-31', 'infinity', '-infinity' ],
	time => [ '00:00', '24:00', '12:34:56.789012' ],
	timetz => [ '00:00+00', '12:34:56.789+05:30', '23:59:59.999999-15:59:59', '24:00+14' ],
	timestamp => [
		'1970-01-01', '1969-12-31 23:59:59.999999', '2024-02-29 12:00:00.000001', '0044-03-15 10:00 BC', '4713-01-01 BC',
		'9999-12-31', '294246-12-31', '294276-12-31 23:59:59.999999', 'infinity', '-infinity'
	],
	timestamptz => [
		'1970-01-01+00', '2024-07-01 12:00:00.5-07', '4713-01-01 00:00+00 BC', '294276-12-31 23:59:59+00', 'infinity', '-infinity'
	],
	interval => [
		'0', '1 mon', '-1 mon 2 days -3 seconds', '178000000 years', '-178000000 years', '1 day', '24 hours',
		'00:00:00.000001', '-00:00:00.000001', '2 years -5 mons 10 days 04:05:06.789'
	],
	uuid => [ '00000000-0000-0000-0000-000000000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' ],
	bytea => [ '', '\x00', '\xdeadbeef00ff' ],
	text => [ '', 'a', "quote ' and \" and \\ and\nnew line", 'żółć 漢字 😀', ' ', "\x01\x7f" ],
	'varchar(20)' => [ '', 'twenty' ],
	'character(5)' => [ '', 'ab', 'abcde' ],
	name => [ '', 'a name' ],
	'"char"' => [ 'x', '' ],
	json => [ '{"a":  [1, 2.50, null]}', 'null', '"x"' ],
	jsonb => [ '{"a": [1, 2.50, null]}', 'null', '12345678901234567890.5' ],
	xml => [ '<a>b</a>', 'x' ],
	inet => [ '192.168.0.1/24', '::1' ],
	cidr => ['10.0.0.0/8'],
	macaddr => ['08:00:2b:01:02:03'],
	macaddr8 => ['08:00:2b:01:02:03:04:05'],
	bit => [ '0', '1' ],
	'bit varying' => [ '', '10101' ],
	point => [ '(1.5,-2)', '(NaN,Infinity)' ],
	box => ['(2,2),(1,1)'],
	polygon => ['((0,0),(1,1),(2,0))'],
	tsvector => [ "'a':1 'b c':2,3A", '' ],
	tsquery => [q{'a' & !'b'}],
	int4range => [ '[1,5)', 'empty', '(,)' ],
	numrange => ['(1.0,2.00]'],
	tstzrange => ['["2024-01-01 00:00:00+00",infinity)'],
	int4multirange => ['{[1,2),[5,9)}'],
	'integer[]' => [ '{}', '{1,NULL,3}', '{{1,2},{3,4}}', '[0:1]={7,8}' ],
	'text[]' => ['{"",NULL,"a,b","c\"d"}'],
	'timestamptz[]' => ['{"2024-07-01 12:00:00+00",infinity}'],
	'double precision[]' => ['{0.1,NaN,-Infinity}'],
	'bytea[]' => ['{"\\\\x00ff"}'],
	'money[]' => ['{12.34}'],
	pg_lsn => [ '0/0', 'FFFFFFFF/FFFFFFFF' ],
	tid => ['(1,2)'],
	mood => [ 'sad', 'größer' ],
	positive => ['7'],
	label => [ '', 'words' ],
	pair => [ '(1,"a b")', '(,)' ],
	regclass => [ 'pg_class', 'public.t_mood' ],
	'regtype' => ['mood']);

my $version = sql($node, q{SELECT current_setting('server_version_num')::integer / 10000});
push @{ $types{interval} }, 'infinity', '-infinity' if $version >= 17;
my @names = sort keys %types;
my $id = 0;
my $setup = <<~'SQL';
	CREATE TYPE mood AS ENUM ('sad', 'größer');
	CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
	CREATE DOMAIN label AS text;
	CREATE TYPE pair AS (a integer, b text);
	CREATE TABLE t_mood (a integer);
	SQL
my $fill = "SET xmloption = content;\n";
my @tables;

sub quoted
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

# One table a type, so that a failure names it; the value in a column beyond the first 15, whose tags are longer, too.
for my $type (@names)
{
	my $table = sprintf 'v%02d', $id++;

	push @tables, $table;
	$setup .= "CREATE TABLE $table (id integer PRIMARY KEY, v $type, "
		. join('', map { "f$_ boolean, " } 1 .. 14) . "w $type);\n";
	my $row = 0;
	for my $value (@{ $types{$type} })
	{
		my $literal = quoted($value);
		$row++;
		$fill .= "INSERT INTO $table (id, v, w) VALUES ($row, $literal, $literal);\n";
	}
	$fill .= "INSERT INTO $table (id) VALUES (100);\n";
}

sql($node, $setup);
recv_ok('the slot is made', '--slot', 'fidelity', '--create-slot');
recv_ok('a second one, for JSON', '--slot', 'lines', '--create-slot');
sql($node, $fill);

# Large values, compressed and not; replica identity full; many rows in one transaction, so that batches are several.
sql($node, <<~'SQL');
	CREATE TABLE large (id integer PRIMARY KEY, n integer, plain text, packed text, bin bytea, doc jsonb);
	ALTER TABLE large ALTER COLUMN plain SET STORAGE EXTERNAL;
	ALTER TABLE large REPLICA IDENTITY FULL;
	INSERT INTO large SELECT i, i, repeat('ż', 3000 * i), repeat('abc', 100000), decode(repeat('00ff', 5000), 'hex'),
		jsonb_build_object('k', repeat('v', 9000)) FROM generate_series(1, 3) i;
	UPDATE large SET n = n + 10;
	UPDATE large SET plain = 'short' WHERE id = 2;
	CREATE TABLE many (id bigint PRIMARY KEY, a text, b numeric, c timestamptz);
	INSERT INTO many SELECT i, repeat('x', i % 300), i / 7.0, to_timestamp(i) FROM generate_series(1, 30000) i;
	UPDATE many SET a = a || 'y' WHERE id % 3 = 0;
	UPDATE many SET id = -id WHERE id % 5 = 0;
	DELETE FROM many WHERE id % 7 = 0;
	SQL

# A column that is computed when it is read is not in the row, and so not in the stream.
sql($node, q{CREATE TABLE computed (id integer PRIMARY KEY, v integer GENERATED ALWAYS AS (id * 2) VIRTUAL, w integer);
	INSERT INTO computed (id, w) VALUES (1, 3)}) if $version >= 18;

my $end = sql($node, 'SELECT pg_current_wal_lsn()');
recv_ok('the stream is captured', '--slot', 'fidelity', '--start', '--endpos', $end, '--format', 'delimited',
	'--file', "$dir/stream");
recv_ok('and as JSON lines', '--slot', 'lines', '--start', '--endpos', $end, '--file', "$dir/lines");

# -------- 1. protobuf-c --------

system('make -s with_llvm=no build/repack >&2') == 0 or BAIL_OUT('build/repack cannot be built');
my $repacked = `build/repack < $dir/stream`;
like($repacked, qr/^(\d+) batches, \d+ bytes$/, 'protobuf-c packs every batch to the same bytes');
my ($batches) = $repacked =~ /^(\d+)/;
cmp_ok($batches, '>', 60, 'a large transaction takes several batches');

# -------- the batches --------

my $stream = slurp_file("$dir/stream");
my (%relations, %rows, $largest, $open);
my ($hellos, $transactions) = (0, 0);
for my $batch (batches($stream))
{
	$largest = length $batch if !defined $largest || length $batch > $largest;
	for my $entry (entries($batch))
	{
		my ($kind, @fields) = @$entry;

		if ($kind == 1) { $hellos++ }
		elsif ($kind == 2) { ok(0, 'a transaction begins in another') if $open; $open = 1 }
		elsif ($kind == 3) { $open = 0; $transactions++ }
		elsif ($kind == 4)
		{
			$relations{ one(1, @fields) } = { name => one(4, @fields), descriptor => one(9, @fields) };
		}
		elsif ($kind == 5 && one(2, @fields) == 1)
		{
			push @{ $rows{ one(1, @fields) } }, map { $_->[1] } grep { $_->[0] == 4 } @fields;
		}
	}
}
is($hellos, 1, 'one session, one hello');
is($open, 0, 'every transaction is whole');
cmp_ok($largest, '<', 1_000_000, 'batches stay small');

# -------- 2. protoc --------

# decode_rows SCHEMA: rows as hashes from field name to a list of values, read by protoc with the stream's descriptor.
sub decode_rows
{
	my ($schema) = @_;
	my $descriptor = $relations{$schema}{descriptor};
	my $length = length $descriptor;
	my $prefix = "\x0a";
	my @decoded;

	while ($length >= 0x80) { $prefix .= chr(($length & 0x7F) | 0x80); $length >>= 7 }
	open my $set, '>:raw', "$dir/set" or die;
	print $set $prefix . chr($length) . $descriptor;
	close $set;
	for my $row (@{ $rows{$schema} })
	{
		my %values;
		my @path = (\%values);
		my $out = '';
		IPC::Run::run([ 'protoc', "--descriptor_set_in=$dir/set", "--decode=walhouse.row.s$schema.Row",
				"walhouse/row/s$schema.proto" ], '<', \$row, '>', \$out) or die 'protoc cannot read a row';
		for my $line (split /\n/, $out)
		{
			if ($line =~ /^\s*(\w+) \{$/) { push @{ $path[-1]{$1} }, {}; push @path, $path[-1]{$1}[-1] }
			elsif ($line =~ /^\s*\}$/) { pop @path }
			elsif ($line =~ /^\s*(\w+): (.*)$/) { push @{ $path[-1]{$1} }, $2 }
		}
		push @decoded, \%values;
	}
	return @decoded;
}

# bytes_of TEXT: what a string of protobuf's text format stands for.
sub bytes_of
{
	my ($text) = @_;
	my %named = (n => "\n", r => "\r", t => "\t", '"' => '"', "'" => "'", '\\' => '\\');

	$text =~ s/^"//;
	$text =~ s/"$//;
	$text =~ s/\\([0-7]{3}|.)/length $1 == 3 ? chr oct $1 : $named{$1}/ges;
	return $text;
}

# literal TYPE, VALUE, SPECIAL: SQL that makes the value from what protoc printed, by arithmetic alone.
sub literal
{
	my ($type, $value, $special) = @_;

	if ($special)
	{
		my %texts = (POSITIVE_INFINITY => 'infinity', NEGATIVE_INFINITY => '-infinity', NAN => 'NaN');
		my $kind = $special->{kind}[0];
		my $text = $kind eq 'OUT_OF_RANGE' ? bytes_of($special->{text}[0]) : $texts{$kind};
		return quoted($text) . "::$type";
	}
	return 'NULL' unless defined $value;
	return array_literal($1, $value) if $type =~ /^(.*)\[\]$/;
	return "('$value'::numeric * 0.01)::money" if $type eq 'money';
	if ($type =~ /^numeric/ && $type ne 'numrange')
	{
		return quoted(bytes_of($value->{big}[0])) . '::numeric' if defined $value->{big};
		my ($unscaled, $scale) = (map { $value->{$_} ? $value->{$_}[0] : 0 } 'unscaled', 'scale');
		return "round(('$unscaled'::numeric * ('1e-$scale')::numeric), $scale)";
	}
	return "date '1970-01-01' + ($value)" if $type eq 'date';
	return "CASE WHEN $value = 86400000000 THEN time '24:00' ELSE time '00:00' + $value * interval '1 microsecond' END"
		if $type eq 'time';
	if ($type eq 'timetz')
	{
		my ($time, $zone) = ($value->{microseconds}[0], -$value->{zone}[0]);
		my $sign = $zone < 0 ? '-' : '+';
		my $clock = sprintf '%02d:%02d:%02d.%06d', $time / 3600e6, $time / 60e6 % 60, $time / 1e6 % 60, $time % 1e6;
		$zone = abs $zone;
		return sprintf "'%s%s%02d:%02d:%02d'::timetz", $clock, $sign, $zone / 3600, $zone / 60 % 60, $zone % 60;
	}
	if ($type =~ /^timestamp(tz)?$/)
	{
		# days and the rest apart, since an interval's microseconds alone do not reach that far
		my $zoned = $1 ? " AT TIME ZONE 'UTC'" : '';
		my $days = int($value / 86400e6);
		$days-- while $days * 86400_000_000 > $value;
		my $rest = $value - $days * 86400_000_000;
		return "(timestamp '1970-01-01' + $days * interval '1 day' + $rest * interval '1 microsecond')$zoned";
	}
	if ($type eq 'interval')
	{
		my ($months, $days, $time) = map { $value->{$_}[0] } 'months', 'days', 'microseconds';
		return "make_interval(months => $months, days => $days) + $time * interval '1 microsecond'";
	}
	if ($type eq 'uuid' || $type eq 'bytea')
	{
		my $hex = unpack 'H*', bytes_of($value);
		return $type eq 'uuid' ? "'$hex'::uuid" : "'\\x$hex'::bytea";
	}
	return "'$value'::$type" if $type =~ /^(real|double precision)$/;
	return "'$value'" if $value !~ /^"/;
	return quoted(bytes_of($value)) . "::$type";
}

# array_literal TYPE, VALUE: SQL that makes the array of elements of a type.
sub array_literal
{
	my ($type, $value) = @_;
	my @dimensions = @{ $value->{dimension} || [] };
	my @bounds = @{ $value->{lower_bound} || [] };
	my @values = @{ $value->{value} || [] };
	my $nulls = bytes_of($value->{nulls} ? $value->{nulls}[0] : '""');
	my $count = @dimensions ? 1 : 0;

	$count *= $_ for @dimensions;
	my @parts = map {
		my $byte = int($_ / 8) < length $nulls ? ord substr($nulls, int($_ / 8), 1) : 0;
		$byte >> $_ % 8 & 1 ? 'NULL' : literal($type, shift @values)
	} 0 .. $count - 1;
	die 'more values than elements' if @values;
	return "'{}'::$type\[]" unless $count;
	for my $length (reverse @dimensions)
	{
		my @rows;
		push @rows, '[' . join(', ', splice @parts, 0, $length) . ']' while @parts;
		@parts = @rows;
	}
	my $array = "ARRAY$parts[0]::$type\[]";
	return $array unless @bounds;
	my $subscripts = join '', map { "[$bounds[$_]:" . ($bounds[$_] + $dimensions[$_] - 1) . ']' } 0 .. $#bounds;
	return "('$subscripts=' || ($array)::text)::$type\[]";
}

my $copy = "SET xmloption = content; SET lc_monetary = 'C';\n";
my %schema_of = map { $relations{$_}{name} => $_ } keys %relations;
for my $i (0 .. $#names)
{
	my ($type, $table) = ($names[$i], $tables[$i]);
	my $insert = '';

	for my $row (decode_rows($schema_of{$table}))
	{
		my %special = map { $_->{attnum}[0] => $_ } @{ $row->{walhouse_special} || [] };
		my @sql = map { literal($type, $row->{ $_->[0] } && $row->{ $_->[0] }[0], $special{ $_->[1] }) }
			([ 'v', 2 ], [ 'w', 17 ]);

		$insert .= "INSERT INTO c_$table (id, v, w) VALUES ($row->{id}[0], $sql[0], $sql[1]);\n";
	}
	$copy .= "CREATE TABLE c_$table (LIKE $table);\n$insert";
}
my $sql_file = "$dir/copy.sql";
open my $file, '>:raw', $sql_file or die;
print $file $copy;
close $file;
command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $connection, '-f', $sql_file ],
	'what protoc read can be stored');

# same TABLE, COPY: tables hold the same images; text beside them tells scales apart.
sub same
{
	my ($table, $other) = @_;
	return sql($node, qq{
		SELECT coalesce(string_agg(side || ' ' || left(r, 100), E'\\n'), '') FROM (
			(SELECT 'lost' AS side, t::text AS r FROM $table t EXCEPT ALL SELECT 'lost', t::text FROM $other t)
			UNION ALL
			(SELECT 'extra', t::text FROM $other t EXCEPT ALL SELECT 'extra', t::text FROM $table t)) s});
}

is(same($tables[$_], "c_$tables[$_]"), '', "by protoc: $names[$_]") for 0 .. $#names;

# -------- 3. JSON --------

my $decoded = recv_ok('a delimited file is printed as JSON', '--decode', "$dir/stream");
my $lines = slurp_file("$dir/lines");
is($decoded, $lines, 'as the stream of the other slot was');

like($lines, qr/"table":"computed","seq":1,"after":\{"id":1,"w":3\}/, 'a virtual column is not sent') if $version >= 18;

sql($node, 'CREATE TABLE lines (n serial, line json)');
open $file, '>:raw', "$dir/lines.copy" or die;
print $file ($lines =~ s/\\/\\\\/gr);
close $file;
command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $connection, '-c', "\\copy lines (line) FROM '$dir/lines.copy'" ],
	'every line is JSON');
sql($node, $json_reader);
for my $i (0 .. $#names)
{
	my ($v, $w) = map { from_json($names[$i], "line #> '{after,$_}'") } ('v', 'w');
	sql($node, qq{
		SET lc_monetary = 'C'; SET xmloption = content;
		CREATE TABLE j_$tables[$i] (LIKE $tables[$i]);
		INSERT INTO j_$tables[$i] (id, v, w) SELECT (line #>> '{after,id}')::integer, $v, $w
		FROM lines WHERE line ->> 'kind' = 'insert' AND line ->> 'table' = '$tables[$i]'});
	is(same($tables[$i], "j_$tables[$i]"), '', "by JSON: $names[$i]");
}

# The end state of a table that was changed is what its changes, applied in order, make.
my %columns = (
	large => [ 'id integer', 'n integer', 'plain text', 'packed text', 'bin bytea', 'doc jsonb' ],
	many => [ 'id bigint', 'a text', 'b numeric', 'c timestamptz' ]);
for my $table (sort keys %columns)
{
	my $values = join ', ', map { /(\w+) (\w+)/; "(l #>> '{after,$1}')::$2" } @{ $columns{$table} };

	sql($node, qq{
		CREATE TABLE j_$table (LIKE $table INCLUDING ALL);
		DO \$\$
		DECLARE l json;
		BEGIN
			FOR l IN SELECT line FROM lines WHERE line ->> 'table' = '$table' AND line ->> 'seq' <> '' ORDER BY n LOOP
				IF l ->> 'kind' <> 'insert' THEN
					DELETE FROM j_$table WHERE id = (coalesce(l -> 'key', l -> 'before', l -> 'after') ->> 'id')::bigint;
				END IF;
				IF l ->> 'kind' <> 'delete' THEN
					INSERT INTO j_$table SELECT $values;
				END IF;
			END LOOP;
		END \$\$});
	is(same($table, "j_$table"), '', "the changes of \"$table\" make its end state");
}

$node->stop;
done_testing();
