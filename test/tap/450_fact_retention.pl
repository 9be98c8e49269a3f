# Retention of facts, with crashes and company: in each stage between the horizon that moves and the partition that goes, the process is
# killed with -9; loads write meanwhile; statements and builds that began before are waited for; locks on the fact stop nobody. What comes
# after is what was promised: the fact from its horizon on, its rollups with all that was counted. In the end it is dumped and restored.
use strict;
use warnings;
use FindBin;
use WalhouseTest;
use WalhouseProof;
use WalhouseLife;
use Test::More;

my $house = one_server(conf => "walhouse.worker = off\nwalhouse.partition_lock_timeout = 200ms\n");
open my $file, '<', "$FindBin::Bin/../lib/handfeed.sql" or die "handfeed.sql: $!";
sql($house, join('', <$file>));
my $folder = $house->basedir . '/archive';
mkdir $folder or die "$folder: $!";
setting($house, 'walhouse.archive_directory', $folder);
sql($house, q{
	SET client_min_messages = warning;
	CREATE ROLE keeper; CREATE ROLE reader; CREATE SCHEMA dw; GRANT CREATE, USAGE ON SCHEMA dw TO keeper, reader;
	SELECT handfeed.make('shop', 'UTC');
	CREATE TABLE shop.prices (item int PRIMARY KEY, price int, since timestamptz);
	CREATE TABLE shop.sales (id int PRIMARY KEY, item int, at timestamptz, quantity int);
	SELECT handfeed.add('shop', 'shop.prices'); SELECT handfeed.add('shop', 'shop.sales');
	GRANT USAGE ON SCHEMA shop, shop_log TO keeper, reader; GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO keeper, reader;
	INSERT INTO shop.prices SELECT i, 10 * i, '2099-01-01' FROM generate_series(1, 5) i;
	INSERT INTO shop.sales SELECT i, 1 + i % 5, timestamptz '2100-01-01 12:00+00' + i * interval '1 day', i FROM generate_series(0, 360) i;
	SELECT handfeed.commit('shop', '2100-12-31 12:00+00'); SELECT handfeed.reach('shop');
	-- waits while somebody has the lock, wherever it is computed
	CREATE FUNCTION dw.slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock_shared(7); PERFORM pg_advisory_unlock_shared(7); RETURN $1; END';
	SELECT walhouse.create_dimension('dw.price', 'SELECT item, price, since FROM shop.prices', '{item}', effective => 'since');
	ALTER TABLE dw.price OWNER TO keeper;
	SET ROLE keeper;
	SELECT walhouse.create_fact('dw.sale', 'SELECT id, item, at, quantity FROM shop.sales', '{id}', 'at', '{"price_sk": "dw.price(item)"}');
	SELECT walhouse.create_fact('dw.slow_sale', 'SELECT id, at, dw.slow(quantity) AS quantity FROM shop.sales', '{id}', 'at');
	GRANT SELECT ON dw.sale TO reader;
	RESET ROLE;
	SET ROLE reader;
	SELECT walhouse.create_rollup('dw.monthly', 'dw.sale', '{price_sk}', '{"n": "count(*)", "quantity": "sum(quantity)", "most": "max(quantity)"}', bucket => 'month');
	SELECT walhouse.create_periodic_snapshot('dw.stock', 'dw.sale', '{item}', '{"quantity": "balance(quantity)", "last": "last(quantity)"}', period => 'month');
});
my @models = qw(dw.price dw.sale dw.slow_sale dw.monthly dw.stock);
sql($house, "CALL walhouse.build('$_')") for @models;
sql($house, q{SET ROLE keeper; SELECT walhouse.create_partition_set('dw.sale', 'month', zone => 'UTC', lead_count => 0, lead => '0 days', seal_after => '1 day', retire_after => '10 days', archive => true)});
sql($house, q{SET ROLE keeper; SELECT walhouse.create_partition_set('dw.slow_sale', 'month', zone => 'UTC', lead_count => 0, lead => '0 days', retire_after => '10 days')});
my $go_on = q{SELECT count(*) FROM dw.sale; SELECT count(*) FROM dw.price; SET LOCAL walhouse.allow_writes = on; UPDATE dw.sale SET quantity = quantity WHERE at = '2100-12-01 12:00+00'};
my $all = "'361 " . value($house, 'SELECT sum(quantity) FROM shop.sales') . "'";
my $sums = q{SELECT sum(n) || ' ' || sum(quantity) FROM dw.monthly};
my ($clock, $number) = (0, 1000);

sub horizon { return value($house, "SELECT retired_to FROM walhouse.stat_model WHERE model = 'dw.$_[0]'::regclass") }
sub is_there { return value($house, "SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass('dw.$_[0]')") }
sub maintain { my ($table, $at) = @_; return sql($house, "CALL walhouse.maintain_partitions('dw.$table', '$at+00')") }
sub load { return sql($house, "CALL walhouse.load('shop')") }
sub commit { $clock++; return sql($house, "$_[0]; SELECT handfeed.commit('shop', timestamptz '2100-12-31 12:00+00' + $clock * interval '1 minute'); SELECT handfeed.reach('shop')") }

