# split.pl FILE...: break string literals that cross column 98 into two, after a blank, in place. Error strings stay whole,
# so that they can be found by their text. clang-format then aligns the pieces.
use strict;
use warnings;

for my $file (@ARGV)
{
	open my $in, '<', $file or die "$file: $!\n";
	my @lines = <$in>;
	close $in;
	my $before = '';
	my @split;
	for my $line (@lines)
	{
		push @split, $before =~ /\berr(msg|detail|hint)\w*\($/ ? $line : pieces($line, $before =~ /\\$/);
		$before = $line;
	}
	@lines = @split;
	open my $out, '>', $file or die "$file: $!\n";
	print $out @lines;
	close $out;
}

# columns: how wide the text is, tabs counting to the next of four.
sub columns
{
	my ($text) = @_;
	utf8::decode($text);
	1 while $text =~ s/^([^\t]*)\t/$1 . ' ' x (4 - length($1) % 4)/e;
	return length $text;
}

sub pieces
{
	my ($line, $in_macro) = @_;
	chomp $line;
	$in_macro ||= $line =~ /\\$/;
	return "$line\n" if columns($line) <= 100 || $line =~ /\berr(msg|detail|hint)|^\s*#/;
	while ($line =~ /"((?:\\.|[^"\\])*)"/g)
	{
		my ($from, $to, $text) = ($-[1], $+[1], $1);
		next unless columns(substr($line, 0, $to)) > 98;
		for (my $at = $to - 1; $at > $from + 20; $at--)
		{
			next unless substr($line, $at - 1, 1) eq ' ' && columns(substr($line, 0, $at)) <= 97;
			my ($indent) = $line =~ /^(\s*)/;
			my $end = $in_macro ? '" \\' : '"';
			return (substr($line, 0, $at) . "$end\n", pieces($indent . "\t\"" . substr($line, $at), $in_macro));
		}
	}
	return "$line\n";
}
