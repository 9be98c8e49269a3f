# What others do to mirrors and change logs is refused; let through all the same, it stops that table and the models that read it,
# with a clear error, and the feed's other tables and models go on; and there is a way back.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house();

sql($source, q{
	CREATE TABLE public.person (id int PRIMARY KEY, name text, city text, extra int);
	CREATE TABLE public.thing (id int PRIMARY KEY, name text);
	CREATE TABLE public.lone (id int PRIMARY KEY, name text);
	INSERT INTO public.person SELECT i, 'person ' || i, 'city', i FROM generate_series(1, 20) i;
	INSERT INTO public.thing SELECT i, 'thing ' || i FROM generate_series(1, 20) i;
});
create_server($house, 'src', $source);
sql($house, q{CALL walhouse.create_feed('shop', server => 'src', tables => '{public.person,public.thing,public.lone}')});
sql($house, q{CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.person', 'SELECT id, name, city FROM shop.person', '{id}');
	SELECT walhouse.create_dimension('dw.thing', 'SELECT id, name FROM shop.thing', '{id}')});
sql($house, q{SELECT walhouse.start('shop')});
sql($source, q{UPDATE public.person SET name = name || '!'});
ok(reach($house, 'shop', $source), 'the star is built');

my $kept = qr/is kept by walhouse and not/;
my $hint = qr/HINT:  Change the source, which is followed; or SET walhouse\.allow_writes = on/;
fails_with($house, $_->[0], $_->[1], $kept, $hint) for
	[ 'a column renamed', 'ALTER TABLE shop.person RENAME COLUMN city TO town' ],
	[ 'a column dropped', 'ALTER TABLE shop.person DROP COLUMN extra' ],
	[ 'a type changed', 'ALTER TABLE shop.person ALTER extra TYPE bigint' ],
	[ 'a column added', 'ALTER TABLE shop.person ADD COLUMN mine text' ],
	[ 'the key dropped', 'ALTER TABLE shop.person DROP CONSTRAINT person_pkey' ],
	[ 'another owner', 'ALTER TABLE shop.person OWNER TO pg_monitor' ],
	[ 'a mirror dropped', 'DROP TABLE shop.lone' ],
	[ 'of the log, a column renamed', 'ALTER TABLE shop_log.person RENAME COLUMN city TO town' ],
	[ 'a column dropped', 'ALTER TABLE shop_log.person DROP COLUMN city' ],
	[ 'the log dropped', 'DROP TABLE shop_log.person' ],
	[ 'a partition detached', 'DO $$ BEGIN EXECUTE (SELECT format(\'ALTER TABLE shop_log.person DETACH PARTITION %s\', inhrelid::regclass) FROM pg_inherits WHERE inhparent = \'shop_log.person\'::regclass LIMIT 1); END $$' ],
	[ 'the transactions renamed', 'ALTER TABLE shop_log.txn RENAME TO transactions' ],
	[ 'and moved', 'ALTER TABLE shop_log.txn SET SCHEMA public' ];
fails_with($house, 'the log\'s schema renamed', 'ALTER SCHEMA shop_log RENAME TO elsewhere', qr/holds the change log of a feed and is not to be renamed/);
sql($house, $_) for 'CREATE INDEX mine ON shop.person (city)', 'DROP INDEX shop.mine', 'ALTER TABLE shop.person SET (fillfactor = 70)',
	'GRANT SELECT ON shop.person TO pg_monitor', 'ALTER TABLE shop.person ALTER name SET STATISTICS 500', 'ALTER TABLE shop.person SET (autovacuum_enabled = off)';
moves('what does no harm is let through', 1);

# Names of mirrors and their schema are followed.
sql($house, 'ALTER TABLE shop.thing RENAME TO things; ALTER SCHEMA shop RENAME TO mirrors');
moves('other names are followed', 1);
sql($house, 'ALTER SCHEMA mirrors RENAME TO shop; ALTER TABLE shop.things RENAME TO thing');
moves('and back', 1);

