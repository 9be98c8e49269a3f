# steps.sh: those phases of the part `load` of test/bench/run in which no changes wait for several sides; it reads this file. Each has
# a source and a warehouse of its own.
#
# type2    changes of random members of a type-2 dimension, beside the statements by which dbt keeps a snapshot (strategy timestamp, of
#          dbt-postgres, without its start), which read the same mirror. The clock of the server runs: of the load, of ingest and load, of
#          the statements. KEYS="1000000 10000000": members; CHANGED=10000: how many of them change; 1% is a hundredth.
# build    a fact in monthly partitions, with three look-ups, filled from its mirror, beside COPY (binary) of the same rows, in the same
#          order, into the same partitions.
# batches  the worker takes transactions of 100 rows, one at a time: ingest, load and commits of each, by the CPU that the worker takes;
#          BATCHES=200 of them. Then twenty models more follow tables of the same feed: of which nothing comes (twenty), and of which a
#          row comes in each of these transactions (crowd). PERF=DIR: perf record of the worker, into DIR/batches.<which>.perf.
# latency  from the return of a commit at the source until its row is visible: in the star, while the worker runs, and in a copy by
#          built-in replication; SAMPLES=60 transactions, PAUSE=1 seconds apart.

keys=${KEYS:-$((scale * 5))} changed=${CHANGED:-$((scale / 20))} batches=${BATCHES:-200} samples=${SAMPLES:-60} pause=${PAUSE:-1}

# own_source STATEMENT...: an empty source, and what the statements make in it; an empty warehouse.
own_source()
{
	ask source postgres -c "DROP DATABASE IF EXISTS own" -c "CREATE DATABASE own" || die "no source database"
	ask source own -f load.sql -c "CREATE TABLE mark (at integer PRIMARY KEY)" "$@" >/dev/null || die "no source rows"
	ask target postgres -c "DROP DATABASE IF EXISTS own" -c "CREATE DATABASE own" || die "no target database"
	mark=0
}
own_rows="INSERT INTO customers SELECT i, 'customer ' || i, 'city ' || i % 500, 'standard' FROM generate_series(0, $customers - 1) i;
	INSERT INTO products SELECT i, 'product ' || i, 'category ' || i % 20 FROM generate_series(0, 999) i"
own_feed() { ask target own -f load_house.sql -v host="$box/source" -v db=own -v feed=star -v star="$1" >/dev/null || die "no feed"; }
# clear_own MODEL...: drops them and the feed, so that the slot goes.
clear_own()
{
	local model
	ask target own -c "DROP VIEW IF EXISTS awaited" || die "the view stays"
	for model; do ask target own -c "SELECT walhouse.drop_model('$model')" >/dev/null || die "$model stays"; done
	ask target own -c "CALL walhouse.drop_feed('star')" >/dev/null || die "the feed stays"
}
# timed SQL [FILE]: seconds that a statement takes by the clock of the server, and the CPU seconds of its process; with PERF, perf of it into
# FILE. timed_rate PHASE SIDE ROWS SQL records rows a second, and CPU in µs a row.
timed()
{
	local recorder="true"
	[ -z "${PERF:-}" ] || recorder="mkdir -p $PERF; perf record -q -F 1999 -e cpu-clock --call-graph dwarf,8192 -p \$PID -o $PERF/$2.perf >/dev/null 2>&1 </dev/null & sleep 0.5"
	ask target own <<-END | tail -n 3
		SELECT pg_backend_pid() AS pid \gset
		\setenv PID :pid
		\! $recorder
		\! awk '{print \$1 / 1e9}' /proc/\$PID/schedstat
		SELECT clock_timestamp() AS since \gset
		$1
		SELECT round(extract(epoch FROM clock_timestamp() - :'since'), 6);
		\! awk '{print \$1 / 1e9}' /proc/\$PID/schedstat
	END
}
# timed_there does the same in a session that stays, `house`, with what a worker of walhouse has: it has met the pages of shared memory
# before, and does not wait for its commits.
timed_there()
{
	local seconds
	profile "$house" "$2"
	[ -z "${PERF:-}" ] || sleep 3
	awk '{print $1 / 1e9}' "/proc/$house/schedstat"
	printf "SELECT clock_timestamp() AS since \\gset\n%s\nSELECT round(extract(epoch FROM clock_timestamp() - :'since'), 6);\n" "$1" >&"${talk_in[house]}"
	hear house seconds
	echo "$seconds"
	awk '{print $1 / 1e9}' "/proc/$house/schedstat"
}
timed_rate()
{
	local before seconds after wal how=${5:-timed}
	wal=$(ask target postgres -c "SELECT pg_current_wal_insert_lsn() - '0/0'")
	read -r before seconds after < <($how "$4" "${1// /_}.$2" | tr '\n' ' ')
	[ -n "$after" ] || die "$1: $2 has failed"
	record "load $1" "$2" wal "$(ask target postgres -c "SELECT round((pg_current_wal_insert_lsn() - '0/0' - $wal) / $3.0, 1)")"
	record "load $1" "$2" rate "$(echo "$3 $seconds" | awk '{print $1 / $2}')"
	record "load $1" "$2" cpu "$(echo "$3 $before $after" | awk '{print ($3 - $2) * 1e6 / $1}')"
	record "load $1" "$2" seconds "$seconds"
	say "repeat $repeat, $1: $2 took $seconds s, $(echo "$before $after" | awk '{print $2 - $1}') s of CPU"
}

