# Retention of the change log: by size and age whole partitions of it go, the horizon first, and never what a model has yet to load: not of
# one that stopped, not of one that is being built, and not under a statement that began before. Whatever is killed in between, the rest
# of the log is whole, and every model is what its log says.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(house => { conf => "walhouse.worker = off\n" });

sql($source, q{
	CREATE TABLE item (id int PRIMARY KEY, price int NOT NULL, pack int NOT NULL);
	CREATE TABLE sale (id int PRIMARY KEY, item int NOT NULL, at timestamptz NOT NULL, quantity int NOT NULL);
	INSERT INTO item SELECT i, i * 10, 1 + i % 5 FROM generate_series(1, 20) AS i;
	INSERT INTO sale SELECT i, 1 + i % 20, now() - i * interval '1 hour', i FROM generate_series(1, 100) AS i;
	CREATE PUBLICATION shop FOR TABLE item, sale;
});
create_server($house, 'shop', $source);
sql($house, q{
	CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop');
	UPDATE walhouse.feed SET log_partition_size = 8192;
	CREATE SCHEMA dw;
	-- waits while somebody has the lock, wherever it is computed
	CREATE FUNCTION dw.slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock_shared(7); PERFORM pg_advisory_unlock_shared(7); RETURN $1; END';
	SELECT walhouse.create_dimension('dw.item', $$ SELECT id, price, pack FROM shop.item $$, key => '{id}', scd => '{"*": 2}');
	SELECT walhouse.create_dimension('dw.unit', $$ SELECT id, price / pack AS unit_price FROM shop.item $$, key => '{id}');
	SELECT walhouse.create_fact('dw.sale', $$ SELECT id, at, item, quantity FROM shop.sale $$, key => '{id}', event_time => 'at', dimensions => '{"item_sk": "dw.item(item)"}');
	SELECT walhouse.create_rollup('dw.daily', 'dw.sale', '{item_sk}', '{"n": "count(*)", "quantity": "sum(quantity)"}');
	SELECT walhouse.create_periodic_snapshot('dw.stock', 'dw.sale', '{item}', '{"stock": "balance(quantity)"}', period => 'day');
	SELECT walhouse.create_mini_dimension('dw.band', 'SELECT id, pack FROM shop.item', '{id}');
	CALL walhouse.run('shop');
});
my @models = qw(dw.item dw.unit dw.sale dw.daily dw.stock dw.band);
my $horizon = 'SELECT horizon FROM walhouse.feed';
my $below = q{SELECT count(*) FROM walhouse.partitions p, walhouse.feed f WHERE p.parent::text LIKE 'shop_log.%' AND p.to_value <> 'MAXVALUE' AND p.to_value::pg_lsn <= f.horizon};
my $tables = q{SELECT count(*) FROM pg_class WHERE relnamespace = 'shop_log'::regnamespace AND relkind = 'r' AND relname ~ '_p?[0-9A-F]'};
my $number = 0;

# work ROUNDS: transactions at the source, each of which changes both tables; then all of it is loaded.
sub work
{
	my ($rounds, $more) = @_;
	for (1 .. $rounds)
	{
		$number++;
		sql($source, "UPDATE item SET price = price + 1 WHERE id % 4 = $number % 4; INSERT INTO sale SELECT 1000 * $number + i, 1 + i % 20, now(), i FROM generate_series(1, 20) i");
	}
	sql($house, q{CALL walhouse.run('shop')}) unless $more;
	return;
}

# retain [TIMES]: what is due of the logs, until no more is.
sub retain
{
	for (1 .. $_[0] || 4)
	{
		sql($house, q{CALL walhouse.maintain_partitions('shop_log.item')});
		sql($house, q{CALL walhouse.maintain_partitions('shop_log.sale')});
	}
	return;
}

sub whole
{
	my ($what) = @_;
	verify_clean($house, $what, @models);
	is(value($house, $below), '0', "$what: no partition is below the horizon");
	is(value($house, q{SELECT count(*) FROM walhouse.partition_step WHERE failures > 0}), '0', "$what: no step fails");
	return;
}

