# load.sh: the part `load` of test/bench/run, which reads this file: changes of a shop into a plain copy, into change log and
# mirrors, into a star, and into a star kept by triggers.
#
# The same changes wait in a slot for each side; each takes them in turn, while the others are idle, beginning with another one in
# each repeat. The clock runs from the start until the last change is committed. CPU is what the scheduler counted for the process that
# applies (the star's: feed worker and load worker together, and so their memory), source CPU what the source's walsender took (its server counts in hundredths of a second); WAL is the target's.
#   SIDES    which: copy ingest star triggers     PHASES   which: inserts big updates small moves deletes, and those of steps.sh:
#            type2 build batches latency
#   PERF=DIR  perf record of each side's process while it works, into DIR/<phase>.<side>.perf

sides=${SIDES:-copy ingest star triggers}
phases=${PHASES:-inserts big updates small moves deletes type2 build batches latency}

# set_up_load: the source's tables with their first rows, and each side, with its slot.
set_up_load()
{
	local side
	ask source postgres -c "DROP DATABASE IF EXISTS shop" -c "CREATE DATABASE shop" \
		-c "ALTER DATABASE shop SET logical_decoding_work_mem = '16MB'" || die "no source database"
	ask source shop -f load.sql || die "no source tables"
	ask source shop -c "INSERT INTO customers SELECT i, 'customer ' || i, 'city ' || i % 500, 'standard' FROM generate_series(0, $customers - 1) i" \
		-c "INSERT INTO products SELECT i, 'product ' || i, 'category ' || i % 20 FROM generate_series(0, 999) i" \
		-c "CREATE TABLE mark (at integer PRIMARY KEY)" -c "INSERT INTO mark VALUES (0)" \
		-c "CREATE PUBLICATION shop FOR TABLE customers, products, items, mark" || die "no source rows"
	for side in $sides; do
		ask target postgres -c "DROP DATABASE IF EXISTS $side" -c "CREATE DATABASE $side" || die "no target database"
		case $side in
			copy | triggers) set_up_subscription "$side" ;;
			ingest) ask target ingest -f load_house.sql -v host="$box/source" -v db=shop -v feed=ingest -v star=0 >/dev/null || die "no feed" ;;
			star) ask target star -f load_house.sql -v host="$box/source" -v db=shop -v feed=star -v star=1 >/dev/null || die "no star" ;;
			*) die "SIDES are of: copy ingest star triggers" ;;
		esac
	done
}
set_up_subscription()
{
	local table
	ask target "$1" -f load.sql -c "CREATE TABLE mark (at integer PRIMARY KEY)" || die "no tables to copy into"
	ask source shop -c "SELECT pg_create_logical_replication_slot('$1', 'pgoutput')" >/dev/null || die "no slot"
	ask target "$1" -c "CREATE SUBSCRIPTION $1 CONNECTION 'host=$box/source dbname=shop user=bench' PUBLICATION shop
		WITH (create_slot = false, slot_name = '$1', copy_data = false, binary = true, streaming = true, enabled = false)" >/dev/null ||
		die "no subscription"
	for table in customers products mark; do
		ask source shop -c "COPY $table TO STDOUT" | ask target "$1" -c "COPY $table FROM STDIN" || die "no first copy"
	done
	[ "$1" != triggers ] || ask target triggers -f load_triggers.sql -c "INSERT INTO dw.customer (customer_id, name, city, segment, valid_from)
		SELECT customer_id, name, city, segment, '-infinity' FROM customers" -c "INSERT INTO dw.product (product_id, name, category)
		SELECT product_id, name, category FROM products" >/dev/null || die "no triggers"
}
clear_load()
{
	local side
	for side in $sides; do
		case $side in
			copy | triggers) ask target "$side" -c "DROP SUBSCRIPTION $side" >/dev/null 2>&1 || die "the subscription stays" ;;
			ingest) ask target ingest -c "CALL walhouse.drop_feed('ingest')" >/dev/null || die "the feed stays" ;;
			star) ask target star -c "SELECT walhouse.drop_model(m) FROM unnest('{dw.sales,dw.customer,dw.product,dw.date}'::regclass[]) m" \
				-c "CALL walhouse.drop_feed('star')" >/dev/null || die "the feed stays" ;;
		esac
	done
}