# ---- type2

type2()
{
	local members repeat share=$changed changed house
	for members in $keys; do
		changed=$share
		[[ "$share" != *% ]] || changed=$((members * ${share%\%} / 100))
		own_source -c "CREATE TABLE members (member_id bigint PRIMARY KEY, name text NOT NULL, city text NOT NULL, segment text NOT NULL,
				updated_at timestamptz NOT NULL)" \
			-c "INSERT INTO members SELECT i, 'member ' || i, 'city ' || i % 500, 'standard', '2025-01-01 UTC' FROM generate_series(1, $members) i" \
			-c "CREATE PUBLICATION shop FOR TABLE members, customers, products, items"
		own_feed 0
		say "a dimension of $members members, and a snapshot by dbt"
		ask target own -c "CREATE SCHEMA dw" -c "SELECT walhouse.create_dimension('dw.member', 'SELECT member_id, name, city, segment FROM star.members',
				key => '{member_id}', scd => '{\"*\": 2, \"name\": 1}')" >/dev/null || die "no dimension"
		talk house target own
		printf "SET synchronous_commit = off;\nCALL walhouse.run('star');\nVACUUM ANALYZE dw.member, star.members;\nSELECT pg_backend_pid();\n" >&"${talk_in[house]}"
		hear house house
		ask target own -f dbt_first.sql >/dev/null || die "no snapshot"
		for repeat in $(seq "$repeats"); do
			ask source own -c "CALL do_members($members, $changed, $repeat)" || die "the source refuses"
			ask target postgres -c CHECKPOINT
			timed_rate "type2 $members" ingest "$changed" "CALL walhouse.ingest('star');" timed_there
			if [ $((repeat % 2)) = 1 ]; then
				timed_rate "type2 $members" load "$changed" "CALL walhouse.load('star');" timed_there
				timed_rate "type2 $members" dbt "$changed" "\\i dbt.sql"
			else
				timed_rate "type2 $members" dbt "$changed" "\\i dbt.sql"
				timed_rate "type2 $members" load "$changed" "CALL walhouse.load('star');" timed_there
			fi
			record "load type2 $members" both rate "$(tail -n 20 "$results" | awk -F '|' -v n="$changed" \
				'$3 == "seconds" && $2 != "dbt" {s[$2] = $4} END {print n / (s["ingest"] + s["load"])}')"
			record "load type2 $members" both cpu "$(tail -n 20 "$results" | awk -F '|' '$3 == "cpu" && $2 != "dbt" {s[$2] = $4} END {print s["ingest"] + s["load"]}')"
			record "load type2 $members" rows rows "$changed"
		done
		[ "$(ask target own -c "SELECT count(*) FROM dw.member WHERE member_sk > 0")" = $((members + changed * repeats)) ] ||
			die "the dimension does not have the versions"
		[ "$(ask target own -c "SELECT count(*), count(*) FILTER (WHERE dbt_valid_to IS NULL) FROM dbt.member")" = "$((members + changed * repeats))|$members" ] ||
			die "the snapshot does not have the versions"
		[ "$(ask target own -c "SELECT count(*) FROM dw.member d JOIN dbt.member s USING (member_id) WHERE d.is_current AND s.dbt_valid_to IS NULL
			AND d.city = s.city")" = "$members" ] || die "dimension and snapshot differ"
		hang_up house
		clear_own dw.member
	done
}

# ---- build

