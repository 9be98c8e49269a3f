# walhouse.doctor and walhouse.doctor_source: every problem that they know is made, is told with its object, since when and what mends
# it, and is gone when it was mended, where one statement can by that statement. When all is well they say nothing.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use PostgreSQL::Test::Utils qw(slurp_file);

my %told;

my $source = new_server('source', conf => "max_wal_size = 32MB\nmin_wal_size = 32MB\n");
my $house = new_server('house', extension => 1, conf => "walhouse.verify_interval = 0\nautovacuum = off\n");

sql($source, q{
	CREATE TABLE customer (id int PRIMARY KEY, name text, letters int);
	CREATE TABLE sale (id int PRIMARY KEY, customer int, at timestamptz, amount numeric);
	INSERT INTO customer SELECT i, 'name ' || i, 1 FROM generate_series(1, 20) i;
	INSERT INTO sale SELECT i, i, timestamptz '2026-01-01 00:00+00', i FROM generate_series(1, 20) i;
	CREATE PUBLICATION shop FOR TABLE customer, sale;
	CREATE ROLE feeder LOGIN REPLICATION; GRANT SELECT ON customer, sale TO feeder});
sql($house, sprintf q{
	CREATE ROLE etl LOGIN SUPERUSER; CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CREATE ROLE stranger LOGIN;
	SET ROLE etl;
	CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (%s);
	CREATE USER MAPPING FOR etl SERVER shop OPTIONS (user 'feeder');
	CREATE SCHEMA dw}, server_options($source));

# ---- Feeds that were not created to their end.
my $writer = $source->background_psql('postgres');
$writer->query_safe('BEGIN; CREATE TABLE held (); SELECT pg_current_xact_id()');
ended(q{CALL walhouse.create_feed('shop', 'shop', 'shop')}, q{SELECT count(*) FROM walhouse.feed WHERE state = 'creating'});
$writer->query_safe('ROLLBACK');
mends('feed_unfinished', 'shop');
$writer->quit;
sql($house, q{CREATE FUNCTION narrow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
		IF to_regclass('shop.sale') IS NOT NULL AND to_regclass('shop_log.sale') IS NULL THEN ALTER TABLE shop.sale ADD CONSTRAINT narrow CHECK (id < 10); END IF; END $$;
	CREATE EVENT TRIGGER narrow ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION narrow()});
my (undef, undef, $warned) = $house->psql('postgres', q{SET ROLE etl; CALL walhouse.create_feed('shop', 'shop', 'shop')});
like($warned, qr/WARNING:  table "public\.sale" of feed "shop" is not copied yet\nDETAIL:  .* violates check constraint "narrow"/, 'the copy of a table fails');
sql($house, 'DROP EVENT TRIGGER narrow; ALTER TABLE shop.sale DROP CONSTRAINT narrow');
mends('table_not_copied', 'public.sale');

# ---- What waits for a build, what is stopped.
sql($house, q{
	SET ROLE etl;
	SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name, 100 / letters AS share FROM shop.customer', '{id}');
	SELECT walhouse.create_fact('dw.sale', 'SELECT id, at, customer, amount FROM shop.sale', '{id}', 'at', '{"customer_sk": "dw.customer(customer)"}')});
tells('model_not_built', 'dw.sale');
mends('model_not_built', 'dw.customer');
sql($house, q{SELECT walhouse.pause('dw.customer')});
mends('model_paused', 'dw.customer');
tells('feed_stopped', 'shop');
is(value($house, q{SELECT count(*) FROM walhouse.doctor() WHERE code = 'feed_stopped'}), '0', 'but not before it was so for a while');
mends('feed_stopped', 'shop');
quiet('all is well');

# ---- Models that are altered.
sql($house, q{CREATE VIEW dw.report AS SELECT amount FROM dw.sale;
	SELECT walhouse.alter_fact('dw.sale', query => 'SELECT id, at, customer FROM shop.sale')});
mends('alter_blocked', 'dw.sale');
sql($house, q{SELECT walhouse.alter_fact('dw.sale', partition_by => 'year'); DROP VIEW dw.report});
mends('old_model_kept', 'dw.sale__old');
quiet('all is well with the altered model');

