# partition.sh: the part `partition` of test/bench/run; it reads this file. Partition sets beside pg_partman (the distribution's, where there
# is one) and beside a bare loop of LIKE and ATTACH, taking turns, on tables with a primary key and two indexes.
#
# idle     a tick while nothing is due: CALL walhouse.maintain_partitions(), SELECT partman.run_maintenance(); SETS="1x500 1x2000 100x50":
#          sets and partitions of each. The median of TICKS=20 in one session, after one that is not counted. What the worker does while
#          nothing is due is less: nothing.
# make     30 partitions more for a table with EXISTING=100: maintain_partitions(table), with the start of its process and a transaction for
#          each; run_maintenance(table); the loop, in one transaction.
# retire   30 of MANY=500 partitions with rows: detached concurrently and dropped; run_maintenance(table) with a retention; and the same
#          statements, DETACH CONCURRENTLY and DROP, sent by psql in a session that is open: the loop.
# life     pgbench inserts and selects (4 clients) while partitions are made, sealed, detached and dropped, each statement with a
#          lock_timeout of 250 ms: statements, and how many of them waited longer.

ticks=${TICKS:-20} sets=${SETS:-1x500 1x2000 100x50} existing=${EXISTING:-100} many=${MANY:-500}
part_sides="walhouse loop"
part() { ask target parts "$@"; }
# the columns of each table, and statements that make one partition of a day (days from today) by LIKE and ATTACH.
part_columns="id bigint NOT NULL, at timestamptz NOT NULL, customer int, amount numeric, note text, PRIMARY KEY (id, at)"
part_house="
CREATE FUNCTION new_table(name text) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
	EXECUTE format('CREATE TABLE %I ($part_columns) PARTITION BY RANGE (at)', name);
	EXECUTE format('CREATE INDEX ON %I (customer)', name);
	EXECUTE format('CREATE INDEX ON %I (at)', name);
END \$\$;
CREATE PROCEDURE loop_days(name text, since int, upto int) LANGUAGE plpgsql AS \$\$
DECLARE
	day date;
BEGIN
	FOR i IN since .. upto LOOP
		day := (now() AT TIME ZONE 'UTC')::date + i;
		EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', name || to_char(day, '_pYYYY_MM_DD'), name);
		EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, name || to_char(day, '_pYYYY_MM_DD'),
			day || ' 00:00+00', day + 1 || ' 00:00+00');
	END LOOP;
END \$\$;
CREATE FUNCTION own_by_partman(name text, made_ahead int) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM partman.create_parent('public.' || name, 'at', 'native', 'daily', p_premake := 1);
	UPDATE partman.part_config SET premake = made_ahead, infinite_time_partitions = true WHERE parent_table = 'public.' || name;
END \$\$"

new_parts()
{
	ask target postgres -c "DROP DATABASE IF EXISTS parts" -c "CREATE DATABASE parts" || die "no database"
	part -c "CREATE EXTENSION walhouse" -c "$part_house" >/dev/null || die "no functions"
	if [[ $part_sides == *partman* ]]; then
		part -c "CREATE SCHEMA partman" -c "CREATE EXTENSION pg_partman SCHEMA partman" >/dev/null || die "no pg_partman"
	fi
}
# timed_part STATEMENT [TIMES]: seconds of each by the clock of the session.
timed_part()
{
	local i
	{
		for i in $(seq "${2:-1}"); do
			printf 'SELECT clock_timestamp() AS since \\gset\n%s \\g /dev/null\n' "$1"
			printf "SELECT extract(epoch FROM clock_timestamp() - :'since');\n"
		done
	} | part
}
median_of() { sort -g | awk '{v[NR] = $1} END {print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2}'; }
# part_turn PHASE SIDE STATEMENT: time it once, and record the milliseconds.
part_turn()
{
	local seconds
	seconds=$(timed_part "$3") || die "$1: $2 has failed"
	record partition "$1" "$2" "$(echo "$seconds" | awk '{print $1 * 1000}')"
	say "repeat $repeat, $1: $2 took $seconds s"
}
# in_turn: the sides, beginning with another one in each repeat.
in_turn() { local s=($part_sides) i; for i in "${!s[@]}"; do echo "${s[$(((i + repeat) % ${#s[@]}))]}"; done; }

idle()
{
	local shape count each side repeat ms
	for shape in $sets; do
		count=${shape%x*} each=${shape#*x}
		new_parts
		for side in ${part_sides/loop/}; do
			part >/dev/null <<-END || die "no sets of $side"
				SELECT new_table('$side' || i) FROM generate_series(1, $count) i;
				SELECT format('CALL loop_days(%L, %s, 9)', '$side' || i, 10 - $each) FROM generate_series(1, $count) i \gexec
			END
			if [ "$side" = walhouse ]; then
				part -c "SELECT walhouse.create_partition_set(('walhouse' || i)::regclass, 'day') FROM generate_series(1, $count) i" \
					-c "CALL walhouse.maintain_partitions()" >/dev/null || die "no sets"
			else
				part -c "SELECT own_by_partman('partman' || i, 4) FROM generate_series(1, $count) i" -c "SELECT partman.run_maintenance()" >/dev/null || die "no parents"
			fi
		done
		for repeat in $(seq "$repeats"); do
			for side in $(in_turn); do
				case $side in
					walhouse) ms=$(timed_part "CALL walhouse.maintain_partitions()" $((ticks + 1))) ;;
					partman) ms=$(timed_part "SELECT partman.run_maintenance()" $(((ticks + 9) / 10 + 1))) ;;
					*) continue ;;
				esac || die "idle: $side has failed"
				ms=$(tail -n +2 <<<"$ms" | median_of | awk '{print $1 * 1000}')
				record partition "idle $shape" "$side" "$ms"
				say "repeat $repeat, idle $shape: $side took $ms ms"
			done
		done
	done
}

