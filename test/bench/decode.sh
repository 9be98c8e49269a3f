# decode.sh: the part `decode` of test/bench/run, which reads this file: the same WAL through each output plugin.
#
# For each workload a database is made, a slot for each plugin, then the WAL. Each repeat takes every plugin in turn, from
# where its slot is (none is moved), beginning with another one each time: through a walsender into drain.c, which throws
# away what it reads, and through pg_logical_slot_peek_binary_changes. CPU is what the scheduler counted for the walsender or
# the backend, in nanoseconds.
#   WORKLOADS   of: narrow big wide full pgbench toasted; PEERS   which plugins, by name or part of it ("walhouse pgoutput")
#   SQL=        (empty) leaves the SQL functions out

workloads=${WORKLOADS:-narrow big wide full pgbench toasted}

# plugins: NAME|PLUGIN|OPTIONS|WORKLOAD, or all.
plugins()
{
	cat <<-END
		walhouse|walhouse_output|publication=bench|
		walhouse lz4|walhouse_output|publication=bench compression=lz4|pgbench
		walhouse streaming|walhouse_output|publication=bench streaming=on|big
		pgoutput|pgoutput|proto_version=1 publication_names=bench|
		pgoutput binary|pgoutput|proto_version=2 publication_names=bench binary=true|
		pgoutput streaming|pgoutput|proto_version=2 publication_names=bench streaming=on|big
		test_decoding|test_decoding||
		wal2json 2|wal2json|format-version=2|
		decoderbufs|decoderbufs||
		floor|walhouse_floor||
		floor streaming|walhouse_floor|streaming=on|big
		floor 32 bytes|walhouse_floor|bytes=32|narrow
		floor streaming 32 bytes|walhouse_floor|streaming=on bytes=32|big
		floor 310 bytes|walhouse_floor|bytes=310|wide
		floor 40 bytes|walhouse_floor|bytes=40|pgbench
	END
}

# chosen_plugins WORKLOAD: the lines of those that are there and wanted.
chosen_plugins()
{
	local name plugin options only peer
	while IFS='|' read -r name plugin options only; do
		[ -e "$("$PG_CONFIG" --pkglibdir)/$plugin.so" ] || continue
		[ -z "$only" ] || [ "$only" = "$1" ] || continue
		[[ $plugin = walhouse_output || -z ${PEERS:-} ]] || {
			for peer in $PEERS; do [[ $name = *"$peer"* ]] && break; done
			[[ $name = *"$peer"* ]] || continue
		}
		echo "$name|$plugin|$options"
	done < <(plugins)
}

# build_decode: the reader and the floor plugin, beside the others.
build_decode()
{
	local libs
	libs=$("$PG_CONFIG" --pkglibdir)
	cc -O2 -Wall -Wextra -I"$("$PG_CONFIG" --includedir)" drain.c -o "$box/drain" -L"$("$PG_CONFIG" --libdir)" -lpq &&
		cc -O2 -Wall -Wextra -Wno-unused-parameter -fPIC -shared -I"$("$PG_CONFIG" --includedir-server)" -I../../src \
			-DWALHOUSE_VERSION='"bench"' floor.c -o "$libs/walhouse_floor.so" || die "the bench's own programs do not compile"
	for plugin in wal2json decoderbufs; do
		[ -e "$libs/$plugin.so" ] || say "$plugin is not installed, and is left out"
	done
}

# load WORKLOAD: makes the WAL, and prints the number of changes.
load()
{
	case $1 in
		narrow) ask source shop -c "CALL do_narrow($((scale * 2)))" && echo $((scale * 2)) ;;
		big) ask source shop -c "CALL do_big($((scale * 5)))" && echo $((scale * 5)) ;;
		wide | full) ask source shop -c "CALL do_wide($((scale / 2)))" && echo $((scale / 2)) ;;
		toasted) ask source shop -c "CALL do_toasted($scale)" && echo "$scale" ;;
		pgbench)
			pgbench -n -M prepared -c 2 -t $((scale / 16)) -h "$box/source" -U bench shop >"$box/pgbench.out" 2>&1 &&
				echo $((scale / 16 * 2 * 4)) ;;
	esac
}