# profile PID FILE: perf of a process while it works, where PERF names a folder.
profile()
{
	[ -n "${PERF:-}" ] || return 0
	mkdir -p "$PERF"
	perf record -q -F 1999 -e cpu-clock --call-graph dwarf,8192 -p "$1" -o "$PERF/${2// /_}.perf" >/dev/null 2>&1 </dev/null &
}

# process PID: its CPU in seconds, and the most memory that it had of its own, in MB.
process()
{
	awk '{print $1 / 1e9}' "/proc/$1/schedstat" &&
		awk '/^VmHWM|^RssFile|^RssShmem/ {v[$1] = $2} END {print (v["VmHWM:"] - v["RssFile:"] - v["RssShmem:"]) / 1024}' "/proc/$1/status"
}

# take_copy PHASE and so on: bring a side up to the mark that the last transaction has set; print seconds, CPU seconds, MB.
take_copy() { take_subscription copy "$1"; }
take_triggers() { take_subscription triggers "$1"; }

take_subscription()
{
	local from took pid
	from=$(now)
	ask target "$1" -c "ALTER SUBSCRIPTION $1 ENABLE" || return
	if [ -n "${PERF:-}" ]; then
		until [ -n "${pid:-}" ]; do pid=$(subscription_pid "$1") || return; done
		profile "$pid" "$2.$1"
	fi
	ask target "$1" <<-END >/dev/null || return
		DO \$\$
		BEGIN
			FOR i IN 1 .. 600000 LOOP
				IF EXISTS (SELECT FROM public.mark WHERE at = $mark) THEN
					RETURN;
				END IF;
				COMMIT;
				PERFORM pg_sleep(0.003);
			END LOOP;
			RAISE EXCEPTION 'the subscription does not catch up';
		END \$\$;
	END
	took=$(echo "$(now) $from" | awk '{print $1 - $2}')
	pid=$(subscription_pid "$1") && echo "$took" $(process "$pid") || return
	ask target "$1" -c "ALTER SUBSCRIPTION $1 DISABLE" || return
	slot_is_free "$1"
}
subscription_pid() { ask target "$1" -c "SELECT pid FROM pg_stat_subscription WHERE subname = '$1' AND pid IS NOT NULL"; }

# take_ingest PHASE: by a session of its own, whose process is measured.
take_ingest()
{
	local from pid box_of=$box/session
	rm -f "$box_of".*
	mkfifo "$box_of.in" "$box_of.out"
	ask target ingest <"$box_of.in" >"$box_of.out" &
	exec 8>"$box_of.in" 9<"$box_of.out"
	echo "SELECT pg_backend_pid();" >&8
	read -r pid <&9 || return
	profile "$pid" "$1.ingest"
	from=$(now)
	printf "CALL walhouse.ingest('ingest');\nSELECT 'done';\n" >&8
	read -r _ <&9 || return
	echo "$(now) $from" | awk '{print $1 - $2}'
	process "$pid"
	exec 8>&- 9<&-
	slot_is_free "$(ask target ingest -c "SELECT slot FROM walhouse.feed")"
}

# take_star PHASE: by the feed's workers, so that loads go on beside ingest.
take_star()
{
	local from took lsn pid
	lsn=$(ask source shop -c "SELECT pg_current_wal_insert_lsn()") || return
	from=$(now)
	ask target star -c "SELECT walhouse.start('star')" >/dev/null || return
	[ -z "${PERF:-}" ] || profile_workers "$1" &
	ask target star -c "SELECT walhouse.wait_for('star', '$lsn', '1 hour')" >/dev/null || return
	took=$(echo "$(now) $from" | awk '{print $1 - $2}')
	echo "$took" $(for pid in $(worker_pids); do process "$pid"; done | awk '{v[NR % 2] += $1} END {print v[1], v[0]}')
	ask target star -c "SELECT walhouse.stop('star')" >/dev/null || return
	while [ -n "$(worker_pids)" ]; do sleep 0.05; done
	slot_is_free "$(ask target star -c "SELECT slot FROM walhouse.feed")"
}
worker_pids() { ask target star -c "SELECT pid FROM pg_stat_activity WHERE backend_type IN ('walhouse feed worker', 'walhouse load worker') ORDER BY backend_type"; }
# profile_workers PHASE: those that come within two seconds.
profile_workers()
{
	local i pid seen=" "
	for i in $(seq 100); do
		for pid in $(worker_pids); do
			[[ "$seen" == *" $pid "* ]] || profile "$pid" "$1.star.$pid"
			seen+="$pid "
		done
		sleep 0.02
	done
}