# ---- Data that a model cannot take, or that somebody else wrote.
sql($source, 'UPDATE customer SET letters = 0 WHERE id = 1');
tells('model_stopped', 'dw.customer');
is(value($house, q{SET ROLE watcher; SELECT problem FROM walhouse.doctor() WHERE code = 'model_stopped' AND object = 'dw.customer'}), 'division by zero', 'monitoring sees the error');
like(value($house, q{SET ROLE stranger; SELECT problem FROM walhouse.doctor() WHERE code = 'model_stopped' AND object = 'dw.customer'}), qr/shown to its owner/, 'others see that there is one');
fails_with($house, 'the source is asked for the owner alone', q{SET ROLE stranger; SELECT * FROM walhouse.doctor_source('shop')}, qr/must be owner/);
sql($source, 'UPDATE customer SET letters = 1 WHERE id = 1');
gone('model_stopped');
sql($source, q{INSERT INTO sale VALUES (100, 1, 'infinity', 1)});
tells('rows_rejected', 'dw.sale');
sql($source, q{DELETE FROM sale WHERE id = 100});
gone('rows_rejected');
sql($house, q{ALTER SYSTEM SET walhouse.verify_interval = '1s'; SELECT pg_reload_conf()});
sql($house, q{ALTER SYSTEM SET walhouse.verify_sample = 1000; SELECT pg_reload_conf()});
sql($house, q{SET walhouse.allow_writes = on; UPDATE dw.sale SET amount = 0 WHERE id = 3});
mends('verify_differs', 'dw.sale');
my $locker = $house->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE dw.customer IN ACCESS EXCLUSIVE MODE');
tells('verify_overdue', 'dw.customer');
tells('verify_failed', 'dw.customer');
$locker->query_safe('ROLLBACK');
gone('verify_overdue', 'verify_failed');
sql($house, q{ALTER SYSTEM RESET walhouse.verify_interval; ALTER SYSTEM RESET walhouse.verify_sample; SELECT pg_reload_conf()});

# ---- What is behind: first the model, whose table is locked, then the feed, whose source does not rest, and whose
# mirror takes its time.
$locker->query_safe('BEGIN; LOCK TABLE dw.customer IN ACCESS EXCLUSIVE MODE');
sql($source, q{UPDATE customer SET name = 'new' WHERE id = 2});
tells('model_behind', 'dw.customer');
tells('worker_waits', 'shop');
like(remedy('worker_waits'), qr/pg_terminate_backend\(\d+\)/, 'who is in the way is named');
$locker->query_safe('ROLLBACK');
gone('model_behind', 'worker_waits');
$locker->quit;
sql($house, q{CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM count(*) FROM generate_series(1, 100000); RETURN NEW; END $$;
	SET walhouse.allow_writes = on; CREATE TRIGGER slow BEFORE INSERT ON shop.customer FOR EACH ROW EXECUTE FUNCTION slow()});
my $busy = $source->background_psql('postgres', on_error_stop => 0);
$busy->query_until(qr/on its way/, q{SET application_name = 'busy';
\echo on its way
DO $$ BEGIN FOR i IN 1001 .. 4000 LOOP INSERT INTO customer VALUES (i, 'x', 1); COMMIT; END LOOP; END $$;
});
tells('feed_behind', 'shop');
sql($house, q{SET walhouse.allow_writes = on; DROP TRIGGER slow ON shop.customer});
sql($source, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'busy'});
eval { $busy->quit };
gone('feed_behind');

