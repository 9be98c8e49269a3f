# copy.sh: the part `copy` of test/bench/run; it reads this file. A table of ROWS=20000000 rows that is added to a running feed while a client
# writes to it: test/tap/160_add_table.pl with that many, and what it notes: how long that took, and what the client waited for.

copy()
{
	(cd "$SANDBOX/tree" && ROWS=${ROWS:-20000000} TEST_LIMIT=${TEST_LIMIT:-14400} T=160_add_table SUITES=tap test/suites) >&2 ||
		die "the table was not copied as it should be"
	sed -n 's/.*# \(copied .*\|lock waits .*\)/\1/p' "$SANDBOX"/tap/tmp_check/log/regress_log_160_add_table >"$box/copy"
	[ -s "$box/copy" ] || die "nothing was noted"
}
print_copy()
{
	printf '\nA table added to a feed that is running\n\n'
	sed 's/^/- /' "$box/copy"
}
