# A comparison by checksums misses no difference, whatever the type: values that PostgreSQL's own hashes take for the same, that are equal and
# not the same, that differ in one bit, NULL beside what is like it.  By ranges of an integer key and by hashes of other keys; hashed in C,
# and by SQL where a column has an extension's type; from a source in another encoding.  Where nothing differs no part does: both
# sides hash alike.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

# A moment that is so many times 2^32 microseconds from the year 2000, and so many single ones.
sub moment { return "'2000-01-01'::timestamp + interval '1 us' * (($_[0]) * 4294967296 + ($_[1]))" }

my ($source, $house) = source_and_house();
# Type, and the two values as SQL.
my @pairs = (
	['bigint', '1', '4294967296'], ['bigint', '(-1)', '4294967295'], ['bigint', '0', 'NULL'], ['bigint', '9223372036854775807', '(-9223372036854775808)'],
	['integer', '0', 'NULL'], ['integer', '(-2147483648)', '2147483647'], ['smallint', '0', '(-1)'], ['oid', '4294967295', '2147483648'],
	['boolean', 'true', 'false'], ['boolean', 'false', 'NULL'], ['"char"', q{'a'}, q{'b'}], ['"char"', q{''}, 'NULL'],
	['numeric', '5', '(-5)'], ['numeric', q{'NaN'}, q{'Infinity'}], ['numeric', q{'Infinity'}, q{'-Infinity'}], ['numeric', '1.0', '1.00'],
	['numeric', '0', '0.0'], ['numeric', '0', 'NULL'], ['numeric', '1e131071', '1e131070'],
	['real', q{'0'}, q{'-0'}], ['real', '1', '1.0000001'], ['double precision', q{'0'}, q{'-0'}], ['double precision', q{'NaN'}, 'NULL'],
	['double precision', '1', '1.0000000000000002'],
	['timestamp', moment(200_000, 5), moment(200_001, 4)], ['timestamp', moment(200_000, 5), moment(-200_001, 5)],
	['timestamp', moment(0, 0), 'NULL'], ['timestamp', q{'infinity'}, q{'-infinity'}], ['timestamp', q{'4714-11-24 00:00:00 BC'}, q{'294276-12-31 23:59:59.999999'}],
	['timestamptz', moment(200_000, 5), moment(200_001, 4)], ['timestamptz', q{'2026-11-28 00:00+00'}, q{'2026-11-28 00:00:00.000001+00'}],
	['timestamptz', q{'-infinity'}, 'NULL'],
	['date', q{'2026-01-01'}, q{'2026-01-02'}], ['date', q{'infinity'}, q{'-infinity'}], ['date', q{'5874897-12-31'}, q{'infinity'}], ['date', q{'2000-01-01'}, 'NULL'],
	['time', q{'01:11:34.967295'}, q{'00:00:00'}], ['time', q{'24:00'}, q{'00:00'}], ['time', q{'00:00'}, 'NULL'], ['timetz', q{'01:00+00'}, q{'02:00+01'}],
	['interval', q{'1 mon'}, q{'30 days'}], ['interval', q{'1 day'}, q{'24 hours'}],
	['uuid', q{'00000000-0000-0000-0000-000000000000'}, q{'00000000-0000-0000-0000-000000000001'}], ['uuid', q{'00000000-0000-0000-0000-000000000000'}, 'NULL'],
	['bytea', q{'\x00'}, q{'\x0000'}], ['bytea', q{''}, 'NULL'], ['bytea', q{'\x80'}, q{'\x00'}],
	['text', q{''}, 'NULL'], ['text', q{'a'}, q{'A'}], ['text', q{'a'}, q{'a '}], ['text', q{repeat('x', 10000)}, q{repeat('x', 9999) || 'y'}],
	['varchar', q{'u'}, q{'ü'}], ['bpchar', q{'a'}, q{'a '}], ['char(5)', q{'a'}, q{'b'}], ['name', q{'a'}, q{'a '}],
	['jsonb', q{'1.0'}, q{'1.00'}], ['jsonb', q{'null'}, 'NULL'], ['json', q{'[1]'}, q{'[ 1]'}], ['xml', q{'<a/>'}, q{'<a></a>'}],
	['money', q{'0.01'}, q{'-0.01'}], ['money', q{'0'}, 'NULL'], ['inet', q{'10.0.0.1'}, q{'10.0.0.1/8'}], ['cidr', q{'10.0.0.0/8'}, q{'10.0.0.0/9'}],
	['macaddr', q{'00:00:00:00:00:00'}, q{'00:00:00:00:00:01'}], ['pg_lsn', q{'0/1'}, q{'1/0'}], ['point', q{'(0,0)'}, q{'(-0,0)'}],
	['bit varying', q{B'1'}, q{B'10'}], ['tsvector', q{'a:1'}, q{'a:2'}],
	['numeric[]', q{'{1.0}'}, q{'{1.00}'}], ['text[]', q{'{NULL}'}, q{'{"NULL"}'}], ['integer[]', q{'{1}'}, q{'[0:0]={1}'}], ['numrange', q{'[1.0,2)'}, q{'[1.00,2)'}],
	['mood', q{'sad'}, q{'glad'}], ['mood', q{'sad'}, 'NULL'], ['score', '1', '(-1)'], ['moment', moment(200_000, 5), moment(200_001, 4)], ['pair', q{'(1,a)'}, q{'(1,A)'}]);
