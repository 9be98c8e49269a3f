# A table is added to a feed that is running, while a client writes to it: copied by chunks, without a lock that the client waits for,
# and without a second slot; and another one is removed.
#   ROWS=20000000 make one T=160_add_table    a large one, for the figures that it notes (`make bench PART=copy`)
use strict;
use warnings;
use Time::HiRes qw(time);
use WalhouseTest;
use WalhouseProof;
use CopyLoad;
use Test::More;

my $rows = $ENV{ROWS} || 100_000;
my ($source, $house) = source_and_house(house => { conf => $ENV{ROWS} ? "max_wal_size = 16GB\nshared_buffers = 1GB\n" : "walhouse.feed_chunk_rows = 3000\n" });
sql($source, q{CREATE TABLE base (id int PRIMARY KEY, v text); INSERT INTO base VALUES (1, 'a')});
load_create($source, $rows);
create_server($house, 's', $source);
sql($house, q{CALL walhouse.create_feed('f', 's', tables => '{base}'); SELECT walhouse.start('f')});

my $client = load_start($source, $rows);
sql($house, q{CALL walhouse.add_table('f', '"Big ""one"')});
like(value($house, q{SELECT string_agg(state, ',') FROM walhouse.stat_table WHERE source_name = 'Big "one'}), qr/copy|ready/, 'the table is there at once');
my ($seen, $slots, $start) = ('', 1, time());
ok(until_true(sub {
		$seen .= "\n" . value($house, q{SELECT concat_ws('|', command, phase, relid::regclass, pid IS NOT NULL, tuples_estimated > 90000, bytes_processed > 0 AND bytes_total > 0, error) FROM walhouse.progress_snapshot});
		my $now = value($source, 'SELECT count(*) FROM pg_replication_slots');
		$slots = $now if $now > $slots;
		value($house, q{SELECT state FROM walhouse.stat_table WHERE source_name = 'Big "one'}) eq 'ready';
	}, 300 + $rows / 1000), 'it is copied');
my $seconds = time() - $start;
note(sprintf 'copied %d rows in %.1f s, %.0f rows/s, while the client made %d changes', $rows, $seconds, $rows / $seconds, load_changes($source));
like($seen, qr/ADD TABLE\|copying\|f\."Big ""one"\|t\|t\|t$/m, 'the progress was seen');
is($slots, 1, 'no second slot');
load_goes_on($source, 'the client goes on');
sql($house, q{CREATE SCHEMA dw; SELECT walhouse.create_dimension('dw.big', 'SELECT a, "b c", n, length(wide) AS l FROM f."Big ""one"', '{a, b c}', '{"*": 1, "n": 2}')});
load_goes_on($source, 'and on');
load_stop($source, $client);
ok(reach($house, 'f', $source), 'all arrives');
load_equal($house, $source);
verify_clean($house, 'after a table was added', 'dw.big');
load_log_holds($house);
is(value($house, 'SELECT count(*) FROM walhouse.feed_copy') . value($house, 'SELECT count(*) FROM walhouse.feed_copy_key'), '00', 'nothing is left over');

# -------- removed --------
my ($status, undef, $err) = $house->psql('postgres', q{CALL walhouse.remove_table('f', '"Big ""one"')});
like($err, qr/cannot remove table "Big "one" from feed "f" because models read it.*dw\.big.*drop_model\('dw\.big'\)/s, 'models that read it are named');
sql($house, q{SELECT walhouse.drop_model('dw.big'); CALL walhouse.remove_table('f', '"Big ""one"')});
is(value($house, q{SELECT coalesce(to_regclass('f."Big ""one"')::text, '') || coalesce(to_regclass('f_log."Big ""one"')::text, '')}), '', 'mirror and log are gone');
is(value($source, q{SELECT string_agg(tablename, ',') FROM pg_publication_tables WHERE pubname = 'f'}), 'base', 'and it is not published any more');
sql($source, q{UPDATE base SET v = 'b'; DELETE FROM "Big ""one" WHERE "b c" > 20});
ok(reach($house, 'f', $source), 'the feed goes on');
is(value($house, 'SELECT v FROM f.base'), 'b', 'with the other table');

# -------- and added again, without a worker --------
sql($house, q{SELECT walhouse.stop('f')});
ok(poll($house, 'postgres', q{SELECT worker = 'stopped' AND stream_pid IS NULL FROM walhouse.stat_feed}), 'the worker has gone');
sql($house, q{CALL walhouse.add_table('f', '"Big ""one"')});
is(value($house, q{SELECT phase FROM walhouse.progress_snapshot}), 'initializing', 'a table waits for somebody who reads the stream');
sql($source, q{UPDATE "Big ""one" SET n = 77 WHERE "b c" = 1});
sql($house, q{CALL walhouse.run('f')});
is(value($house, q{SELECT state FROM walhouse.stat_table WHERE source_name = 'Big "one'}), 'ready', 'run copies it');
load_equal($house, $source);
mirrors_equal($house, $source, 'f', 'base');
sql($house, q{CALL walhouse.drop_feed('f')});
is(value($house, 'SELECT count(*) FROM walhouse.feed_copy'), '0', 'and drop_feed leaves nothing');
$house->stop;
$source->stop;
done_testing();