sub whole
{
	my ($what, $month) = @_;
	is(horizon('sale'), sprintf('2100-%02d-01 00:00:00+00', $month), "$what: the horizon");
	is(value($house, q{SELECT to_char(min(at), 'MM') FROM dw.sale}), sprintf('%02d', $month), "$what: the fact begins there");
	is(value($house, "SELECT $all = ($sums)"), 't', "$what: the rollup has all that was counted");
	verify_clean($house, $what, @models);
	return;
}

# Killed in each stage. Before its commit nothing has happened, afterwards all has, but that everybody sees the rows still.
my $session = stand_at($house, 'dw.sale', '2100-02-15 00:00', 'detach: giving up');
is(strongest_lock($house, 'dw.sale'), 'AccessShareLock', 'while the horizon moves the fact is read');
is(strongest_lock($house, 'dw.sale_p2100_01'), 'AccessShareLock', 'and so is the partition');
go_on_now($house, $go_on, 'while the horizon moves');
kill_worker($house, $session);
setting($house, 'walhouse.debug_partition_point');
is(horizon('sale') . is_there('sale_p2100_01') . value($house, 'SELECT count(*) FROM dw.monthly_retired'), '10', 'killed before the horizon has moved: nothing');
life($house, 'dw.sale', $go_on, 'detach: given up', '2100-02-15 00:00', 'dw.sale' => '', 'dw.sale_p2100_01' => '');
is(is_there('sale_p2100_01'), '0', 'killed afterwards: it goes');
whole('January', 2);
life($house, 'dw.sale', $go_on, 'detach: detached', '2100-03-15 00:00', 'dw.sale' => '', 'dw.sale_p2100_02' => '');
whole('February', 3);
is(value($house, q{SELECT string_agg(rows::text, ' ' ORDER BY from_value) FROM walhouse.partition_archives}), '31 28', 'both are archives');

# While the horizon has moved and the partition is still there, loads leave what is in it, and nobody counts it twice: corrections, rows that
# go and come over the horizon, and another version of what they point to.
my $standing = stand_at($house, 'dw.sale', '2100-04-15 00:00', 'detach: given up');
my $march = q{SELECT sum(hashtextextended(t::text, 0)) FROM dw.sale_p2100_03 t};
my $was = value($house, $march);
commit(q{UPDATE shop.sales SET quantity = 5000 WHERE at::date IN ('2100-03-05', '2100-04-05'); DELETE FROM shop.sales WHERE at::date IN ('2100-03-06', '2100-04-06');
	INSERT INTO shop.sales VALUES (1000, 1, '2100-03-07', 5000), (1001, 1, '2100-04-07', 5000); UPDATE shop.prices SET price = 7, since = '2100-03-10'});
load();
is(value($house, $march), $was, 'loads write nothing there');
is(value($house, q{SELECT count(*) || ' ' || count(DISTINCT price_sk) FROM dw.sale WHERE at >= '2100-04-01' AND quantity <> 5000}), '269 5', 'and what is later points to the later version');
is(value($house, 'SELECT sum(late_changes) FROM walhouse.stat_model WHERE model = $$dw.sale$$::regclass'), '3', 'three changes were late');
# What was retired counts as it was then: 90 rows of three months, of which the quantities are the numbers from 0 on.
$all = value($house, q{SELECT quote_literal((90 + count(*)) || ' ' || (89 * 90 / 2 + sum(quantity))) FROM dw.sale WHERE at >= '2100-04-01'});
kill_worker($house, $standing);
setting($house, 'walhouse.debug_partition_point');
verify_clean($house, 'killed with the horizon moved', @models);
maintain('sale', '2100-04-15 00:00');
whole('March', 4);

# A statement that began before the move.
my $reader = $house->background_psql('postgres');
$reader->query_safe(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shop.sales});
maintain('sale', '2100-05-15 00:00');
is(horizon('sale') . ' ' . is_there('sale_p2100_04'), '2100-05-01 00:00:00+00 1', 'a snapshot from before keeps the partition, not the horizon');
is($reader->query_safe(q{SELECT count(*) FROM dw.sale WHERE at < '2100-05-01'}), '30', 'it sees what it would have seen');
$reader->query_safe('COMMIT');
maintain('sale', '2100-05-15 00:00');
whole('April', 5);
$reader->quit;

# A load that is under way, and a build: they go on, and what they may write to stays until they end.
commit(q{UPDATE shop.sales SET quantity = quantity + 1 WHERE at::date = '2100-01-05'});
my $lock = $house->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(7)');
for my $busy ("CALL walhouse.load('shop')", "CALL walhouse.build('dw.slow_sale')")
{
	my $loader = $house->background_psql('postgres', on_error_stop => 0);
	$loader->query_until(qr/started/, "\\echo started\n$busy;\n");
	ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}), "$busy is under way");
	maintain('slow_sale', '2100-02-15 00:00');
	is(horizon('slow_sale') . is_there('slow_sale_p2100_01'), '1', 'the horizon waits for it');
	like(value($house, q{SELECT error FROM walhouse.partitions WHERE partition = 'dw.slow_sale_p2100_01'::regclass}), qr/lock timeout|is being built/, 'and the step says so');
	$lock->query_safe('SELECT pg_advisory_unlock(7)');
	$loader->quit;
	$lock->query_safe('SELECT pg_advisory_lock(7)');
}
$lock->quit;
maintain('slow_sale', '2100-02-15 00:00');
is(horizon('slow_sale') . is_there('slow_sale_p2100_01'), '2100-02-01 00:00:00+000', 'then it goes');
verify_clean($house, 'beside a load and a build', @models);

