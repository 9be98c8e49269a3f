# Case: one history, made from a seed: first rows, transactions, models, and the steps in which the models are built and loaded.
#
# ahead: the log is ahead of the position from the beginning; with a real feed, ingest has little memory.
# Steps name transactions by their number in the whole history, so that a case stays one when transactions are taken out:
#   [reach => n, crash]  [load => crash]  [build => model, crash]  [mend]  [compare]  [verify]  [horizon => n, cuts off]  [copy => table]  [known => model]
package Case;

use strict;
use warnings;
use Exporter 'import';
use Source;
use Star;

our @EXPORT = qw(new_case);

# new_case SEED, TRANSACTIONS: the most that it has.
sub new_case
{
	my ($seed, $most) = @_;
	srand($seed);
	rand() for 1 .. 3;
	my $n = int($most / 2) + int rand $most / 2 + 1;
	my $g = Source::new_generator($n);
	my @models = random_star();
	my %tables = map { $_ => 1 } map { @{ $_->{tables} || [] } } @models;
	my @tables = sort keys %tables;
	@tables = sort { ($b eq 'lines') <=> ($a eq 'lines') || $a cmp $b } @tables;
	my $real = $ENV{REAL} // ($seed % 40 == 0 ? 1 : 0);
	my $case = { seed => $seed, real => $real, zone => $g->{zone}, models => \@models, tables => \@tables, ahead => chance(0.25) ? 1 : 0, views => chance(0.4) ? 1 : 0, samples => chance(0.4) ? 1 : 0,
		first => [random_rows($g, @tables)] };
	my @edges = map { 1 + int rand $n - 1 } 1 .. ($n > 3 ? pick(0, 0, 1, 2) : 0);
	my %more;
	for my $edge (@edges)
	{
		my ($now, $next) = edge($g, $edge, @tables);
		push @{ $more{$edge} }, @$now;
		push @{ $more{ $edge + 1 } }, @$next;
	}
	$case->{transactions} = [map { { n => $_, time => $g->{times}[$_ - 1], changes => [random_transaction($g, $_, @tables), @{ $more{$_} || [] }] } } 1 .. $n];
	$case->{steps} = [random_steps($n, \@edges, @models)];
	if ($real)
	{
		push @$_, crash(0.4) for grep { $_->[0] eq 'reach' } @{ $case->{steps} };
		splice @{ $case->{steps} }, int rand @{ $case->{steps} }, 0, [copy => pick(@tables)] if chance(0.5);
	}
	return $case;
}

sub random_steps
{
	my ($n, $edges, @models) = @_;
	my %is_edge = map { $_ => 1 } @$edges;
	my $share = pick(0.1, 0.2, 0.3, 0.5);
	my @cuts = grep { chance($share) } 1 .. $n - 1;
	splice @cuts, 12 if @cuts > 12;
	@cuts = sort { $a <=> $b } keys %{ { map { $_ => 1 } @cuts, @$edges } };
	my @built = grep { $_->{tables} || $_->{fact} } @models;
	my %at; # when a model is built first: at the beginning, some time, or at the end
	$at{ $_->{name} } = pick(0, 0, 1, @cuts ? pick(@cuts) : 1) for @built;
	my (@steps, %done);
	for my $cut (0, @cuts, $n)
	{
		push @steps, [reach => $cut];
		push @steps, ['horizon', $cut - int rand 4, chance(0.3)] if $cut > 2 && chance(0.04);
		push @steps, ['mend'] if chance(0.3);
		push @steps, map { [load => $_] } crash() for 1 .. ($is_edge{$cut} ? 1 : pick(0, 1, 1, 1, 1, 1, 2));
		for my $model (grep { !$done{ $_->{name} } && $at{ $_->{name} } <= $cut } @built)
		{
			push @steps, [build => $model->{name}, chance(0.08) ? { how => 'pause', at => rand(), more => rand(4) } : crash()];
			$done{ $model->{name} } = 1;
		}
		push @steps, [build => pick(@built)->{name}, chance(0.2) ? { how => 'pause', at => rand(), more => rand(4) } : crash()] if $cut && chance(0.06);
		push @steps, ['compare'] if $cut && chance(0.2);
		push @steps, ['verify'] if $cut && chance(0.1);
		push @steps, [known => pick(@built)->{name}] if $cut && chance(0.08);
	}
	return @steps;
}

# crash: how a load or build is ended before its end: the relation that it is stopped at (as a number from 0 to 1), and how. A build may also pause
# there, while transactions come and a load.
sub crash
{
	my ($chance) = @_;
	return undef unless chance($chance // 0.12);
	return { at => rand(), how => chance($chance ? 0.2 : 0.02) ? pick('kill', 'server') : pick('terminate', 'terminate', 'cancel'), again => pick(0, 1, 1) };
}

1;
