# The lags of a feed's stages: a source that has nothing to say is heard all the same; what waits in one stage is shown as the lag of that
# stage, with the age of the commit that waits, and of no other; what was waited for is gone afterwards.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(house => { conf => "walhouse.feed_status_interval = 200ms\nwalhouse.verify_interval = 0\n" });
my $row = q{FROM walhouse.stat_feed WHERE feed = 'shop'};

sql($source, 'CREATE TABLE item (id int PRIMARY KEY, v int); INSERT INTO item VALUES (1, 1)');
sql($house, 'CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ')');
sql($house, q{CREATE USER MAPPING FOR CURRENT_USER SERVER shop; CREATE SCHEMA dw});
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', tables => '{item}')});
is(value($house, "SELECT heard IS NULL AND received_lag IS NULL AND confirmed_lag IS NULL AND reach IS NULL $row"), 't', 'what a worker tells is empty without one');
sql($house, q{SELECT walhouse.create_dimension('dw.item', 'SELECT id, v FROM shop.item', '{id}'); SELECT walhouse.start('shop')});
ok(reach($house, 'shop', $source), 'the feed runs');

# Nothing happens at the source; its own keepalives come every 30 seconds.
for (1 .. 3)
{
	my $heard = value($house, "SELECT heard $row");
	ok(poll($house, 'postgres', "SELECT heard > '$heard' $row", 't', 20), "an idle source is heard, $_");
}
ok(poll($house, 'postgres', "SELECT received_lag < '20 s' AND lag_bytes = 0 AND commit_lag = '0' AND loaded_lag_bytes = 0 AND loaded_lag = '0' AND confirmed_lag = '0' $row"), 'and nothing lags');

# The model waits for a lock: it is behind, the log is not.
my $locker = $house->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE dw.item IN ACCESS EXCLUSIVE MODE');
sql($source, 'UPDATE item SET v = 2');
my $committed = value($source, 'SELECT clock_timestamp()');
ok(poll($house, 'postgres', "SELECT loaded_lag > '1 s' AND loaded_lag_bytes > 0 $row"), 'the lag of loads grows with what waits');
is(value($house, "SELECT clock_timestamp() - loaded_lag <= '$committed' AND loaded_lag < clock_timestamp() - '$committed'::timestamptz + interval '10 s' AND commit_lag < '1 s' $row"), 't', 'by the age of the commit; the log has it');
$locker->query_safe('ROLLBACK');
ok(poll($house, 'postgres', "SELECT loaded_lag = '0' AND loaded_lag_bytes = 0 $row"), 'and is gone with the lock');
ok(poll($house, 'postgres', "SELECT confirmed_lag = '0' $row"), 'what is stored gets confirmed');

# The log.
is(value($house, "SELECT horizon = (SELECT horizon FROM walhouse.feed) AND reach = (SELECT min(commit_time) FROM shop_log.txn) AND log_bytes = (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('shop_log.item')) $row"),
	't', 'horizon, reach and size of the log');

# A worker that is stopped tells nothing; what the catalog says stays.
sql($house, q{SELECT walhouse.stop('shop')});
ok(poll($house, 'postgres', "SELECT heard IS NULL AND received_lag IS NULL AND confirmed_lag IS NULL AND loaded_lag IS NULL AND reach IS NOT NULL $row"), 'without a worker there are no lags');
sql($house, 'SET walhouse.allow_writes = on; DROP TABLE shop_log.txn');
is(value($house, "SELECT reach IS NULL $row"), 't', 'a log that lacks its transactions does not break the view');
$locker->quit;
$source->stop;
$house->stop;
done_testing();
