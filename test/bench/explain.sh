# explain.sh: the part `explain` of test/bench/run; it reads this file. What explain_row costs with a change log of LOGGED=1000000 changes, and
# with one ten times as large: the questions of test/tap/227_p5_explain_row.pl, with that many, and what it notes of them.

explain()
{
	(cd "$SANDBOX/tree" && ROWS=${LOGGED:-1000000} TEST_LIMIT=${TEST_LIMIT:-7200} T=227_p5_explain_row SUITES=tap test/suites) >&2 ||
		die "explain_row costs more than it may"
	sed -n 's/.*# \(.*\): \([0-9]*\) and \([0-9]*\) pages, \([0-9.]*\) and \([0-9.]*\) ms with \([0-9]*\) and .*/\6|\1|\2|\3|\4|\5/p' \
		"$SANDBOX"/tap/tmp_check/log/regress_log_227_p5_explain_row >"$box/explain"
	[ -s "$box/explain" ] || die "nothing was noted"
}
# print_explain: pages of tables and indexes that an answer touched, and the best of three times.
print_explain()
{
	awk -F '|' '
		NR == 1 {
			printf "\nexplain_row, pages and ms with %d and %d logged changes\n\n", $1, 10 * $1
			print "| | pages | ten times the log | ms | ten times the log |\n|-|-|-|-|-|"
		}
		{ printf "| %s | %s | %s | %s | %s |\n", $2, $3, $4, $5, $6 }' "$box/explain"
}