# Back from the archives, the latest first, and what was passed over meanwhile is made up for; not what does not reach to where the fact
# begins. Rollups give back what they had kept, one that was declared since is built. Killed before the commit, nothing has happened.
fails_with($house, 'what would leave a hole does not come back', q{CALL walhouse.restore_partition('dw.sale', '2100-03-10')}, qr/does not reach to where/);
sql($house, q{SET ROLE reader; SELECT walhouse.create_rollup('dw.late', 'dw.sale', '{}', '{"n": "count(*)", "quantity": "sum(quantity)"}', bucket => 'month')});
sql($house, q{CALL walhouse.build('dw.late')});
for my $point ('restore: copied', 'restore: noted')
{
	setting($house, 'walhouse.debug_partition_point', $point);
	my $restorer = $house->background_psql('postgres', on_error_stop => 0);
	$restorer->query_until(qr/started/, "\\echo started\nCALL walhouse.restore_partition('dw.sale', '2100-04-10');\n");
	ok(poll($house, 'postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE query = 'standing at $point'"), "it stands at \"$point\"");
	go_on_now($house, $go_on, "at \"$point\"");
	kill9($house, value($house, "SELECT pid FROM pg_stat_activity WHERE query = 'standing at $point'"));
	eval { $restorer->{run}->kill_kill };
	ok(poll($house, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'standing at%'"), 'killed');
	setting($house, 'walhouse.debug_partition_point');
	whole("$point, killed", 5);
}
sql($house, q{SET ROLE keeper; CALL walhouse.restore_partition('dw.sale', '2100-03-01', '2100-05-01')});
is(value($house, q{SELECT string_agg(model::text, ' ') FROM walhouse.stat_model WHERE state = 'rebuild' AND model = 'dw.late'::regclass}), 'dw.late', 'a rollup that never counted these rows is built');
sql($house, "CALL walhouse.build('$_')") for qw(dw.late dw.stock);
same($house, 'the fact is its query from March on', q{SELECT id, item, at, quantity FROM shop.sales WHERE at >= '2100-03-01'}, 'SELECT id, item, at, quantity FROM dw.sale');
push @models, 'dw.late';
$all = value($house, q{SELECT quote_literal((59 + count(*)) || ' ' || (58 * 59 / 2 + sum(quantity))) FROM shop.sales WHERE at >= '2100-03-01'});
whole('restored', 3);
is(value($house, q{SELECT count(*) FROM dw.monthly_retired}) . ' ' . value($house, 'SELECT count(*) FROM dw.late_retired'), '59 0', 'the rollups keep what is still retired');
sql($house, q{SELECT walhouse.unhold_partition(partition) FROM walhouse.partitions WHERE parent = 'dw.sale'::regclass AND hold IS NOT NULL});
maintain('sale', '2100-05-15 00:00');
whole('retired again', 5);

# Everything that was made belongs to its owner.
is(value($house, q{SELECT string_agg(DISTINCT relowner::regrole::text, ' ') FROM pg_class WHERE relnamespace = 'dw'::regnamespace AND relname ~ '^(slow_)?sale'}), 'keeper', 'all of the fact is its owner\'s');

# Dumped and restored.
sql($house, 'CREATE DATABASE again');
is(system('pg_dump -d "' . $house->connstr('postgres') . '" | psql -XqAt -v ON_ERROR_STOP=1 -d "' . $house->connstr('again') . '" > /dev/null'), 0, 'dumped and restored');
is(value($house, q{SELECT string_agg(model || ' ' || retired_to, ', ' ORDER BY model::text COLLATE "C") FROM walhouse.stat_model WHERE retired_to IS NOT NULL}, 'again'), 'dw.sale 2100-05-01 00:00:00+00, dw.slow_sale 2100-02-01 00:00:00+00', 'with its horizons');
is(value($house, q{SELECT sum(missing + unexpected + different) FROM walhouse.verify()}, 'again'), '0', 'and as it should be');
sql($house, q{CALL walhouse.maintain_partitions('dw.sale', '2100-06-15 00:00+00')}, 'again');
is(value($house, q{SELECT retired_to FROM walhouse.stat_model WHERE model = 'dw.sale'::regclass}, 'again'), '2100-06-01 00:00:00+00', 'and goes on');
is(value($house, q{SELECT sum(missing + unexpected + different) FROM walhouse.verify()}, 'again'), '0', 'as it should');
$house->stop;
done_testing();
