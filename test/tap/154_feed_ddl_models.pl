# DDL of the source under models: wider types are followed in log and mirror, models that do not read the column go on, the others stop
# and say so, and are altered with their history; views of others hold a table, which says which; and who may read what was changed.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house();

sql($source, q{
	CREATE TABLE public.person (id int PRIMARY KEY, name varchar(20), points int, extra int);
	CREATE TABLE public.sale (id int PRIMARY KEY, person int, at timestamptz, amount int, note text);
	CREATE TABLE public.seen (id int PRIMARY KEY, n int);
	INSERT INTO public.person SELECT i, 'person ' || i, i, i FROM generate_series(1, 20) i;
	INSERT INTO public.sale SELECT i, i % 20 + 1, '2026-01-01Z'::timestamptz + i * interval '1 h', i, 'n' FROM generate_series(1, 50) i;
	INSERT INTO public.seen SELECT i, i FROM generate_series(1, 5) i;
});
create_server($house, 'src', $source);
sql($house, q{CALL walhouse.create_feed('shop', server => 'src', tables => '{public.person,public.sale,public.seen}'); CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.person', 'SELECT id, name, points FROM shop.person', '{id}');
	SELECT walhouse.create_dimension('dw.plain', 'SELECT id, name FROM shop.person', '{id}');
	SELECT walhouse.create_fact('dw.sale', 'SELECT id, person, at, amount FROM shop.sale', key => '{id}', event_time => 'at', dimensions => '{"person_sk": "dw.person(person)"}');
	CREATE VIEW public.of_seen AS SELECT id, n + 1 AS n FROM shop.seen;
	CREATE ROLE reader; CREATE ROLE "some ""one";
	GRANT SELECT ON dw.plain_query TO pg_monitor, "some ""one" WITH GRANT OPTION; GRANT UPDATE ON dw.plain_query TO PUBLIC;
	GRANT SELECT (id, name) ON dw.plain_query TO reader; GRANT SELECT (id) ON dw.plain_query TO "some ""one" WITH GRANT OPTION;
	ALTER VIEW dw.plain_query SET (security_barrier = true, check_option = local);
	COMMENT ON VIEW dw.plain_query IS 'of all'; COMMENT ON COLUMN dw.plain_query.name IS 'as it''s called'});
my $trimmings = q{SELECT concat_ws(' ', c.relacl, c.reloptions, obj_description(c.oid, 'pg_class'),
	(SELECT string_agg(concat_ws(' ', attname, attacl, col_description(attrelid, attnum)), ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0))
	FROM pg_class c WHERE oid = 'dw.plain_query'::regclass};
my $plain_query = value($house, $trimmings);
my $plain_oid = value($house, q{SELECT 'dw.plain_query'::regclass::oid});
sql($house, q{SELECT walhouse.start('shop')});
ok(reach($house, 'shop', $source), 'the star is built');

# -------- what models do not read, and what is the same type here --------
sql($source, q{ALTER TABLE public.person ALTER extra TYPE bigint, ALTER name TYPE text;
	ALTER TABLE public.sale ALTER note TYPE varchar(50);
	UPDATE public.person SET extra = 10000000000, name = name || '!' WHERE id = 3});
ok(reach($house, 'shop', $source), 'a wider type of a column that no model reads');
is(value($house, q{SELECT string_agg(model::text || ' ' || is_current, ', ' ORDER BY model::text) FROM walhouse.stat_model}),
	'dw.person true, dw.plain true, dw.sale true', 'all models go on');
verify_clean($house, 'after it', 'dw.person', 'dw.plain', 'dw.sale');
mirrors_equal($house, $source, 'shop', 'person', 'sale', 'seen');
isnt(value($house, q{SELECT 'dw.plain_query'::regclass::oid}), $plain_oid, 'a query is made again');
is(value($house, $trimmings), $plain_query, 'with its privileges, options and comments');

# -------- a column that models read --------
sql($source, q{UPDATE public.person SET points = points + 1; ALTER TABLE public.person ALTER points TYPE bigint; UPDATE public.person SET points = 10000000000 WHERE id = 5});
ok(poll($house, 'postgres', q{SELECT (SELECT points FROM shop.person WHERE id = 5) = 10000000000}), 'mirror and log are wider');
is(value($house, q{SELECT string_agg(DISTINCT pg_typeof(points)::text, ',') FROM shop_log.person}), 'bigint', 'all of the log');
ok(poll($house, 'postgres', q{SELECT state || ' ' || split_part(error, ';', 1) FROM walhouse.model WHERE relation = 'dw.person'::regclass},
	'stopped column "points" is of type bigint in the query of the model, and of type integer in the model'), 'the model that reads it stops, and says why');
sql($source, q{UPDATE public.person SET name = 'seven' WHERE id = 7; INSERT INTO public.sale VALUES (100, 5, '2026-02-01Z', 7, 'n')});
ok(poll($house, 'postgres', q{SELECT name = 'seven' FROM dw.plain WHERE id = 7 AND is_current}), 'the one that does not goes on');
is(value($house, q{SELECT models::text FROM walhouse.schema_changes WHERE column_name = 'points'}), '{dw.person}', 'it is known whom it touched');
sql($house, q{SELECT walhouse.alter_dimension('dw.person')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.stat_model WHERE is_current AND model::text IN ('dw.person', 'dw.plain', 'dw.sale')}, '3'), 'altered, it goes on');
ok(current(), 'with all the others');
is(value($house, q{SELECT string_agg(points::text, ',' ORDER BY valid_from) FROM dw.person WHERE id = 5}), '5,6,10000000000', 'with its history');
verify_clean($house, 'altered', 'dw.person', 'dw.plain', 'dw.sale');