# Let through all the same.
for my $case (
	[ 'a column of the mirror renamed', 'ALTER TABLE shop.person RENAME COLUMN city TO town', 'ALTER TABLE shop.person RENAME COLUMN town TO city' ],
	[ 'a type of the mirror changed', 'ALTER TABLE shop.person ALTER extra TYPE text', 'ALTER TABLE shop.person ALTER extra TYPE int USING extra::int' ],
	[ 'a column of the log renamed', 'ALTER TABLE shop_log.person RENAME COLUMN city TO town', 'ALTER TABLE shop_log.person RENAME COLUMN town TO city' ],
	[ 'a type of the log\'s own changed', 'ALTER TABLE shop_log.person ALTER seq TYPE text', 'ALTER TABLE shop_log.person ALTER seq TYPE bigint USING seq::bigint' ],
	[ 'a column of the mirror dropped', 'ALTER TABLE shop.person DROP COLUMN extra', 'ALTER TABLE shop.person ADD COLUMN extra int' ],
	[ 'the key of the mirror dropped', 'ALTER TABLE shop.person DROP CONSTRAINT person_pkey', 'ALTER TABLE shop.person ADD PRIMARY KEY (id)' ])
{
	my ($name, $alter, $back) = @$case;
	sql($house, "SET walhouse.allow_writes = on; $alter");
	moves($name, 0);
	like(value($house, q{SELECT state || ' ' || error FROM walhouse.stat_table WHERE source_name = 'person'}), qr/^resync .*(altered|key)/, 'the table says why');
	is(value($house, q{SELECT count(*) FROM walhouse.stat_model WHERE model = 'dw.person'::regclass AND NOT is_current}), '1', 'the model is not current');
	fails_with($house, 'resync_table waits for it to be altered back', q{CALL walhouse.resync_table('shop', 'person')}, qr/was altered|primary key|has no key/i) if $name !~ /key/;
	sql($house, "SET walhouse.allow_writes = on; $back");
	sql($house, q{CALL walhouse.resync_table('shop', 'person')});
	ok(models_reach($house, 'shop'), 'the model is built again');
	moves('and goes on', 1);
	verify_clean($house, $name, 'dw.person', 'dw.thing');
}

# Constraints of one's own hold, or the table stops.
for my $change ('UPDATE public.person SET extra = NULL WHERE id = 2', 'INSERT INTO public.person VALUES (30, \'new\', \'city\', NULL)')
{
	sql($house, 'ALTER TABLE shop.person ALTER extra SET NOT NULL');
	sql($source, $change);
	moves($change, 0);
	is(value($house, q{SELECT state || ' ' || error FROM walhouse.stat_table WHERE source_name = 'person'}),
		'resync null value in column "extra" of relation "person" violates not-null constraint', 'a NULL where none may be stops the table');
	sql($house, q{ALTER TABLE shop.person ALTER extra DROP NOT NULL; CALL walhouse.resync_table('shop', 'person')});
	ok(models_reach($house, 'shop'), 'the model is built again');
	moves('and goes on', 1);
	sql($source, 'UPDATE public.person SET extra = 0 WHERE extra IS NULL');
	moves('with the value', 1);
}

# A partition of the log that is none any more, and something else that has its name.
sql($house, q{
	CREATE TABLE public.part AS SELECT inhrelid::regclass::text AS name, split_part(inhrelid::regclass::text, '.', 2) AS short, pg_get_expr(relpartbound, oid) AS bounds
		FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'shop_log.person'::regclass;
	CREATE PROCEDURE public.each(command text) LANGUAGE plpgsql SET walhouse.allow_writes = on AS $$
		DECLARE p record; BEGIN FOR p IN SELECT * FROM public.part LOOP EXECUTE replace(replace(replace(command, '#name', p.name), '#short', p.short), '#bounds', p.bounds); END LOOP; END $$});
