# partition.pl: the table of the bench's part `partition`, from the lines partition|PHASE|SIDE|MILLISECONDS that test/bench/run has
# recorded, on standard input. Ratios are those of the repeats: their median, least and greatest.
use strict;
use warnings;

my (%figures, @phases);
while (<STDIN>)
{
	chomp;
	my ($part, $phase, $side, $value) = split /\|/;
	next if $part ne 'partition';
	push @phases, $phase if !grep { $_ eq $phase } @phases;
	push @{ $figures{$phase}{$side} }, $value;
}

sub median
{
	my @v = sort { $a <=> $b } @_;
	return ($v[ $#v / 2 ] + $v[ @v / 2 ]) / 2;
}

sub span
{
	my ($format, @values) = @_;
	my @v = sort { $a <=> $b } @values;
	return sprintf "$format ($format–$format)", median(@v), $v[0], $v[-1];
}

sub against
{
	my ($phase, $peer, $goal) = @_;
	my ($ours, $theirs) = @{ $figures{$phase} }{ 'walhouse', $peer };
	return '–' if !$theirs;
	my @ratios = map { $ours->[$_] / $theirs->[$_] } 0 .. $#$ours;
	my $text = span('%.3f', @ratios);
	$text .= sprintf ', goal %s: %s', $goal, median(@ratios) <= $goal ? 'met' : 'missed' if defined $goal;
	return $text;
}

my %goal = (make => { loop => 1.1, partman => 0.6 }, retire => { partman => 0.3 });
my @timed = grep { !/^(?:life|convert)$/ } @phases;
if (@timed)
{
	print "\nPartition sets, milliseconds\n\n| phase | walhouse | bare loop | pg_partman | / loop | / pg_partman |\n|-|-|-|-|-|-|\n";
	for my $phase (@timed)
	{
		my $ours = span('%.2f', @{ $figures{$phase}{walhouse} });
		$ours .= ', goal 1: ' . (median(@{ $figures{$phase}{walhouse} }) < 1 ? 'met' : 'missed') if $phase =~ /^idle/;
		print "| $phase | $ours | ", join(' | ', map { $figures{$phase}{$_} ? span('%.1f', @{ $figures{$phase}{$_} }) : '–' } qw(loop partman)),
			' | ', join(' | ', map { against($phase, $_, $goal{$phase}{$_}) } qw(loop partman)), " |\n";
	}
}
if (my $life = $figures{life})
{
	print "\nA life beside pgbench\n\n| statements | partitions dropped | waited more than 250 ms for a lock |\n|-|-|-|\n";
	print "| $life->{statements}[0] | $life->{dropped}[0] | $life->{waited}[0] |\n";
}
if (my $convert = $figures{convert})
{
	my $longest = $convert->{longest}[0] || 0;
	print "\nA table converted, split and merged beside pgbench\n\n| | |\n|-|-|\n";
	print "| $_ | $convert->{$_}[0] |\n" for qw(convert split merge);
	print "| rows inserted meanwhile, beside updates and deletes | $convert->{inserted}[0] |\n| longest wait of a statement for a lock on a relation | $longest ms, goal 250: ", ($longest <= 250 ? 'met' : 'missed'), " |\n";
	print "| rows at the end, none lost, none doubled | $convert->{same}[0] |\n" if $convert->{same};
}