set_up_decode()
{
	local plugin
	ask source postgres -c "DROP DATABASE IF EXISTS shop" -c "CREATE DATABASE shop" || die "no source database"
	ask source shop -f decode.sql || die "no source tables"
	[ "$1" != full ] || ask source shop -c "ALTER TABLE wide REPLICA IDENTITY FULL" || die "no replica identity"
	[ "$1" != pgbench ] || pgbench -i -q -s 5 -h "$box/source" -U bench shop >"$box/pgbench.init" 2>&1 || die "no pgbench tables"
	for plugin in $(chosen_plugins "$1" | cut -d '|' -f 2 | sort -u); do
		ask source shop -c "SELECT pg_create_logical_replication_slot('$plugin', '$plugin')" >/dev/null 2>"$box/slot.err" ||
			{ cat "$box/slot.err" >&2; die "no slot for $plugin"; }
	done
}

# through_walsender WORKLOAD NAME PLUGIN OPTIONS, through_sql likewise: measure one run.
through_walsender()
{
	local seconds cpu bytes messages reader memory
	read -r seconds cpu bytes messages reader memory < <("$box/drain" "host=$box/source user=bench dbname=shop replication=database" \
		"$3" "$end" "$(sed -E "s/ /, /g; s/([a-z_-]+)=([a-z0-9]+)/\"\1\" '\2'/g; s/.+/(&)/" <<<"$4")") || die "$1: $2 has failed"
	record "decode $1" "$2" wall "$(per_change "$seconds")"
	record "decode $1" "$2" cpu "$(per_change "$cpu")"
	record "decode $1" "$2" reader "$(per_change "$reader")"
	record "decode $1" "$2" bytes "$(echo "$bytes $rows" | awk '{print $1 / $2}')"
	record "decode $1" "$2" messages "$(echo "$messages $rows" | awk '{print $1 / $2}')"
	record "decode $1" "$2" memory "$(echo "$memory" | awk '{print $1 / 1024}')"
}
through_sql()
{
	local took options
	options=$(sed -E "s/ ?([a-z_-]+)=([a-z0-9]+)/, '\1', '\2'/g" <<<"$4")
	took=$(ask source shop <<-END
		SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1) AS cpu, extract(epoch FROM clock_timestamp()) AS at \gset
		SELECT count(*), sum(length(data)) FROM pg_logical_slot_peek_binary_changes('$3', '$end', NULL$options) \g /dev/null
		SELECT extract(epoch FROM clock_timestamp()) - :at, (split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::numeric - :cpu) / 1e9;
	END
	) || die "$1: $2 has failed in SQL"
	record "decode $1" "$2" sqlwall "$(per_change "${took%|*}")"
	record "decode $1" "$2" sqlcpu "$(per_change "${took#*|}")"
}
per_change() { echo "$1 $rows" | awk '{print $1 * 1e6 / $2}'; }

# check_changes: each kind of message that pgoutput sends, walhouse sends as often.
check_changes()
{
	local ours theirs
	theirs=$(ask source shop -c "SELECT chr(get_byte(data, 0)) AS kind, count(*) FROM pg_logical_slot_peek_binary_changes('pgoutput',
		'$end', NULL, 'proto_version', '1', 'publication_names', 'bench') WHERE get_byte(data, 0) IN (66, 67, 68, 73, 85)
		GROUP BY kind ORDER BY kind") || die "pgoutput cannot be counted"
	ours=$(ask source shop -c "SELECT upper(substr(data, 10, 1)) AS kind, count(*) FROM pg_logical_slot_peek_changes('walhouse_output',
		'$end', NULL, 'publication', 'bench', 'format', 'json') WHERE data ~ '^{\"kind\":\"(begin|commit|insert|update|delete)\"'
		GROUP BY kind ORDER BY kind") || die "walhouse cannot be counted"
	[ "$ours" = "$theirs" ] || die "$1: pgoutput sends $theirs, walhouse $ours"
}

decode()
{
	local workload rows end lines turn n
	build_decode
	for workload in $workloads; do
		set_up_decode "$workload"
		ask source shop -c CHECKPOINT
		rows=$(load "$workload") || die "$workload: no changes"
		ask source shop -c CHECKPOINT
		end=$(ask source shop -c "SELECT pg_current_wal_flush_lsn()")
		record "decode $workload" rows rows "$rows"
		mapfile -t lines < <(chosen_plugins "$workload")
		n=${#lines[@]}
		for repeat in $(seq "$repeats"); do
			say "decode $workload, repeat $repeat"
			for turn in $(seq "$n"); do
				IFS='|' read -r name plugin options <<<"${lines[(turn + repeat - 2) % n]}"
				through_walsender "$workload" "$name" "$plugin" "$options"
				[ -z "${SQL-yes}" ] || through_sql "$workload" "$name" "$plugin" "$options"
			done
		done
		[[ "${lines[*]}" != *"|pgoutput|"* ]] || check_changes "$workload"
		ask source shop -c "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots" >/dev/null
	done
}