# slot_is_free SLOT: waits until its walsender has ended.
slot_is_free()
{
	ask source postgres >/dev/null <<-END
		DO \$\$
		BEGIN
			WHILE EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$1' AND active) LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END \$\$;
	END
}

# children SERVER: CPU seconds of the processes of a server that have ended.
children() { awk -v hz="$(getconf CLK_TCK)" '{sub(/.*\) /, ""); print ($14 + $15) / hz}' "/proc/$(head -n 1 "$box/$1.data/postmaster.pid")/stat"; }

# measure PHASE ROWS STATEMENT: the changes, then each side in its turn.
measure()
{
	local turn side seconds cpu memory wal sender names
	read -ra names <<<"$sides"
	record "load $1" rows rows "$2"
	ask source shop -c "$3" || die "$1: the source refuses"
	mark=$((mark + 1))
	ask source shop -c "UPDATE mark SET at = $mark" -c CHECKPOINT || die "no last change"
	for turn in $(seq "${#names[@]}"); do
		side=${names[(turn + repeat - 2) % ${#names[@]}]}
		ask target postgres -c CHECKPOINT
		wal=$(ask target postgres -c "SELECT pg_current_wal_insert_lsn() - '0/0'")
		sender=$(children source)
		read -r seconds cpu memory < <(echo $(take_$side "$1"))
		[ -n "$memory" ] || die "$1: $side has failed"
		record "load $1" $side rate "$(echo "$2 $seconds" | awk '{print $1 / $2}')"
		record "load $1" $side cpu "$(echo "$2 $cpu" | awk '{print $2 * 1e6 / $1}')"
		record "load $1" $side sender "$(echo "$2 $(children source) $sender" | awk '{print ($2 - $3) * 1e6 / $1}')"
		record "load $1" $side wal "$(ask target postgres -c "SELECT round((pg_current_wal_insert_lsn() - '0/0' - $wal) / $2.0, 1)")"
		record "load $1" $side memory "$memory"
		say "repeat $repeat, $1: $side took $seconds s, $cpu s of CPU"
	done
}

# check_load: what each side holds is what the source holds.
check_load()
{
	local table want side digest="SELECT count(*), sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint) FROM"
	for table in customers products items; do
		want=$(ask source shop -c "$digest $table t") || die "cannot compare"
		for side in $sides; do
			[ "$want" = "$(ask target "$side" -c "SET search_path = $side, public" -c "$digest $table t")" ] ||
				die "$side does not have what $table has"
		done
	done
	for side in star triggers; do
		[[ " $sides " == *" $side "* ]] || continue
		want=$(ask source shop -c "SELECT count(*), sum(quantity), sum(quantity * unit_price) FROM items")
		[ "$want" = "$(ask target $side -c "SELECT count(*), sum(quantity), sum(amount) FROM dw.sales WHERE customer_sk > 0 AND product_sk > 0 AND date_sk > 0")" ] ||
			die "the fact of $side is not the source"
	done
	[[ " $sides " != *" star "* ]] || [ "$(ask target star -c "SELECT sum(missing + unexpected + different) FROM walhouse.verify()")" = 0 ] ||
		die "verify finds differences"
}

bring_in()
{
	local mark=0 phase own="" shared=""
	for phase in $phases; do
		case $phase in
			inserts | big | updates | small | moves | deletes) shared+=" $phase" ;;
			type2 | build | batches | latency) own+=" $phase" ;;
			*) die "PHASES are of: inserts big updates small moves deletes type2 build batches latency" ;;
		esac
	done
	for repeat in $([ -z "$shared" ] || seq "$repeats"); do
		set_up_load
		mark=0
		for phase in $shared; do
			case $phase in
				inserts) measure inserts "$scale" "CALL do_inserts($scale, $customers)" ;;
				big) measure big "$scale" "CALL do_big($scale, $customers)" ;;
				updates) measure updates $((scale / 2)) "CALL do_updates($((scale / 2)))" ;;
				small) measure small $((scale / 4)) "CALL do_small($((scale / 4)), $customers)" ;;
				moves) measure moves $((scale / 4)) "CALL do_moves($((scale / 4)), $customers)" ;;
				deletes) measure deletes $((scale / 4)) "CALL do_deletes($((scale / 4)))" ;;
			esac
		done
		check_load
		clear_load
	done
	for phase in $own; do $phase; done
}
