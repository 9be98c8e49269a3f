# copy.sh: the part `copy` of test/bench/run; it reads this file. A table of ROWS=20000000 rows that is copied while a client writes to it:
# test/tap/156_first_copy.pl and 160_add_table.pl with that many, and what they note: how long it took create_feed, by one process and by
# two, and add_table; what memory, and what the client waited for. COPIES=first, or add: one of the two alone.

copy()
{
	local one test
	for one in ${COPIES:-first add}; do
		case $one in first) test=156_first_copy ;; *) test=160_add_table ;; esac
		(cd "$SANDBOX/tree" && ROWS=${ROWS:-20000000} TEST_LIMIT=${TEST_LIMIT:-14400} T=$test SUITES=tap test/suites) >&2 ||
			die "the table was not copied as it should be"
		sed -n 's/.*# \(first copy of .*\|copied .*\|lock waits .*\)/\1/p' "$SANDBOX/tap/tmp_check/log/regress_log_$test" >>"$box/copy"
	done
	[ -s "$box/copy" ] || die "nothing was noted"
}
print_copy()
{
	printf '\nA table that is copied while a client writes to it\n\n'
	sed 's/^/- /' "$box/copy"
}
