#!/bin/bash
# house.sh RULE: one rule on the tree's shape, in the current folder. Prints what is wrong; status 1 if anything is.
set -u
bad=0
wrong() { echo "$*"; bad=1; }
rooms() { sed -n 's/^\([a-z]*\):.*/\1/p' src/rooms; }

# A room that is there has a page, and, where it has code in C, one public header (the client is a program; it has none).
rule_rooms_complete()
{
	local room d
	for d in src/*/; do
		room=$(basename "$d")
		rooms | grep -qx "$room" || wrong "src/$room: src/rooms has no line for it"
		[ -s "src/$room/README.md" ] || wrong "src/$room/README.md: is missing"
		[ "$room" = client ] || ! ls "src/$room"/*.c >/dev/null 2>&1 || [ -s "src/$room/$room.h" ] || wrong "src/$room/$room.h: is missing"
	done
	for room in $(rooms); do
		[ -d "src/$room" ] || wrong "src/rooms: the room \"$room\" has no folder"
	done
	for d in src/*/*.sql; do
		[ -e "$d" ] || continue
		room=$(basename "$(dirname "$d")")
		[ "$d" = "src/$room/$room.sql" ] || wrong "$d: a room's SQL is $room.sql, so that it is joined"
	done
}

# Every test has its expected file and the reverse; regress tests are named after their room.
rule_orphans()
{
	local f base
	for f in sql/*.sql; do
		[ -e "$f" ] || continue
		base=$(basename "$f" .sql)
		[ -e "expected/$base.out" ] || wrong "$f: expected/$base.out is missing"
		rooms | grep -qx "${base%%_*}" || wrong "$f: is named after no room"
	done
	for f in expected/*.out; do
		[ -e "$f" ] || continue
		base=$(basename "$f" .out)
		[ -e "sql/$base.sql" ] || [ -e "sql/${base%_[0-9]}.sql" ] || wrong "$f: sql/$base.sql is missing"
	done
	for f in test/isolation/specs/*.spec; do
		[ -e "$f" ] || continue
		base=$(basename "$f" .spec)
		[ -e "test/isolation/expected/$base.out" ] || wrong "$f: test/isolation/expected/$base.out is missing"
	done
	for f in test/isolation/expected/*.out; do
		[ -e "$f" ] || continue
		base=$(basename "$f" .out)
		[ -e "test/isolation/specs/${base%_[0-9]}.spec" ] || [ -e "test/isolation/specs/$base.spec" ] ||
			wrong "$f: test/isolation/specs/$base.spec is missing"
	done
}

# The version is written in walhouse.control. META.json must carry it too (the registry reads nothing else), so it is
# compared; frozen and released things (CHANGELOG.md, src/upgrade) name versions for good.
rule_version()
{
	local version found
	version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" walhouse.control)
	[ -n "$version" ] || { wrong "walhouse.control: no default_version"; return; }
	while read -r found; do
		[ "$found" = "$version" ] || wrong "META.json: version $found, but walhouse.control says $version"
	done < <(perl -MJSON::PP -e 'local $/; my $m = decode_json(<>);
		print "$m->{version}\n", map { "$_->{version}\n" } values %{ $m->{provides} }' META.json ||
		echo "(not valid JSON)")
	while read -r found; do
		wrong "$found: the version is written in walhouse.control alone"
	done < <(grep -rnIF "$version" --include='*.[ch]' --include='*.sql' --include='*.out' --include='*.pl' --include='*.pm' \
		--include='*.md' --include='*.sh' --include='*.proto' --include=Makefile . |
		grep -v -e '^\./CHANGELOG\.md:' -e '^\./src/upgrade/' -e '^\./build/' | cut -d: -f1,2)
}

# Only what PostgreSQL looks up by name is visible in the libraries, and they have all that is theirs: what is missing would
# be noticed only when a server loads them.
rule_exports()
{
	local lib name
	for lib in walhouse.so walhouse_output.so; do
		while read -r name; do
			wrong "$lib: exports $name"
		done < <(nm -D --defined-only "$lib" | awk '{print $NF}' |
			grep -vE '^(Pg_magic_func|_PG_init|_PG_output_plugin_init|(pg_finfo_)?walhouse_[a-z0-9_]+|wh_worker_[a-z_]+)$')
		while read -r name; do
			wrong "$lib: misses $name"
		done < <(nm -D --undefined-only "$lib" | awk '{print $NF}' | grep -E '^(wh_|walhouse)')
	done
}

# What loads write to facts goes through one file, which keeps it for rollups; a build has those built again.
rule_fact_writes()
{
	local found
	while read -r found; do
		wrong "$found: a load's writes to a fact go through src/fact/write.c"
	done < <(grep -HnE '(INSERT INTO|UPDATE|DELETE FROM|MERGE INTO|TRUNCATE) (ONLY )?%T' src/fact/*.c 2>/dev/null |
		grep -vE '^src/fact/(write|build)\.c:' | cut -d: -f1,2)
}

rule_$1
exit $bad
