# P3 and crashes: random histories of a source, over many tables, with models of every kind and option, cut at random, built late and built
# again, loads and builds ended in the middle (by a signal, with their server, by a cancel), models that stop and are mended, a horizon that moves.
# What comes out is compared with an oracle in plain Perl that knows the source's states and the definitions alone: test/histories.
#
# HISTORIES, FROM, JOBS, TRANSACTIONS, SEED as in test/histories/run; `make histories HISTORIES=10000` is the same without a test around it.
use strict;
use warnings;
use FindBin;
use Test::More;

my $histories = $ENV{HISTORIES} || (defined $ENV{SEED} ? 1 : 500);
local $ENV{HISTORIES} = $histories;
local $ENV{TRANSACTIONS} = $ENV{TRANSACTIONS} || 22;

open my $run, '-|', "$FindBin::Bin/../histories/run" or die "histories: $!";
my (%seen, $summary);
while (my $line = <$run>)
{
	$seen{$1} = $2 if $line =~ /^# (.*?) +(\d+)$/;
	$summary = $line if $line =~ /^\d+ histories/;
	diag($line =~ s/\n//r) unless $line =~ /^#|^\d+ histories/;
}
ok(close($run), 'no model differs from the oracle');
like($summary // '', qr/^$histories histories, 0 differences/, 'all histories were told');

# What is new in the extension, and not in the histories, is not proven.
my @must = ('dimension', 'effective', 'dimension over joins', 'outriggers', 'bridge', 'bridge with weight', 'mini', 'fact', 'fact over joins', 'milestones', 'lags', 'corrections reverse',
	'event time booked_at', 'junk',
	(map { "rollup by $_" } qw(hour day week month quarter year none)), (map { ("rollup with $_", "snapshot with $_") } 'count', 'count distinct', qw(sum avg min max)),
	(map { "snapshot by $_" } qw(day week month)), 'snapshot with balance', 'snapshot with last', 'snapshot with fill', (map { "type $_" } 0, 1, 2, 3, 6),
	(map { "on_delete $_" } qw(close ignore tombstone purge)), (map { "role $_" } qw(dimension date time junk mini)),
	(map { "role with $_" } qw(null not_applicable_if error_if)), (map { "ended by $_" } qw(terminate cancel)),
	(map { "steps: $_" } qw(load build mend compare verify known)), 'horizon moved', 'seen stopped', 'seen rebuild', 'the log is ahead', 'histories through a real feed', (map { "known $_" } qw(dimension fact rollup snapshot)));
for my $what ($histories < 100 ? () : (@must, 'the source sent again', map { "ended by $_" } qw(kill server)))
{
	cmp_ok($seen{$what} // 0, '>', 0, "there was: $what");
}
note("$_: $seen{$_}") for sort keys %seen;
done_testing();
