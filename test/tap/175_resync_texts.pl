# Values that come as text are what their type's output function writes, in the copy as in the stream, and on both sides of a comparison: whatever
# casts to text the source has, and whatever settings its users have.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house();
# A type that both sides have, of which a cast shows the first letter alone.
my $brief = q{CREATE TYPE brief; SET client_min_messages = warning;
	CREATE FUNCTION brief_in(cstring) RETURNS brief LANGUAGE internal STRICT IMMUTABLE AS 'textin';
	CREATE FUNCTION brief_out(brief) RETURNS cstring LANGUAGE internal STRICT IMMUTABLE AS 'textout';
	CREATE TYPE brief (INPUT = brief_in, OUTPUT = brief_out, LIKE = text);
	CREATE FUNCTION brief_letter(brief) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT substr(textin(brief_out($1))::text, 1, 1) $$;
	CREATE CAST (brief AS text) WITH FUNCTION brief_letter(brief)};
sql($_, $brief) for $source, $house;
sql($source, q{
	CREATE TYPE pair AS (a int, b bytea);
	CREATE FUNCTION pair_text(pair) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'a pair' $$;
	CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair);
	CREATE TABLE "Order" (id int PRIMARY KEY);
	CREATE TABLE texts (id int PRIMARY KEY, filler text, brief brief, pair pair, relation regclass, blobs bytea[]);
	CREATE TABLE documents (id int PRIMARY KEY, filler text, doc xml);
	ALTER DATABASE postgres SET bytea_output = 'escape';
	ALTER DATABASE postgres SET quote_all_identifiers = on});
my $row = q{repeat('f', 300), 'one', ROW(1, '\x61')::pair, 'texts', '{a}'};
sql($source, qq{INSERT INTO texts SELECT g, $row FROM generate_series(1, 3000) g});
sql($source, q{INSERT INTO documents SELECT g, repeat('f', 300), '<?xml version="1.0"?><a/>' FROM generate_series(1, 3000) g});
create_server($house, 'texts', $source);
sql($house, q{CALL walhouse.create_feed('texts', server => 'texts', tables => '{texts,documents}')});
sql($source, qq{INSERT INTO texts SELECT 3001, $row; INSERT INTO texts (id) VALUES (3002); UPDATE texts SET filler = 'u' WHERE id = 1;
	INSERT INTO documents VALUES (3001, 'f', '<?xml version="1.0"?><a/>')});
sql($house, q{CALL walhouse.ingest('texts')});
is(value($house, q{SELECT string_agg(DISTINCT concat_ws(' ', pair, relation, blobs), '; ') FROM texts.texts WHERE id < 3002}),
	q{(1,"\\\\x61") public.texts {"\\\\x61"}}, 'copy and stream write the same');
is(resync(), 'documents 0, texts 0', 'no part differs where nothing does');
sql($source, q{UPDATE texts SET brief = 'other' WHERE id = 10; UPDATE texts SET pair = ROW(1, '\x62') WHERE id = 20;
	UPDATE texts SET pair = ROW(NULL, NULL) WHERE id = 30; UPDATE texts SET brief = NULL WHERE id = 40});
like(resync(), qr/^documents 0, texts [1-9]/, 'parts differ where a cast shows no difference');
is(value($house, q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM texts_log.texts WHERE op = 'U' AND id > 1}), '10 20 30 40', 'and the rows are found');
is(resync(), 'documents 0, texts 0', 'then no part differs again');
$house->stop;
$source->stop;
done_testing();

# resync: after the slot was lost; of each table how many parts differed at last.
sub resync
{
	my ($err, %last);
	sql($source, q{SELECT pg_drop_replication_slot('texts')});
	$house->psql('postgres', q{SET client_min_messages = debug1; CALL walhouse.resync('texts')}, stderr => \$err, on_error_die => 1);
	$last{$1} = $2 while $err =~ /table "(\w+)": of \d+ parts (\d+) differ/g;
	return join(', ', map { "$_ $last{$_}" } sort keys %last);
}
