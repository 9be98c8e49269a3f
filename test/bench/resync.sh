# resync.sh: the part `resync` of test/bench/run; it reads this file. ROWS=1000000 rows of a table are copied by create_feed; then the slot is
# dropped, one row in a thousand changes, and walhouse.resync brings the feed on: seconds of the one beside those of the other.

resync_rows=${ROWS:-1000000}
resync_goal=0.15

resync()
{
	local i from
	ask source postgres -c "DROP DATABASE IF EXISTS shop" -c "CREATE DATABASE shop" || die "no source database"
	ask source shop <<-END || die "no source rows"
		CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, at timestamptz NOT NULL, amount numeric NOT NULL, status text, note text);
		INSERT INTO orders SELECT i, i % 1000, '2026-01-01'::timestamptz + i * interval '1 s', i % 997 * 1.25, 'open', 'note ' || md5(i::text)
			FROM generate_series(1, $resync_rows) i;
		VACUUM ANALYZE orders;
	END
	ask target postgres -c "DROP DATABASE IF EXISTS house" -c "CREATE DATABASE house" || die "no target database"
	ask target house -c "CREATE EXTENSION walhouse" \
		-c "CREATE SERVER bench FOREIGN DATA WRAPPER walhouse OPTIONS (host '$box/source', dbname 'shop')" \
		-c "CREATE USER MAPPING FOR CURRENT_USER SERVER bench OPTIONS (user 'bench')" || die "no server"
	for ((i = 1; i <= repeats; i++)); do
		from=$(now)
		ask target house -c "CALL walhouse.create_feed('bench', server => 'bench', tables => '{orders}')" || die "no copy"
		record resync seconds copy "$(echo "$(now) - $from" | bc)"
		ask source shop -c "SELECT pg_drop_replication_slot('bench')" >/dev/null || die "the slot stays"
		ask source shop -c "UPDATE orders SET status = 'changed $i' WHERE abs(hashint8(id)::bigint) % 1000 = $i" || die "no changes"
		from=$(now)
		ask target house -c "CALL walhouse.resync('bench')" || die "no resync"
		record resync seconds resync "$(echo "$(now) - $from" | bc)"
		[ "$(ask source shop -c "SELECT count(*) FROM orders WHERE status = 'changed $i'")" = \
			"$(ask target house -c "SELECT count(*) FROM bench_log.orders WHERE op = 'U'")" ] || die "not every change is in the log"
		[ "$(ask source shop -c "SELECT sum(hashtextextended(o::text, 0)) FROM orders o")" = \
			"$(ask target house -c "SELECT sum(hashtextextended(o::text, 0)) FROM bench.orders o")" ] || die "the mirror is not the source"
		ask target house -c "CALL walhouse.drop_feed('bench')" || die "the feed stays"
		say "resync: repeat $i of $repeats"
	done
}
# print_resync: both, and whether the goal is met.
print_resync()
{
	head_of_table "A lost slot, $resync_rows rows of which one in a thousand differs, seconds" "" "resync" "create_feed"
	row resync seconds resync copy %.1f "goal: at most $resync_goal"
}