# -------- another type: the table is copied again; the model says what it needs --------
sql($source, q{ALTER TABLE public.sale ALTER amount TYPE text});
ok(poll($house, 'postgres', q{SELECT state FROM walhouse.feed_table WHERE source_name = 'sale'}, 'resync'), 'a type that is no wider one holds its table');
sql($house, q{CALL walhouse.resync_table('shop', 'sale')});
ok(poll($house, 'postgres', q{SELECT state || ' ' || split_part(error, ';', 1) FROM walhouse.model WHERE relation = 'dw.sale'::regclass},
	'stopped column "amount" is of type text in the query of the model, and of type integer in the model'), 'copied again, and the model stops');
sql($source, q{ALTER TABLE public.sale ALTER amount TYPE int USING amount::int});
ok(poll($house, 'postgres', q{SELECT state FROM walhouse.feed_table WHERE source_name = 'sale'}, 'resync'), 'altered back');
sql($house, q{CALL walhouse.resync_table('shop', 'sale')});
ok(current(), 'the model goes on');
verify_clean($house, 'altered back', 'dw.person', 'dw.plain', 'dw.sale');
mirrors_equal($house, $source, 'shop', 'person', 'sale', 'seen');

# -------- a view of somebody --------
sql($source, q{ALTER TABLE public.seen ALTER n TYPE bigint; INSERT INTO public.seen VALUES (9, 10000000000)});
ok(poll($house, 'postgres', q{SELECT state FROM walhouse.feed_table WHERE source_name = 'seen'}, 'resync'), 'a view of somebody holds its table');
like(value($house, q{SELECT reason FROM walhouse.schema_changes WHERE source_name = 'seen' AND kind = 'alter type'}), qr/view (public\.)?of_seen/, 'which view is said');
fails_with($house, 'as long as it is there', q{CALL walhouse.resync_table('shop', 'seen')}, qr/of_seen/);
sql($house, q{DROP VIEW public.of_seen; CALL walhouse.resync_table('shop', 'seen')});
ok(current(), 'without it the table is copied');
mirrors_equal($house, $source, 'shop', 'seen');

# -------- who may read it; a restart; what is below the horizon --------
is(value($house, q{SET ROLE reader; SELECT count(*) > 5 FROM walhouse.schema_changes}), 't', 'everybody may read it');
fails_with($house, 'nobody may write it', q{SET ROLE reader; DELETE FROM walhouse.schema_change}, qr/permission denied/);
my $count = value($house, 'SELECT count(*) FROM walhouse.schema_change');
$source->restart;
sql($source, q{UPDATE public.person SET name = 'x'; UPDATE public.sale SET note = 'x'; UPDATE public.seen SET n = 1});
ok(current(), 'a new session');
is(value($house, 'SELECT count(*) FROM walhouse.schema_change'), $count, 'says nothing twice');
sql($house, q{SELECT walhouse.stop('shop')});
$_->stop for $source, $house;
done_testing();

# current: all that the source has committed is in the mirrors, and in dw.person, dw.plain and dw.sale.
sub current
{
	my $lsn = source_lsn($source);
	sql($house, "SELECT walhouse.wait_for('shop', '$lsn'::pg_lsn, '60 s')");
	return poll($house, 'postgres', qq{
		SELECT count(*) FROM walhouse.stat_model WHERE is_current AND position >= COALESCE((SELECT max(end_lsn) FROM shop_log.txn), '0/0')
			AND model::text IN ('dw.person', 'dw.plain', 'dw.sale')}, '3');
}
