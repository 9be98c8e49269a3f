# WalhouseHistory: what the proofs of P3 share (300, 301): one history, cut into batches in many ways, and what the star is held to.
package WalhouseHistory;

use strict;
use warnings;
use Exporter 'import';
use Test::More;

our @EXPORT = qw(cut_in_many_ways load_and_verify verification show_difference pick);

# cut_in_many_ways COMPARE, LSNS: calls COMPARE(name, cuts, start, whether to build again and verify on the way) for batches that all end with
# the last of the positions.
sub cut_in_many_ways
{
	my ($compare, @lsns) = @_;
	my $last = $lsns[-1];

	$compare->('one batch', [$last], '0/1000');
	$compare->('one transaction at a time', [@lsns], '0/1000');
	$compare->('built at the end', [], $last);
	for my $n (1 .. 3)
	{
		my $many = rand() < 0.5 ? 0.5 : 0.1;
		my @cuts = grep { rand() < $many } @lsns[0 .. $#lsns - 1];
		my $start = $n == 1 ? '0/1000' : shift @cuts;

		$compare->("random batches $n", [@cuts, $last], $start, 1);
	}
	return;
}

# verification MODELS: a query that gives a line for each that verify() finds wrong.
sub verification
{
	return join ' UNION ALL ',
		map { "SELECT model::text || ' ' || missing || ' ' || unexpected || ' ' || different FROM walhouse.verify('$_')" .
			" WHERE missing + unexpected + different > 0" } @_;
}

# load_and_verify QUERY, NAME, CUTS, VERIFICATION, OFTEN: loads up to each of the cuts; often: dw.customer is built again now and then, with what
# needs it, and verify() agrees. QUERY runs a statement and returns what it printed.
sub load_and_verify
{
	my ($query, $name, $cuts, $verify, $often) = @_;

	for my $cut (@$cuts)
	{
		$query->("SELECT handfeed.reach('shop', '$cut')");
		$query->("SELECT walhouse.resume(relation) FROM walhouse.model WHERE state = 'stopped'");
		$query->("CALL walhouse.load('shop')");
		if ($often && rand() < 0.1)
		{
			$query->("CALL walhouse.build('dw.customer')");
			$query->("CALL walhouse.build('$_')")
				for split /\n/, $query->("SELECT relation FROM walhouse.model WHERE state = 'rebuild' ORDER BY model_id");
		}
		next if !$often || rand() > 0.2;
		is($query->($verify), '', "$name: verify at $cut");
		# A sample of everything, and one of a few keys, over a stretch of the log.
		for my $keys (1_000_000, 5)
		{
			(my $sample = $verify) =~ s/verify\('(.*?)'\)/verify('$1', $keys)/g;
			is($query->('SET walhouse.verify_log_rows = ' . int(rand(400)) . "; $sample"), '', "$name: verify of $keys keys at $cut");
		}
	}
	return;
}

# show_difference EXPECTED, FOUND: tells the first lines that only one of them has.
sub show_difference
{
	my ($expected, $found) = @_;
	my %found = map { $_ => 1 } split /\n/, $found;
	my %expected = map { $_ => 1 } split /\n/, $expected;
	my @lines = ((map { "expected $_" } grep { !$found{$_} } sort keys %expected),
		(map { "found    $_" } grep { !$expected{$_} } sort keys %found));

	diag(substr($_, 0, 300)) for @lines[0 .. ($#lines > 20 ? 20 : $#lines)];
	return;
}

sub pick { return $_[int(rand(@_))] }

1;