# ---- Tables that are not followed, and what the source lacks.
sql($source, q{ALTER TABLE sale ALTER amount TYPE text; INSERT INTO sale VALUES (200, 1, '2026-01-01 00:00+00', 'x')});
tells('table_held', 'public.sale');
sql($house, q{SELECT walhouse.drop_model('dw.sale')});
mends('table_held', 'public.sale');
source_tells('table_not_published', 'public.sale', 'ALTER PUBLICATION shop DROP TABLE sale');
mends('table_not_published');
source_tells('table_not_followed', 'public.later', 'CREATE TABLE later (id int PRIMARY KEY); GRANT SELECT ON later TO feeder; ALTER PUBLICATION shop ADD TABLE later');
sql($house, q{SELECT walhouse.stop('shop')});
ok(poll($house, 'postgres', q{SELECT stream_pid IS NULL FROM walhouse.stat_feed}), 'the feed is stopped for a moment');
mends('table_not_followed');
sql($source, 'DROP TABLE later');
sql($house, q{SELECT walhouse.start('shop')});
mends('copy_failing', 'public.later');
source_tells('publication', '', q{ALTER PUBLICATION shop SET (publish = 'insert')});
mends('publication');
source_tells('replica_identity', '', 'ALTER TABLE sale REPLICA IDENTITY NOTHING');
mends('replica_identity');
source_tells('column_list', '', 'ALTER TABLE customer REPLICA IDENTITY DEFAULT; ALTER PUBLICATION shop SET TABLE customer (name, letters), sale');
sql($source, 'ALTER PUBLICATION shop SET TABLE customer, sale');
source_tells('table_rights', '', 'REVOKE SELECT ON sale FROM feeder');
mends('table_rights');
source_tells('source_role', '', 'ALTER ROLE feeder NOREPLICATION');
mends('source_role');
source_tells('standby_names', '', q{ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf()});
sql($source, q{ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
SKIP:
{
	$told{output_plugin} = 1;
	skip 'this minor release has no output_plugin_libraries', 2
		if value($source, q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'}) eq '0';
	sql($source, 'GRANT pg_read_all_settings TO feeder');
	source_tells('output_plugin', '', q{ALTER SYSTEM SET output_plugin_libraries = 'pgoutput'; SELECT pg_reload_conf()});
	mends('output_plugin');
}
# What left the publication, or came without its key, is copied again.
$house->psql('postgres', "SET ROLE etl; CALL walhouse.resync_table('shop', '$_')") for qw(public.customer public.sale);
quiet('all is well again');

# ---- The slot: it holds back what no limit bounds; with a limit, its loss is foreseen; then it is lost.
sql($house, q{SELECT walhouse.stop('shop')});
ok(poll($house, 'postgres', q{SELECT stream_pid IS NULL FROM walhouse.stat_feed}), 'the feed is stopped');
write_wal(80);
source_tells('slot_holds_wal', slot(), 'SELECT 1');
sql($source, q{ALTER SYSTEM SET max_slot_wal_keep_size = '160MB'; SELECT pg_reload_conf()});
source_tells('slot_near_loss', slot(), 'SELECT 1');
like(value($house, q{SELECT problem FROM walhouse.doctor_source('shop') WHERE code = 'slot_near_loss'}), qr/^The slot holds back \d+ MB of WAL and may hold back \d+ MB more; at \d+\.\d+ MB a second it is lost in 0\.\d hours\.$/, 'with the time that is left');
sql($house, q{SELECT walhouse.start('shop')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.doctor_source('shop')}, '0'), 'what it says to do helps in time');
sql($house, q{SELECT walhouse.stop('shop')});
ok(poll($house, 'postgres', q{SELECT stream_pid IS NULL FROM walhouse.stat_feed}), 'the feed is stopped once more');
write_wal(240);
sql($source, 'CHECKPOINT');
source_tells('slot', slot(), 'SELECT 1');
like(value($house, q{SELECT problem FROM walhouse.doctor_source('shop') WHERE code = 'slot'}), qr/has lost WAL that the feed needs/, 'a slot that is lost');
sql($house, q{SELECT walhouse.start('shop')});
tells('feed_failing', 'shop');
sql($source, q{SELECT pg_drop_replication_slot('} . slot() . q{')});
ok(poll($house, 'postgres', q{SELECT problem LIKE '%does not exist at the source%' FROM walhouse.doctor_source('shop') WHERE code = 'slot'}), 'and one that is gone');
sql($house, q{UPDATE walhouse.feed SET resync_lsn = '0/1'});
source_tells('resync', '', undef);
sql($house, q{UPDATE walhouse.feed SET resync_lsn = NULL});

# ---- The source itself.
$source->append_conf('postgresql.conf', "wal_level = replica\n");
$source->restart;
source_tells('wal_level', '', 'SELECT 1');
$source->append_conf('postgresql.conf', "wal_level = logical\n");
$source->set_standby_mode;
$source->restart;
source_tells('recovery', '', undef);
$source->promote;
source_tells('identity', '', undef);
$source->stop;
source_tells('source_unreachable', '', undef);

# ---- The warehouse itself.
sql($house, q{ALTER SYSTEM SET walhouse.worker = off; SELECT pg_reload_conf()});
mends('worker_off', 'walhouse.worker');
sql($house, q{ALTER ROLE etl NOLOGIN});
mends('owner_login', 'etl');
sql($house, q{INSERT INTO walhouse.load (feed_id, kind, started) SELECT 1, 'load', now() FROM generate_series(1, 100000); ANALYZE walhouse.load;
	ALTER SYSTEM SET walhouse.load_retention = -1});
sql($house, 'SELECT pg_reload_conf()');
mends('loads_kept', 'walhouse.load');
sql($house, q{UPDATE pg_class SET relpages = 131072 WHERE oid = (SELECT min(relid::oid) FROM pg_partition_tree('shop_log.sale') WHERE isleaf)});
mends('log_grows', 'shop');
my $version = value($house, q{SELECT extversion FROM pg_extension WHERE extname = 'walhouse'});
sql($house, q{UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'walhouse'});
tells('version', 'walhouse');
sql($house, qq{UPDATE pg_extension SET extversion = '$version' WHERE extname = 'walhouse'});

# ---- Partition sets.
sql($house, q{
	CREATE ROLE poor; CREATE SCHEMA a; GRANT USAGE, CREATE ON SCHEMA a TO poor;
	SET ROLE poor; CREATE TABLE a.t (at timestamptz NOT NULL) PARTITION BY RANGE (at);
	RESET ROLE; REVOKE CREATE ON SCHEMA a FROM poor;
	SET ROLE poor; SELECT walhouse.create_partition_set('a.t', 'day')});
tells('partition_failing', 'a.t');
sql($house, 'GRANT CREATE ON SCHEMA a TO poor');
mends('partition_failing', 'a.t');
sql($house, q{UPDATE walhouse.feed SET error = NULL, error_time = NULL, enabled = false});
$house->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$house->restart;
tells('not_preloaded', 'walhouse');
sql($house, q{UPDATE walhouse.partition_step SET due = now() - interval '1 day'});
tells('partition_overdue', 'a.t');
sql($house, q{UPDATE walhouse.feed SET enabled = true});
$house->append_conf('postgresql.conf', "shared_preload_libraries = 'walhouse'\nmax_worker_processes = 2\n");
$house->restart;
tells('no_worker', 'shop');

my @documented = slurp_file('docs/operations.md') =~ /^\| `([a-z_]+)` \|/mg;
is(join(' ', sort @documented), join(' ', sort keys %told), 'docs/operations.md names what was told here, and nothing else');
$house->stop;
done_testing();

# asked: what doctor and doctor_source say.
sub asked { return qq{FROM (SELECT * FROM walhouse.doctor('0') UNION ALL SELECT * FROM walhouse.doctor_source('shop')) d} }

# tells CODE, OBJECT: waits until walhouse.doctor tells it.
sub tells
{
	my ($code, $object) = @_;
	$told{$code} = 1;
	return ok(poll($house, 'postgres', "SELECT count(*) FROM walhouse.doctor('0') WHERE code = '$code' AND object = '$object' AND problem <> '' AND remedy <> ''", '1'), "$code is told of $object");
}

# source_tells CODE, OBJECT, STATEMENT: runs it at the source, and waits until walhouse.doctor_source tells.
sub source_tells
{
	my ($code, $object, $statement) = @_;
	$told{$code} = 1;
	sql($source, $statement) if defined $statement;
	my $found = poll($house, 'postgres', "SELECT count(*) FROM walhouse.doctor_source('shop') WHERE code = '$code' AND COALESCE(object, '') = '$object' AND problem <> ''", '1');
	diag(value($house, q{SELECT string_agg(concat_ws(' ', code, object, problem), E'\n') FROM walhouse.doctor_source('shop')})) if !$found;
	return ok($found, "$code is told of the source");
}

sub remedy
{
	my ($code) = @_;
	return value($house, 'SELECT remedy ' . asked() . " WHERE code = '$code' ORDER BY object LIMIT 1");
}

# mends CODE[, OBJECT]: runs, as the owner, what is said to mend it, and waits until it is not told any more.
sub mends
{
	my ($code, $object) = @_;
	tells($code, $object) if defined $object;
	my ($here) = grep { $code eq $_ } qw(feed_unfinished worker_off owner_login loads_kept log_grows partition_failing);
	my $remedy = $here ? value($house, "SELECT remedy FROM walhouse.doctor('0') WHERE code = '$code'") : remedy($code);
	# Statements go one by one, where they belong.
	for my $statement (grep { /\S/ } split /;/, $remedy =~ s/--.*//gr)
	{
		my $node = $statement =~ /walhouse\./ || $here ? $house : $source;
		sql($node, $node == $house ? "SET ROLE etl; $statement" : $statement);
	}
	return gone($code);
}

# gone CODE, ...: waits until they are not told any more.
sub gone
{
	my $codes = join ', ', map { "'$_'" } @_;
	my $from = $_[0] =~ /^(feed_unfinished|worker_off|owner_login|loads_kept|log_grows|partition_failing)$/ ? q{FROM walhouse.doctor('0') d} : asked();
	return ok(poll($house, 'postgres', "SELECT string_agg(d::text, E'\\n') $from WHERE code IN ($codes)", ''), "@_ is not told any more");
}

sub quiet
{
	my ($name) = @_;
	return ok(poll($house, 'postgres', "SELECT string_agg(d::text, E'\\n') " . asked(), ''), $name);
}

# ended STATEMENT, QUERY: runs it in a session that is ended once the query gives 1.
sub ended
{
	my ($statement, $query) = @_;
	my $session = $house->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/on its way/, "SET application_name = 'ended'; SET ROLE etl;\n\\echo on its way\n$statement;\n");
	poll($house, 'postgres', $query, '1') or die 'it did not get there';
	sql($house, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended'});
	poll($house, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ended'}, '0');
	eval { $session->quit };
	return;
}

sub slot { return value($house, 'SELECT slot FROM walhouse.feed') }

# write_wal MB: so much, and more, in segments that are switched.
sub write_wal
{
	my ($megabytes) = @_;
	sql($source, q{SELECT pg_logical_emit_message(false, 'filler', repeat('x', 8000000)); SELECT pg_switch_wal()}) for 1 .. $megabytes / 16;
	return;
}