build()
{
	local repeat query columns order
	own_source -c "$own_rows" -c "INSERT INTO items SELECT * FROM item_rows(0, $scale, $customers)" \
		-c "CREATE PUBLICATION shop FOR TABLE customers, products, items"
	own_feed 1
	ask target own -c "CREATE TABLE public.sales (LIKE dw.sales INCLUDING ALL) PARTITION BY RANGE (ordered_at)" || die "no table to copy into"
	ask target own <<-'END' || die "no partitions to copy into"
		SELECT format('CREATE TABLE public.%I PARTITION OF public.sales %s', c.relname, pg_get_expr(c.relpartbound, c.oid))
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'dw.sales'::regclass \gexec
	END
	ask target own -c "COPY (SELECT * FROM dw.sales ORDER BY order_id, line_no) TO '$box/sales.copy' (FORMAT binary)" || die "no rows to copy"
	for repeat in $(seq "$repeats"); do
		ask target own -c "SELECT walhouse.drop_model('dw.sales')" >/dev/null || die "the fact stays"
		ask target own -f load_fact.sql >/dev/null || die "no fact"
		ask target own -c "TRUNCATE public.sales" -c CHECKPOINT
		record "load build" rows rows "$scale"
		for side in $([ $((repeat % 2)) = 1 ] && echo build copy || echo copy build); do
			case $side in
				build) timed_rate build build "$scale" "CALL walhouse.build('dw.sales');" ;;
				copy) timed_rate build copy "$scale" "COPY public.sales FROM '$box/sales.copy' (FORMAT binary);" ;;
			esac
			ask target postgres -c CHECKPOINT
		done
		[ "$(ask target own -c "SELECT count(*), sum(amount), sum(customer_sk) FROM dw.sales")" = \
			"$(ask target own -c "SELECT count(*), sum(amount), sum(customer_sk) FROM public.sales")" ] || die "the fact is not the copy"
	done
	clear_own dw.sales dw.customer dw.product dw.date
}

# ---- A worker that runs

# talk NAME SERVER DATABASE: a session to speak with: say_to NAME SQL, hear NAME; hang_up NAME ends it.
declare -A talk_in talk_out
talk()
{
	local fifo=$box/talk.$1 in out
	rm -f "$fifo".*
	mkfifo "$fifo.in" "$fifo.out"
	ask "$2" "$3" <"$fifo.in" >"$fifo.out" &
	exec {in}>"$fifo.in" {out}<"$fifo.out"
	talk_in[$1]=$in talk_out[$1]=$out
}
say_to() { echo "$2" >&"${talk_in[$1]}"; }
hear() { read -r "$2" <&"${talk_out[$1]}"; }
hang_up()
{
	local in=${talk_in[$1]} out=${talk_out[$1]}
	exec {in}>&- {out}<&-
}

# start_own: the worker runs; its process is $worker.
start_own()
{
	local i
	worker=
	ask target own -c "SELECT walhouse.start('star')" >/dev/null || die "the worker does not start"
	for i in $(seq 300); do
		worker=$(ask target own -c "SELECT stream_pid FROM walhouse.stat_feed WHERE worker = 'running' AND stream_pid IS NOT NULL")
		[ -z "$worker" ] || return 0
		sleep 0.1
	done
	die "the worker does not run"
}
stop_own()
{
	ask target own -c "SELECT walhouse.stop('star')" >/dev/null || die "the worker stays"
	slot_is_free "$(ask target own -c "SELECT slot FROM walhouse.feed")"
}
cpu() { awk '{print $1 / 1e9}' "/proc/$1/schedstat"; }

# exchange FROM N ROWS PAUSE OTHERS: N transactions of ROWS rows and an update of so many other tables, each when the one before is seen;
# prints the milliseconds that each took from the return of its commit until it was seen.
exchange()
{
	local i sent seen
	for i in $(seq "$1" $(($1 + $2 - 1))); do
		say_to there "CALL do_await($i, $3);"
		[ "$4" = 0 ] || sleep "$4"
		say_to here "CALL do_send($i, $3, $customers, $5);"
		hear here sent && hear there seen || die "transaction $i is not seen"
		echo "$seen $sent" | awk '{printf "%.3f\n", ($1 - $2) * 1000}'
	done
}

# ---- batches