make_more()
{
	local side repeat
	for repeat in $(seq "$repeats"); do
		new_parts
		for side in $(in_turn); do
			part -c "SELECT new_table('$side')" -c "CALL loop_days('$side', 1 - $existing, 0)" >/dev/null || die "no table"
			case $side in
				walhouse)
					part -c "ALTER SYSTEM SET walhouse.worker = off" -c "SELECT pg_reload_conf()" \
						-c "SELECT walhouse.create_partition_set('walhouse', 'day', lead_count => 30)" >/dev/null
					part_turn make walhouse "CALL walhouse.maintain_partitions('walhouse')" ;;
				loop) part_turn make loop "CALL loop_days('loop', 1, 30)" ;;
				partman)
					part -c "SELECT own_by_partman('partman', 31)" >/dev/null || die "no parent"
					part_turn make partman "SELECT partman.run_maintenance('public.partman')" ;;
			esac
		done
		[ "$(part -c "SELECT count(*) - $existing FROM pg_inherits WHERE inhparent = 'walhouse'::regclass")" = 30 ] || die "not 30 were made"
	done
}

retire()
{
	local side repeat
	for repeat in $(seq "$repeats"); do
		new_parts
		for side in $(in_turn); do
			part -c "SELECT new_table('$side')" -c "CALL loop_days('$side', 1 - $many, 4)" \
				-c "INSERT INTO $side SELECT i, now() - (i % $many) * interval '1 day', i, i, 'note' FROM generate_series(1, $many * 20) i" >/dev/null || die "no table"
			if [ "$side" = walhouse ]; then
				part -c "SELECT walhouse.create_partition_set('walhouse', 'day')" -c "CALL walhouse.maintain_partitions('walhouse')" \
					-c "SELECT walhouse.alter_partition_set('walhouse', '{\"retire_after\": \"$((many - 31)) days\"}')" >/dev/null || die "no set"
				part_turn retire walhouse "CALL walhouse.maintain_partitions('walhouse')"
			elif [ "$side" = loop ]; then
				part_turn retire loop "$(detach_and_drop loop $((1 - many)) $((30 - many)))"
			else
				part -c "SELECT own_by_partman('partman', 4)" -c "SELECT partman.run_maintenance('public.partman')" \
					-c "UPDATE partman.part_config SET retention = '$((many - 31)) days', retention_keep_table = false" >/dev/null || die "no parent"
				part_turn retire partman "SELECT partman.run_maintenance('public.partman')"
			fi
			say "$side: $(part -c "SELECT count(*) FROM pg_inherits WHERE inhparent = '$side'::regclass") partitions are left"
		done
	done
}

# detach_and_drop TABLE SINCE UPTO: the statements that retire its partitions of those days.
detach_and_drop()
{
	part <<-END
		SELECT string_agg(format('ALTER TABLE %1\$I DETACH PARTITION %2\$I CONCURRENTLY; DROP TABLE %2\$I', '$1',
			'$1' || to_char((now() AT TIME ZONE 'UTC')::date + i, '_pYYYY_MM_DD')), '; ' ORDER BY i) FROM generate_series($2, $3) i;
	END
}

# life: the whole cycle of 40 days, one after another, beside pgbench.
life()
{
	local bench seconds=${LIFE:-20} since waited
	new_parts
	part -c "SELECT new_table('life')" -c "SELECT walhouse.create_partition_set('life', 'day', lead_count => 3, outside => 'create', seal_after => '1 day', retire_after => '3 days')" \
		-c "CALL walhouse.maintain_partitions('life')" >/dev/null || die "no set"
	cat >"$box/life.pgbench" <<-'END'
		\set i random(1, 1000000000)
		INSERT INTO life VALUES (:i, now(), :i % 1000, :i, 'n') ON CONFLICT DO NOTHING;
		SELECT count(*) FROM life WHERE at > now() - interval '1 second';
		SELECT count(*) FROM life WHERE customer = :i % 1000;
	END
	since=$(wc -l <"$box/target.log")
	PGOPTIONS="-c lock_timeout=250ms" pgbench -n -h "$box/target" -U bench -f "$box/life.pgbench" -c 4 -T "$seconds" --max-tries=1 parts >"$box/life.out" 2>&1 &
	bench=$!
	# From ten days back to today: each day is made, sealed, detached and dropped while rows come in.
	for day in $(seq -30 0); do
		kill -0 $bench 2>/dev/null || break
		part -c "SELECT walhouse.make_partition('life', (now() + $day * interval '1 day')::text) WHERE $day < -3" \
			-c "CALL walhouse.maintain_partitions('life', now())" >/dev/null 2>&1
	done
	wait $bench || { tail -n 5 "$box/life.out" >&2; die "pgbench has failed"; }
	waited=$(tail -n +$((since + 1)) "$box/target.log" | grep -c 'lock timeout' || true)
	record partition life statements "$(awk '/number of transactions actually processed/ {print $6 * 3}' "$box/life.out")"
	record partition life dropped "$(part -c "SELECT count(*) FROM walhouse.partition_event WHERE step = 'drop'")"
	record partition life waited "$(grep -cE 'lock timeout' "$box/life.out" || true)"
	record partition life all_timeouts "$waited"
}