for my $case ([ 'detached', 'SELECT', 'SELECT' ],
	[ 'a view', 'ALTER TABLE #name RENAME TO hidden; CREATE VIEW #name AS SELECT * FROM shop_log.hidden', 'DROP VIEW #name; ALTER TABLE shop_log.hidden RENAME TO #short' ],
	[ 'a table with partitions', 'ALTER TABLE #name RENAME TO hidden; CREATE TABLE #name (LIKE shop_log.person) PARTITION BY RANGE (lsn)', 'DROP TABLE #name; ALTER TABLE shop_log.hidden RENAME TO #short' ])
{
	my ($name, $alter, $back) = @$case;
	sql($house, "CALL public.each('ALTER TABLE shop_log.person DETACH PARTITION #name; $alter')");
	moves("a partition of the log is $name", 0);
	like(value($house, q{SELECT state || ' ' || error FROM walhouse.stat_table WHERE source_name = 'person'}), qr/^resync .*(was altered|is not a table)/, 'the table stops');
	sql($house, "CALL public.each('$back; ALTER TABLE shop_log.person ATTACH PARTITION #name #bounds')");
	sql($house, q{CALL walhouse.resync_table('shop', 'person')});
	ok(models_reach($house, 'shop'), 'the model is built again');
	moves('and goes on', 1);
}

# The table of transactions belongs to the whole feed.
sql($house, q{SELECT walhouse.stop('shop')});
sql($house, 'SET walhouse.allow_writes = on; ALTER TABLE shop_log.txn ALTER xid TYPE text');
sql($source, q{UPDATE public.thing SET name = name || '?' WHERE id = 3});
fails_with($house, 'a type of it changed', q{CALL walhouse.ingest('shop')}, qr/table shop_log\.txn was altered/);
sql($house, q{SET walhouse.allow_writes = on; ALTER TABLE shop_log.txn ALTER xid TYPE bigint USING xid::bigint, ADD COLUMN mine text, ADD COLUMN more int;
	ALTER TABLE shop_log.txn DROP COLUMN more; SELECT walhouse.start('shop')});
moves('altered back', 1);

# A mirror that is dropped with all that reads it.
sql($house, 'DROP TABLE shop.person CASCADE');
sql($source, q{UPDATE public.person SET city = city || '-' WHERE id = 1; UPDATE public.thing SET name = name || '!' WHERE id = 2});
ok(poll($house, 'postgres', q{SELECT name LIKE '%!' FROM dw.thing WHERE id = 2 AND is_current}), 'a mirror dropped with CASCADE: the others go on');
like(value($house, q{SELECT state || ' ' || error FROM walhouse.model WHERE relation = 'dw.person'::regclass}), qr/^stopped the view with the query of the model was dropped/, 'the model says why');
is(value($house, q{SELECT state || ' ' || error FROM walhouse.stat_table WHERE source_name = 'person'}), 'resync mirror or change log of "person" was dropped', 'and the table');
sql($house, q{SELECT walhouse.drop_model('dw.person')});
is(value($house, q{SELECT failures || ' ' || COALESCE(error, '-') FROM walhouse.stat_feed}), '0 -', 'the feed itself never failed');
verify_clean($house, 'at the end', 'dw.thing');
sql($house, q{SELECT walhouse.stop('shop')});
$_->stop for $source, $house;
done_testing();

# moves WHAT, PERSON: both tables are changed at the source; dw.thing follows, and dw.person if it shall.
my $round;
sub moves
{
	my ($what, $person) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$round++;
	sql($source, "UPDATE public.person SET city = 'round $round' WHERE id = 1; UPDATE public.thing SET name = 'round $round' WHERE id = 1");
	ok(poll($house, 'postgres', "SELECT name = 'round $round' FROM dw.thing WHERE id = 1 AND is_current"), "$what: dw.thing goes on");
	return if !$person;
	ok(poll($house, 'postgres', "SELECT city = 'round $round' FROM dw.person WHERE id = 1 AND is_current"), "$what: so does dw.person");
	return;
}