# kill_at POINT: what is due of the logs is done as far as there, and its process killed with -9, with the server.
sub kill_at
{
	my ($point) = @_;
	sql($house, "ALTER SYSTEM SET walhouse.debug_partition_point = '$point'");
	sql($house, 'SELECT pg_reload_conf()');
	my $maintainer = $house->background_psql('postgres', on_error_stop => 0);
	$maintainer->query_until(qr/started/, "\\echo started\n" . q{CALL walhouse.maintain_partitions('shop_log.sale'); CALL walhouse.maintain_partitions('shop_log.item');} x 4 . "\n");
	ok(poll($house, 'postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE query = 'standing at $point'"), "it stands at \"$point\"");
	my $pid = value($house, "SELECT pid FROM pg_stat_activity WHERE query = 'standing at $point'");
	kill9($house, $pid);
	wait_until(sub { !kill(0, $pid) });
	ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse partition worker'}, '0'), 'killed');
	eval { $maintainer->{run}->kill_kill };
	# not before: it would go on
	sql($house, 'ALTER SYSTEM RESET walhouse.debug_partition_point');
	sql($house, 'SELECT pg_reload_conf()');
	return;
}

# ---- Nothing goes without a retention; by size, all goes that every model has loaded.
work(6);
my $first = value($house, $horizon);
my $before = value($house, q{SELECT count(*) FROM shop_log.item});
my ($old) = split /\n/, sql($house, 'SELECT end_lsn FROM shop_log.txn ORDER BY 1');
fails_with($house, 'partitions of a log are retired by its retention alone', q{SELECT walhouse.create_partition_set('shop_log.item', '8192', retire_after => '0')}, qr/cannot be retired/);
fails_with($house, 'no negative one', q{SELECT walhouse.set_log_retention('shop', bytes => -1)}, qr/negative/);
sql($house, 'CREATE ROLE nobody');
fails_with($house, 'the feed\'s owner alone', q{SET ROLE nobody; SELECT walhouse.set_log_retention('shop', bytes => 0)}, qr/owner/);
sql($house, q{SELECT walhouse.set_log_retention('shop', bytes => 1000000000)});
retain();
is(value($house, $horizon), $first, 'a log that is smaller than the retention stays');
sql($house, q{SELECT walhouse.set_log_retention('shop', bytes => 0, keep_history => true)});
retain();
is(value($house, $horizon), $first, 'and what the history of models was built from, with keep_history');
sql($house, q{SELECT walhouse.set_log_retention('shop', bytes => 0)});
retain();
my $moved = value($house, $horizon);
cmp_ok(lsn_diff($house, $moved, $first), '>', 0, 'the horizon moves');
cmp_ok(value($house, q{SELECT count(*) FROM shop_log.item}), '<', $before, 'older changes are gone');
is(value($house, q{SELECT count(*) FROM shop_log.txn t, walhouse.feed f WHERE t.end_lsn <= f.horizon}), '1', 'of the transactions below the last is kept, for its clock');
is(value($house, q{SELECT s.horizon = f.horizon AND s.reach = (SELECT max(t.clock) FROM shop_log.txn t WHERE t.end_lsn <= f.horizon) FROM walhouse.stat_feed s, walhouse.feed f}), 't', 'stat_feed shows both');
is(value($house, q{SELECT count(*) FROM walhouse.partitions WHERE parent IN ('shop_log.item'::regclass, 'shop_log.sale'::regclass) AND state NOT IN ('open')}), '0', 'no partition is left half way');
whole('by size');
fails_with($house, 'as_of says where the log begins', "SELECT count(*) FROM walhouse.as_of(NULL::shop.item, '$old'::pg_lsn)", qr/not known any more/, qr/change log begins at \Q$moved\E/);
like(sql($house, q{SELECT item, details FROM walhouse.explain_row('dw.item', '{"id": 1, "is_current": false}') WHERE item = 'cut'} . ' LIMIT 1'), qr/cut\|.*"searched_from": "\Q$moved\E"/, 'explain_row too');
work(3);
whole('and goes on');

# ---- A model that stopped needs the log from its position on, until it has gone on.
sql($source, 'UPDATE item SET pack = 0 WHERE id = 7');
work(6);
is(value($house, q{SELECT state FROM walhouse.model WHERE relation = 'dw.unit'::regclass}), 'stopped', 'a model stops');
retain();
my $held = value($house, q{SELECT to_lsn FROM walhouse.load_model JOIN walhouse.model USING (model_id) WHERE relation = 'dw.unit'::regclass ORDER BY load_id DESC LIMIT 1});
cmp_ok(lsn_diff($house, $held, value($house, $horizon)), '>=', 0, 'the log stays from its position on');
cmp_ok(lsn_diff($house, value($house, q{SELECT position FROM walhouse.stat_feed}), $held), '>', 8192, 'while the feed is further on');
is(value($house, q{SELECT needed_lsn FROM walhouse.stat_feed}), $held, 'stat_feed shows from where on it is needed');
sql($source, 'UPDATE item SET pack = 2 WHERE id = 7');
work(1, 1);
# It goes on while its log is looked at.
my $session = $house->background_psql('postgres');
$session->query_until(qr/going/, "\\echo going\nCALL walhouse.run('shop');\n");
retain(2);
$session->quit;
sql($house, q{CALL walhouse.run('shop')});
is(value($house, q{SELECT state FROM walhouse.model WHERE relation = 'dw.unit'::regclass}), 'live', 'it goes on');
retain();
cmp_ok(lsn_diff($house, value($house, $horizon), $held), '>=', 0, 'then the log goes');
whole('after a model that stopped');

# ---- An age that ends between an image that cannot be computed and the one that replaces it: the horizon stays at the end of a load.
sql($house, q{SELECT walhouse.set_log_retention('shop', bytes => 1000000000)});
$held = value($house, q{SELECT position FROM walhouse.stat_feed});
sql($source, 'UPDATE item SET pack = 0 WHERE id = 8');
work(6);
sql($source, 'UPDATE item SET pack = 2 WHERE id = 8');
work(1);
is(value($house, q{SELECT state FROM walhouse.model WHERE relation = 'dw.unit'::regclass}), 'live', 'a model stopped, and goes on');
my $age = value($house, qq{SELECT (SELECT max(clock) FROM walhouse.feed_position) - clock FROM shop_log.txn WHERE end_lsn > '$held' ORDER BY end_lsn OFFSET 8 LIMIT 1});
sql($house, qq{SELECT walhouse.set_log_retention('shop', age => '$age')});
retain();
whole('at an age in between');
sql($house, q{SELECT walhouse.set_log_retention('shop', bytes => 0)});
retain();
whole('and after');

# ---- A model that is being built: the horizon stays until it is.
sql($house, q{SELECT walhouse.create_dimension('dw.slow', $$ SELECT id, dw.slow(price) AS price FROM shop.item $$, key => '{id}', scd => '{"*": 2}')});
my $lock = $house->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(7)');
my $builder = $house->background_psql('postgres');
$builder->query_until(qr/building/, "\\echo building\nCALL walhouse.build('dw.slow');\n");
ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, '1'), 'a model is being built');
my $stays = value($house, $horizon);
work(6);
retain();
is(value($house, $horizon), $stays, 'meanwhile the horizon stays');
$lock->query_safe('SELECT pg_advisory_unlock(7)');
$builder->quit;
ok(poll($house, 'postgres', q{SELECT state FROM walhouse.model WHERE relation = 'dw.slow'::regclass}, 'live'), 'it is built');
sql($house, q{CALL walhouse.run('shop')});
push @models, 'dw.slow';
retain();
cmp_ok(lsn_diff($house, value($house, $horizon), $stays), '>', 0, 'then it moves');
whole('after a build');