batches()
{
	local repeat table i others="" tables="" models=""
	for i in $(seq 20); do
		others+="CREATE TABLE other_$i (id bigint PRIMARY KEY, name text, city text); INSERT INTO other_$i SELECT n, 'name', 'city' FROM generate_series(1, 1000) n;"
		tables+=", other_$i"
		models+="SELECT walhouse.create_dimension('dw.other_$i', 'SELECT id, name, city FROM star.other_$i', key => '{id}');"
	done
	for repeat in $(seq "$repeats"); do
		own_source -c "$own_rows" -c "$others" -c "CREATE PUBLICATION shop FOR TABLE customers, products, items$tables"
		own_feed 1
		ask target own -f load_await.sql -v relation=dw.sales >/dev/null || die "nothing to wait for"
		talk here source own
		talk there target own
		batch batches 0 0
		ask target own -c "$models" -c "CALL walhouse.run('star')" >/dev/null || die "no more models"
		batch twenty 100000 0
		batch crowd 200000 20
		hang_up here
		hang_up there
		[ "$(ask target own -c "SELECT count(*) FROM dw.sales")" = $((3 * 100 * (batches + 20))) ] || die "the fact does not have the rows"
		clear_own dw.sales dw.customer dw.product dw.date $(for i in $(seq 20); do echo dw.other_$i; done)
	done
}
# batch NAME FROM OTHERS: what the worker takes for a transaction. The first ones are not counted.
batch()
{
	local start loads
	# One process does it all: the one that is measured.
	ask target postgres -c "ALTER SYSTEM SET walhouse.parallel_load = off" -c "SELECT pg_reload_conf()" >/dev/null || die "no setting"
	start_own
	exchange "$2" 20 100 0 "$3" >/dev/null
	loads=$(ask target own -c "SELECT count(*) FROM walhouse.load")
	profile "$worker" "batches.$1"
	start=$(cpu "$worker")
	exchange $(($2 + 20)) "$batches" 100 0 "$3" >"$box/latencies"
	record "load batches" "$1" cpu "$(echo "$(cpu "$worker") $start $batches" | awk '{print ($1 - $2) * 1000 / $3}')"
	record "load batches" "$1" loads "$(echo "$(ask target own -c "SELECT count(*) FROM walhouse.load") $loads $batches" | awk '{print ($1 - $2) / $3}')"
	record "load batches" "$1" seen "$(sort -g "$box/latencies" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')"
	record "load batches" rows rows "$batches"
	say "repeat $repeat, $1: $(tail -n 3 "$results" | tr '\n' ' ')"
	stop_own
	ask target postgres -c "ALTER SYSTEM RESET walhouse.parallel_load" -c "SELECT pg_reload_conf()" >/dev/null
}

# ---- latency

latency()
{
	local repeat side
	for repeat in $(seq "$repeats"); do
		own_source -c "$own_rows" -c "CREATE PUBLICATION shop FOR TABLE customers, products, items"
		own_feed 1
		ask target postgres -c "DROP DATABASE IF EXISTS copy" -c "CREATE DATABASE copy" || die "no target database"
		ask target copy -f load.sql || die "no tables to copy into"
		ask source own -c "SELECT pg_create_logical_replication_slot('own_copy', 'pgoutput')" >/dev/null || die "no slot"
		ask target copy -c "CREATE SUBSCRIPTION own_copy CONNECTION 'host=$box/source dbname=own user=bench' PUBLICATION shop
			WITH (create_slot = false, slot_name = 'own_copy', copy_data = false, binary = true, enabled = false)" >/dev/null || die "no subscription"
		talk here source own
		for side in $([ $((repeat % 2)) = 1 ] && echo star copy || echo copy star); do
			latency_of "$side"
		done
		hang_up here
		ask target copy -c "DROP SUBSCRIPTION own_copy" >/dev/null 2>&1 || die "the subscription stays"
		clear_own dw.sales dw.customer dw.product dw.date
	done
}
latency_of()
{
	local database=own relation=dw.sales from=0
	[ "$1" = star ] || database=copy relation=items from=100000
	ask target $database -f load_await.sql -v relation=$relation >/dev/null || die "nothing to wait for"
	if [ "$1" = star ]; then start_own; else ask target copy -c "ALTER SUBSCRIPTION own_copy ENABLE"; fi
	talk there target $database
	exchange $from 5 1 0 0 >/dev/null
	exchange $((from + 5)) "$samples" 1 "$pause" 0 | sort -g >"$box/latencies"
	awk -v side="$1" '{v[NR] = $1} END {printf "load latency|%s|median|%s\nload latency|%s|p99|%s\n",
		side, v[int((NR + 1) / 2)], side, v[int(NR * 0.99) == NR * 0.99 ? NR * 0.99 : int(NR * 0.99) + 1]}' "$box/latencies" >>"$results"
	record "load latency" rows rows "$samples"
	say "repeat $repeat, latency: $(tail -n 3 "$results" | tr '\n' ' ')"
	hang_up there
	if [ "$1" = star ]; then
		stop_own
	else
		ask target copy -c "ALTER SUBSCRIPTION own_copy DISABLE"
		slot_is_free own_copy
	fi
}