# call_timed NAME STATEMENT: seconds, and how long the table was locked as the notice says.
call_timed()
{
	local since ms
	since=$(now)
	OPTIONS="-c client_min_messages=notice" part -c "$2" 2>"$box/call.err" || { cat "$box/call.err" >&2; die "$1 has failed"; }
	ms=$(sed -n 's/.*locked for \([0-9]*\) ms.*/\1/p' "$box/call.err")
	record partition convert "$1" "$(awk -v a="$since" -v b="$(now)" 'BEGIN {printf "%.1f s, locked for", b - a}') $ms ms"
	say "$1: $ms ms locked"
}

convert()
{
	local rows=${CONVERT_ROWS:-5000000} bench sums="count(*), sum(hashtextextended(concat_ws('|', id, at, customer, amount, note), 0))" day since
	new_parts
	ask target postgres -c "ALTER SYSTEM SET log_lock_waits = on" -c "ALTER SYSTEM SET deadlock_timeout = '10ms'" -c "ALTER SYSTEM SET log_line_prefix = '%a '" \
		-c "SELECT pg_reload_conf()" >/dev/null
	part >/dev/null <<-END || die "no table"
		CREATE TABLE events (id bigint, at timestamptz NOT NULL, customer int, amount numeric, twice int GENERATED ALWAYS AS (customer * 2) STORED, note text, PRIMARY KEY (id, at));
		INSERT INTO events (id, at, customer, amount, note) SELECT i, now() - interval '20 days' + i * interval '20 days' / $rows, i % 1000, i / 7.0, 'note ' || i FROM generate_series(1, $rows) i;
		CREATE INDEX ON events (at);
		CREATE INDEX ON events (customer);
		CREATE TABLE events_shadow AS SELECT id, at, customer, amount, note FROM events;
		ALTER TABLE events_shadow ADD PRIMARY KEY (id, at);
		CREATE SEQUENCE events_ids START $((rows + 1));
		VACUUM ANALYZE events, events_shadow;
	END
	say "$rows rows are there"
	since=$(wc -l <"$box/target.log")
	PGAPPNAME=load pgbench -n -h "$box/target" -U bench -f ../lib/partition_load.pgbench -c 4 -T 36000 --max-tries=100 parts >"$box/convert.out" 2>&1 &
	bench=$!
	sleep 2
	call_timed convert "CALL walhouse.convert_to_partitions('events', 'at', 'day')"
	call_timed split "CALL walhouse.split_partition('events_whole')"
	day=$(part -c "SELECT (now() AT TIME ZONE 'UTC')::date")
	call_timed merge "CALL walhouse.merge_partitions('events', date '$day' - 18 || ' 00:00+00', date '$day' - 8 || ' 00:00+00')"
	sleep 2
	kill -0 $bench 2>/dev/null || { tail -n 5 "$box/convert.out" >&2; die "pgbench has failed"; }
	kill -TERM $bench
	wait $bench
	record partition convert inserted "$(part -c "SELECT last_value - $rows FROM events_ids")"
	record partition convert longest "$(tail -n +$((since + 1)) "$box/target.log" | sed -n 's/^load .*acquired .* on relation .* after \([0-9.]*\) ms.*/\1/p' | sort -g | tail -n 1)"
	[ "$(part -c "SELECT $sums FROM events")" = "$(part -c "SELECT $sums FROM events_shadow")" ] || die "convert: rows are lost or doubled"
	record partition convert same "$(part -c "SELECT count(*) FROM events")"
}

partition()
{
	if [ -e "$(pg_config --sharedir)/extension/pg_partman.control" ]; then
		part_sides="$part_sides partman"
	else
		say "pg_partman is not there: no peer"
	fi
	ask target postgres -c "ALTER SYSTEM SET max_locks_per_transaction = 4096" -c "ALTER SYSTEM SET walhouse.worker = off" || die "no settings"
	pg_ctl -D "$box/target.data" -l "$box/target.log" -w restart >"$box/restart.log" 2>&1 || die "no restart"
	local phase
	for phase in ${PHASES:-idle make retire life}; do
		case $phase in make) make_more ;; idle | retire | life | convert) $phase ;; *) die "PHASES is idle, make, retire, life or convert" ;; esac
	done
}
