# A feed whose positions are LSNs of the source plus an offset, as after a resync onto a source whose LSNs are lower: it streams,
# copies, confirms and restarts as ever, its log goes on behind what it has, and no LSN of the source is taken for a position.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $gap = 64 * 1024 * 1024 * 1024;
my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE item (id int PRIMARY KEY, name text);
	CREATE TABLE note (id int PRIMARY KEY, text text);
	CREATE PUBLICATION shop FOR TABLE item, note;
	INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 10) g});
create_server($house, 'shop', $source);
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop')});
sql($source, q{UPDATE item SET name = 'first' WHERE id = 1});
sql($house, q{CALL walhouse.ingest('shop')});

# What a resync would have stored.
sql($house, qq{
	UPDATE walhouse.feed SET lsn_offset = $gap;
	INSERT INTO walhouse.feed_position (feed_id, position, clock) SELECT feed_id, position + $gap, clock FROM walhouse.feed_position
		ORDER BY position DESC LIMIT 1});
sql($source, q{UPDATE item SET name = 'second' WHERE id = 1; INSERT INTO note VALUES (1, 'n')});
sql($house, q{CALL walhouse.ingest('shop')});
mirrors_equal($house, $source, 'shop', qw(item note));
is(value($house, 'SELECT count(*) FROM shop_log.item WHERE op = \'U\''), '2', 'each change is in the log once');
is(value($house, qq{SELECT count(*) FROM shop_log.txn WHERE end_lsn > '0/0'::pg_lsn + $gap}), '2', 'what came since stands at positions');
# A source that was told something hears it a moment later.
my $told = value($house, qq{SELECT max(position) - $gap FROM walhouse.feed_position});
ok(poll($source, 'postgres', q{SELECT confirmed_flush_lsn FROM pg_replication_slots}, $told), 'the slot is confirmed up to the position');
is(value($source, qq{SELECT '$told' <= pg_current_wal_flush_lsn()}), 't', 'the source is told its own LSNs');

# A copy meets the stream; a session that is killed begins where it was.
sql($source, q{UPDATE note SET text = 'm'});
sql($house, q{CALL walhouse.resync_table('shop', 'note')});
sql($source, q{UPDATE note SET text = 'o'});
sql($house, q{SELECT walhouse.start('shop')});
ok(poll($house, 'postgres', q{SELECT text FROM shop.note}, 'o'), 'the worker brings what came after the copy');
kill9($house);
$house->start;
sql($source, q{INSERT INTO item VALUES (11, 'late')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM shop.item}, '11'), 'and goes on after a crash');
my $written = value($source, q{INSERT INTO item VALUES (12, 'waited for'); SELECT pg_current_wal_insert_lsn()});
is(value($house, qq{SELECT walhouse.wait_for('shop', '$written'); SELECT name FROM shop.item WHERE id = 12}), "t\nwaited for", 'an LSN of the source can be waited for');
mirrors_equal($house, $source, 'shop', qw(item note));
is(value($house, q{SELECT count(*) FROM walhouse.doctor() WHERE severity = 'error'}), '0', 'the doctor finds nothing');
is(value($house, qq{SELECT lag_bytes < $gap FROM walhouse.stat_feed}), 't', 'lags are those of positions');
sql($house, q{SELECT walhouse.stop('shop')});
$house->stop;
$source->stop;
done_testing();