push @pairs, ['text COLLATE caseless', q{'a'}, q{'A'}] if value($source, q{SELECT count(*) FROM pg_collation WHERE collprovider = 'i'});
my $columns = join(', ', map { "c$_ $pairs[$_][0]" } 0 .. $#pairs);
# Two rows of one part, whose hashes would take each other away: digits without their weight; values that trade places.
my $two = q{UPDATE %s SET t = CASE t WHEN 'left' THEN 'right' ELSE 'left' END, n = n * 10000 WHERE id IN (2000, 2001); UPDATE %1$s SET a = b, b = a WHERE id = 2100};

my @tables = (['by_key', 'id integer PRIMARY KEY', ''], ['by_sql', 'id bigint PRIMARY KEY', 'x citext'], ['by_hash', 'id bigint, d date, PRIMARY KEY (d, id)', '']);
for my $encoding ('UTF8', 'LATIN1')
{
	my $db = lc "source_$encoding";
	my $feed = lc "feed_$encoding";
	sql($source, "CREATE DATABASE $db ENCODING $encoding TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	sql($source, q{CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN score AS numeric; CREATE DOMAIN moment AS timestamptz; CREATE TYPE pair AS (a int, b text)},
		$db);
	sql($source, q{CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)}, $db)
		if $pairs[-1][0] =~ /caseless/;
	for (@tables)
	{
		my ($table, $key, $more) = @$_;
		sql($source, join('; ', "CREATE TABLE $table ($key, filler text, t text, n numeric, a text, b text, $columns" . ($more ? ", $more" : '') . ')',
			qq{INSERT INTO $table SELECT g, } . ($table eq 'by_hash' ? q{'2026-01-01', } : '') . q{repeat('f', 300), CASE g WHEN 2000 THEN 'left' WHEN 2001 THEN 'right' END, 1, 'a' || g, 'b'
				FROM generate_series(1, 3000) g},
			map { "UPDATE $table SET c$_ = $pairs[$_][1] WHERE id = 10 * $_ + 1" } 0 .. $#pairs), $db);
	}
	sql($house, 'CREATE EXTENSION IF NOT EXISTS citext');
	create_server($house, $db, $source, $db);
	sql($house, "CALL walhouse.create_feed('$feed', server => '$db', tables => '{by_key,by_sql,by_hash}')");
	is(resync($feed, $db), 'by_hash 0, by_key 0, by_sql 0', "$encoding: no part differs where nothing does");
	for (@tables)
	{
		my $table = $_->[0];
		sql($source, join('; ', sprintf($two, $table), map { "UPDATE $table SET c$_ = $pairs[$_][2] WHERE id = 10 * $_ + 1" } 0 .. $#pairs), $db);
	}
	like(resync($feed, $db), qr/^by_hash [1-9]\d*, by_key [1-9]\d*, by_sql [1-9]\d*$/, "$encoding: parts differ");
	my $want = join(' ', sort { $a <=> $b } 2000, 2001, 2100, map { 10 * $_ + 1 } 0 .. $#pairs);
	for (@tables)
	{
		my $table = $_->[0];
		is(value($house, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM ${feed}_log.$table WHERE op = 'U'"), $want, "$encoding, $table: every difference was found, and nothing else");
	}
	is(resync($feed, $db), 'by_hash 0, by_key 0, by_sql 0', "$encoding: then no part differs again");
	sql($house, "CALL walhouse.drop_feed('$feed')");
}

# Where few parts differ, their keys are looked at one by one: the first and the last of a part, of one that is whole and of the last one, rows
# that are missing on either side, and what the publication keeps back.
sql($source, q{CREATE TABLE ranges (id bigint PRIMARY KEY, i int NOT NULL, secret text, note text);
	INSERT INTO ranges SELECT g, g % 7, 's', repeat('n', 100) FROM generate_series(1, 20000) g;
	CREATE PUBLICATION ranges FOR TABLE ranges (id, i, note) WHERE (id NOT BETWEEN 15000 AND 15010)});
create_server($house, 'ranges', $source);
sql($house, q{CALL walhouse.create_feed('ranges', server => 'ranges', publication => 'ranges')});
sql($source, q{UPDATE ranges SET note = 'changed' WHERE id IN (1, 16, 17, 32, 20000) OR id BETWEEN 4097 AND 4112; DELETE FROM ranges WHERE id IN (161, 176);
	UPDATE ranges SET note = 'kept back' WHERE id = 15005; UPDATE ranges SET secret = 't' WHERE id = 11000});
sql($house, q{DELETE FROM ranges.ranges WHERE id = 12000});
is(resync('ranges', 'postgres'), 'ranges 24', 'few parts: as many single keys differ as rows do');
is(value($house, q{SELECT string_agg(op::text || ' ' || n, ', ' ORDER BY op) FROM (SELECT op, count(*) AS n FROM ranges_log.ranges GROUP BY op) x}), 'B 23, D 2, I 1, U 21',
	'and that is what is logged');
is(value($house, q{SELECT md5(string_agg(concat_ws(' ', id, i, note), ',' ORDER BY id)) FROM ranges.ranges}),
	value($source, q{SELECT md5(string_agg(concat_ws(' ', id, i, note), ',' ORDER BY id)) FROM ranges WHERE id NOT BETWEEN 15000 AND 15010}), 'the mirror is what is published');
$house->stop;
$source->stop;
done_testing();

# resync FEED, DATABASE: after the slot was lost; of each table how many parts differed at last.
sub resync
{
	my ($feed, $db) = @_;
	my ($err, %last);
	sql($source, "SELECT pg_drop_replication_slot('$feed')", $db);
	$house->psql('postgres', "SET client_min_messages = debug1; CALL walhouse.resync('$feed')", stderr => \$err, on_error_die => 1);
	$last{$1} = $2 while $err =~ /table "(\w+)": of \d+ parts (\d+) differ/g;
	return join(', ', map { "$_ $last{$_}" } sort keys %last);
}
