# What walhouse itself writes carries an origin of its own: the plugin drops it by default, before it is even queued, and
# sends it to a consumer that asks.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $house = one_server();

sql($house, q{
	CREATE TABLE public.thing (id integer PRIMARY KEY, name text);
	CREATE PUBLICATION things FOR TABLE public.thing});
create_server($house, 'self', $house);
sql($house, q{CALL walhouse.create_feed('self', server => 'self', publication => 'things')});
sql($house, q{CALL walhouse.run('self')});
sql($house, q{SELECT pg_create_logical_replication_slot('watch', 'walhouse_output')});
sql($house, q{INSERT INTO public.thing VALUES (1, 'one')});
sql($house, q{CALL walhouse.run('self')});
sql($house, q{INSERT INTO public.thing VALUES (2, 'mine, not walhouse''s')});

# tables OPTIONS: the tables of the changes that are sent.
sub tables
{
	my ($options) = @_;
	return sql($house, qq{
		SELECT string_agg(DISTINCT data::json ->> 'schema' || '.' || (data::json ->> 'table'), ' ')
		FROM pg_logical_slot_peek_changes('watch', NULL, NULL, 'format', 'json'$options) WHERE data::json ->> 'seq' <> ''});
}

is(tables(''), 'public.thing', 'by default own writes are dropped, the others are not');
is(tables(q{, 'own_writes', 'drop'}), 'public.thing', 'also when that is said');
like(tables(q{, 'own_writes', 'send'}), qr/public\.thing self\.thing self_log\.thing/, 'own_writes=send sends them');
is(sql($house, q{
	SELECT count(*) FROM pg_logical_slot_peek_changes('watch', NULL, NULL, 'format', 'json', 'own_writes', 'send')
	WHERE data::json ->> 'kind' = 'begin' AND data::json ->> 'origin' <> ''}), '0', 'walhouse\'s origin has no name');

$house->stop;
done_testing();