# ---- A statement that began before: it reads the log from the old horizon on.
work(6);
$stays = value($house, $horizon);
my $count = value($house, $tables);
my $reader = $house->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
retain();
cmp_ok(lsn_diff($house, value($house, $horizon), $stays), '>', 0, 'with a snapshot from before the horizon moves');
is(value($house, $tables), $count, 'but no partition goes');
is($reader->query_safe(q{SELECT missing + unexpected + different, horizon FROM walhouse.verify('dw.item')}), "0|$stays", 'verify in that snapshot is clean, from the horizon that was');
$reader->query_safe('COMMIT');
retain();
cmp_ok(value($house, $tables), '<', $count, 'when it is over they go');
$reader->quit;
whole('after a reader');

# ---- kill -9 in each stage.
for my $point ('make: looked', 'retention: moved', 'retention: released', 'detach: detached', 'detach: noted', 'drop: before', 'drop: dropped')
{
	work(4);
	kill_at($point);
	sql($house, q{CALL walhouse.run('shop')});
	retain();
	whole("killed at \"$point\"");
	is(value($house, q{SELECT count(*) FROM walhouse.partitions WHERE state <> 'open'}), '0', 'and nothing is left half way');
}
is(value($house, $tables), value($house, q{SELECT count(*) FROM pg_inherits i JOIN walhouse.feed_table t ON t.log = i.inhparent}), 'every table of the log is a partition of it');

# ---- By age, which is of the feed clock.
sql($house, q{SELECT walhouse.set_log_retention('shop', age => '1 hour')});
work(6);
$stays = value($house, $horizon);
retain();
is(value($house, $horizon), $stays, 'what is younger stays');
sql($house, q{SET walhouse.allow_writes = on; UPDATE shop_log.txn SET clock = clock - interval '2 hours'});
work(1);
retain();
cmp_ok(lsn_diff($house, value($house, $horizon), $stays), '>', 0, 'what is older goes');
verify_clean($house, 'by age', qw(dw.sale dw.daily dw.stock));

# ---- And no more.
sql($house, q{SELECT walhouse.set_log_retention('shop')});
is(value($house, q{SELECT count(*) FROM walhouse.partition_set}), '0', 'without a retention there are no sets of it');
$stays = value($house, $horizon);
work(3);
is(value($house, $horizon), $stays, 'and nothing goes');
sql($house, q{SELECT walhouse.set_log_retention('shop', bytes => 0)});
work(4);
kill_at('drop: before');
is(value($house, q{SELECT count(*) > 0 FROM walhouse.partitions WHERE state = 'detached'}), 't', 'with a partition that is detached, and not dropped');
fails_with($house, 'a retention does not end half way', q{SELECT walhouse.set_log_retention('shop')}, qr/are being retired/);
sql($house, "SELECT walhouse.drop_model('$_')") for qw(dw.slow dw.band dw.stock dw.daily dw.sale dw.unit dw.item);
sql($house, q{CALL walhouse.drop_feed('shop')});
is(value($house, q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'shop%'}), '0', 'a feed with a retention is dropped, all of it');

$source->stop;
$house->stop;
done_testing();
