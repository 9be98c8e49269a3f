# P1, wire: a value that is too large for a message comes in chunks, exactly, before the row that it belongs to: inserted,
# updated (both images), deleted; text, bytes, arrays, and text that needs converting or cannot be UTF-8. No batch grows
# with it. A feed puts it together again.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use IPC::Run;
use WalhouseTest;
use WalhouseProof;
use WalhouseWire;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = one_server();
my $dir = PostgreSQL::Test::Utils::tempdir();

# capture DATABASE, SLOT: the stream up to now: rows as [operation, table, image => fields…], chunks put together.
sub capture
{
	my ($database, $slot) = @_;
	my $end = sql($node, 'SELECT pg_current_wal_lsn()');
	my $err;
	unlink "$dir/$slot";
	IPC::Run::run([ 'walhouse_recv', '-d', $node->connstr($database), '--slot', $slot, '--start', '--endpos', $end,
			'--format', 'delimited', '--file', "$dir/$slot" ], '<', \undef, '2>', \$err, IPC::Run::timeout(120))
		or BAIL_OUT("walhouse_recv: $err");
	my ($largest, $largest_chunk, $last_id, %names, %chunks, @changes) = (0, 0, 0);
	for my $batch (batches(slurp_file("$dir/$slot")))
	{
		$largest = length $batch if length $batch > $largest;
		for my $entry (entries($batch))
		{
			my ($kind, @fields) = @$entry;

			$names{ one(1, @fields) } = one(4, @fields) if $kind == 4;
			if ($kind == 18)
			{
				my ($id, $data) = (one(1, @fields), one(2, @fields));
				ok($id > $last_id, "chunk $id is new") unless exists $chunks{$id};
				$last_id = $id;
				$chunks{$id} .= $data;
				$largest_chunk = length $data if length $data > $largest_chunk;
			}
			next unless $kind == 5;
			my @after = map { $_->[1] } grep { $_->[0] == 4 } @fields;
			my @before = map { $_->[1] } grep { $_->[0] == 5 } @fields;
			for my $i (0 .. (@after > @before ? $#after : $#before))
			{
				my %change = (op => one(2, @fields), table => $names{ one(1, @fields) });
				$change{after} = image($after[$i], \%chunks) if $i < @after;
				$change{before} = image($before[$i], \%chunks) if $i < @before;
				push @changes, \%change;
			}
		}
	}
	is(join(',', keys %chunks), '', 'every chunk belongs to a row');
	return ($largest, $largest_chunk, @changes);
}

# image BYTES, CHUNKS: fields by number, chunked values put in; those are checked and taken away.
sub image
{
	my ($bytes, $chunks) = @_;
	my @fields = fields($bytes);
	my %image = (chunked => [], map { $_->[0] => $_->[1] } grep { $_->[0] < 2001 } @fields);

	for my $field (@fields)
	{
		my ($number, $value) = @$field;
		if ($number == 2002)
		{
			my @special = fields($value);
			$image{special}{ one(1, @special) } = one(2, @special);
			$image{ one(1, @special) } = one(3, @special) // one(4, @special);
		}
		if ($number == 2001 || $number == 2003)
		{
			my $at = 0;
			push @{ $image{$number} }, varint(\$value, \$at) while $at < length $value;
		}
		next unless $number == 2004;
		my ($attnum, $id, $size, $crc) = map { one($_, fields($value)) } 1 .. 4;
		my $data = delete $chunks->{$id};
		if (!defined $data) { fail("the chunks of column $attnum came before"); next }
		is(length $data, $size, "column $attnum: size") if length $data != $size;
		is(crc32c($data), unpack('V', $crc), "column $attnum: checksum") if length $data < 3_000_000;
		$image{$attnum} = $data;
		push @{ $image{chunked} }, $attnum;
	}
	return \%image;
}

sub slot
{
	my ($database) = @_;
	sql($node, "SELECT pg_create_logical_replication_slot('$database', 'walhouse_output')", $database);
}

# -------- every kind of value; insert, update, delete --------

slot('postgres');
sql($node, <<~'SQL');
	CREATE TABLE large (id integer PRIMARY KEY, bin bytea, t text, doc jsonb, js json, n integer[], x text[], d date[],
		small text, big numeric);
	ALTER TABLE large ALTER bin SET STORAGE EXTERNAL, ALTER t SET STORAGE EXTERNAL, ALTER n SET STORAGE EXTERNAL;
	ALTER TABLE large REPLICA IDENTITY FULL;
	INSERT INTO large SELECT 1, decode(repeat('00ff', 650000), 'hex'), repeat('aż', 700000),
		(SELECT jsonb_agg(repeat('ö', 500) || i) FROM generate_series(1, 2500) i), to_json(repeat('y', 3000000)),
		(SELECT array_agg(CASE WHEN i % 3 > 0 THEN i * 1000 END) FROM generate_series(1, 500000) i),
		(SELECT array_agg(repeat('"', 1000) || i) FROM generate_series(1, 3000) i),
		(SELECT array_agg(CASE WHEN i = 300000 THEN 'infinity' ELSE date '2000-01-01' + i % 1000 END)
		FROM generate_series(1, 300000) i), 'small', 12.50;
	CREATE TABLE expected AS SELECT * FROM large;
	UPDATE large SET bin = bin || '\x01', small = 'new';
	ALTER TABLE large REPLICA IDENTITY DEFAULT;
	UPDATE large SET small = 'newer';
	ALTER TABLE large REPLICA IDENTITY FULL;
	UPDATE large SET t = t || '', js = (js::text || '')::json, small = 'newest';
	DELETE FROM large;
	SQL
my ($largest, $largest_chunk, @changes) = capture('postgres', 'postgres');
@changes = grep { $_->{table} eq 'large' } @changes;
cmp_ok($largest, '<', 500_000, 'no batch is much larger than a chunk');
cmp_ok($largest_chunk, '<=', 1024 * 1024, 'no chunk is larger than a megabyte');
is(scalar @changes, 5, 'all changes are there');

my %md5;
@md5{ qw(2 3 4 5 8) } = split /\|/, sql($node, q{SET DateStyle = 'ISO, MDY';
	SELECT md5(bin), md5(t), md5(doc::text), md5(js::text), md5(d::text) FROM expected});

# check NAME, IMAGE, BIN: an image holds the row that was inserted, but for column 2.
sub check
{
	my ($name, $image, $bin) = @_;

	is_deeply([ sort { $a <=> $b } @{ $image->{chunked} } ], [ 2 .. 8 ], "$name: what is large is in chunks");
	is(md5_hex($image->{2}), $bin, "$name: bytea");
	is(md5_hex($image->{$_->[0]}), $md5{ $_->[0] }, "$name: $_->[1]") for [ 3, 'text' ], [ 4, 'jsonb' ], [ 5, 'json' ];
	is_deeply($image->{special}, { 8 => 4 }, "$name: an array with an infinity is out of range");
	is(md5_hex($image->{8}), $md5{8}, "$name: and its text is in chunks");

	my (@lengths, $nulls, $sum, $values);
	for my $field (fields($image->{6}))
	{
		my ($number, $value, $at) = (@$field, 0);
		if ($number == 1) { push @lengths, varint(\$value, \$at) while $at < length $value }
		elsif ($number == 3) { $nulls = $value }
		elsif ($number == 4) { while ($at < length $value) { $sum += varint(\$value, \$at) >> 1; $values++ } }
	}
	is("@lengths", '500000', "$name: length of an array");
	is(unpack('%32b*', $nulls), 166666, "$name: its NULLs");
	is("$values $sum", sql($node, q{SELECT count(e) || ' ' || sum(e) FROM expected, unnest(n) e}), "$name: its values");
	my @strings = map { $_->[1] } grep { $_->[0] == 4 } fields($image->{7});
	is(md5_hex(join '|', @strings), sql($node, q{SELECT md5(array_to_string(x, '|')) FROM expected}),
		"$name: an array of strings");
}

check('insert', $changes[0]{after}, $md5{2});
check('update, before', $changes[1]{before}, $md5{2});
check('update, after', $changes[1]{after}, sql($node, q{SELECT md5(bin || '\x01') FROM expected}));
is_deeply($changes[1]{after}{2003}, [ 2, 9 ], 'the columns that changed');
is($changes[1]{before}{2003}, undef, 'which only the new row lists');
is_deeply($changes[2]{after}{2001}, [ 2 .. 8 ], 'what an update left alone is unchanged, without a chunk');
is_deeply($changes[2]{after}{chunked}, [], 'without a chunk');
is_deeply($changes[3]{after}{2003}, [9], 'what was written again, and is the same, has not changed');
check('delete', $changes[4]{before}, sql($node, q{SELECT md5(bin || '\x01') FROM expected}));

# -------- a row of many values below the limit --------

sql($node, 'CREATE TABLE broad (' . join(', ', map { "c$_ text" } 1 .. 30) . ');
	INSERT INTO broad SELECT ' . join(', ', map { "repeat('$_', " . ($_ < 10 ? 1000000 : 500000) . ')' } 1 .. 30));
($largest, $largest_chunk, @changes) = capture('postgres', 'postgres');
is(md5_hex(join '', map { $changes[-1]{after}{$_} } 1 .. 30),
	sql($node, 'SELECT md5(' . join(' || ', map { "c$_" } 1 .. 30) . ') FROM broad'), 'all values of a broad row');
cmp_ok(scalar @{ $changes[-1]{after}{chunked} }, '<', 14, 'most in the row');
cmp_ok($largest, '<', 19_000_000, 'but not so many that the message is large');

# -------- other encodings --------

for my $encoding ('LATIN1', 'EUC_JP', 'SQL_ASCII')
{
	my $name = lc $encoding;
	sql($node, "CREATE DATABASE $name ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	slot($name);
}
my %made = (
	latin1 => [ "repeat('aé', 1000000)", "aé" x 1000000 ],
	euc_jp => [ "repeat('漢x', 700000)", "漢x" x 700000 ]);
for my $database (sort keys %made)
{
	my ($make, $text) = @{ $made{$database} };
	sql($node, "SET client_encoding = 'UTF8'; CREATE TABLE t (v text); INSERT INTO t SELECT $make", $database);
	my (undef, undef, $change) = capture($database, $database);
	ok($change->{after}{1} eq $text, "$database: large text is converted") or diag(length $change->{after}{1});
	is_deeply($change->{after}{special}, undef, "$database: and nothing special");
}
IPC::Run::run([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('sql_ascii') ], '<',
	\q{CREATE TABLE t (v text); INSERT INTO t SELECT repeat(E'a\xe9', 1000000)}) or BAIL_OUT('psql');
my (undef, undef, $change) = capture('sql_ascii', 'sql_ascii');
ok($change->{after}{1} eq "a\xe9" x 1000000, 'sql_ascii: large text that is not UTF-8 comes as it is');
is_deeply($change->{after}{special}, { 1 => 5 }, 'sql_ascii: and is said not to be UTF-8');

# -------- a feed --------

create_server($node, 'big', $node);
sql($node, 'CREATE PUBLICATION big FOR TABLE large');
sql($node, q{CALL walhouse.create_feed('big', server => 'big', publication => 'big')});
sql($node, q{INSERT INTO large SELECT * FROM expected; UPDATE large SET t = t || 'x', small = 'again'});
sql($node, q{CALL walhouse.run('big')});
mirrors_equal($node, $node, 'big', 'large');

$node->stop;
done_testing();
