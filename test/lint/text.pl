# text.pl RULE FILE...: one rule on the text of files. Prints file:line: what is wrong; status 1 if anything is.
use strict;
use warnings;

my ($rule, @files) = @ARGV;
my $bad = 0;

# Each rule gets the file's name, its text, and its text with comments blanked (and, thirdly, strings too).
my %rules = (
	width => \&width,
	blanks => \&blanks,
	errcode => \&errcode,
	quoting => \&quoting,
	version_num => \&version_num,
	size => \&size,
	unfinished => \&unfinished,
	sleeps => \&sleeps,
	ascii => \&ascii);
my $check = $rules{$rule} or die "no rule is called \"$rule\"\n";

for my $file (@files)
{
	open my $in, '<', $file or die "$file: $!\n";
	local $/;
	my $text = <$in>;
	close $in;
	next unless defined $text;
	if ($file =~ /\.[ch]$/)
	{
		$check->($file, $text, blanked($text, 0), blanked($text, 1));
	}
	else
	{
		$check->($file, $text, $text, $text);
	}
}
exit $bad;

sub wrong
{
	my ($file, $line, $what) = @_;
	print "$file:$line: $what\n";
	$bad = 1;
}

# lines_matching: calls wrong() for each line of the text that matches.
sub lines_matching
{
	my ($file, $text, $pattern, $what) = @_;
	my $n = 0;
	for my $line (split /\n/, $text, -1)
	{
		$n++;
		wrong($file, $n, $what) if $line =~ $pattern;
	}
}

# blanked: the text with each character of comments, and of strings too if asked, made a space; lines stay.
sub blanked
{
	my ($text, $strings) = @_;
	$text =~ s{(/\*.*?\*/|//[^\n]*)|("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+')}
		{defined $1 ? blank($1) : $strings ? blank($2) : $2}gse;
	return $text;
}

sub blank
{
	my ($text) = @_;
	$text =~ s/[^\n]/ /g;
	return $text;
}

sub line_of { return 1 + (substr($_[0], 0, $_[1]) =~ tr/\n//); }

# width: no line over 100 columns, tabs counting to the next of four. Error strings are not broken.
sub width
{
	my ($file, $text) = @_;
	my $n = 0;
	my $before = '';
	for my $line (split /\n/, $text)
	{
		my $whole = $before =~ /\berr(msg|detail|hint)\w*\($/ || $line =~ /\berr(msg|detail|hint)\w*\(.*"/;
		$n++;
		$before = $line;
		utf8::decode($line);
		1 while $line =~ s/^([^\t]*)\t/$1 . ' ' x (4 - length($1) % 4)/e;
		wrong($file, $n, 'the line has ' . length($line) . ' columns, 100 is the limit') if length($line) > 100 && !$whole;
	}
}

sub blanks
{
	my ($file, $text) = @_;
	lines_matching($file, $text, qr/[ \t\r]$/, 'white space at the end of the line');
	wrong($file, line_of($text, length $text), 'no newline at the end of the file') if $text ne '' && $text !~ /\n\z/;
}

# errcode: every ereport of ERROR and above has an errcode, and none has one where the level belongs.
sub errcode
{
	my ($file, undef, undef, $code) = @_;
	while ($code =~ /\bereport\s*\(\s*(\w+)/g)
	{
		my ($level, $from) = ($1, $-[0]);
		wrong($file, line_of($code, $from), 'an errcode where ereport wants a level') if $level =~ /^ERRCODE_/;
		next unless $level =~ /^(ERROR|FATAL|PANIC)$/;
		my $statement = substr($code, $from);
		$statement =~ s/;.*//s;
		wrong($file, line_of($code, $from), "ereport($level) without an errcode") unless $statement =~ /errcode/;
	}
}

# quoting: SQL is quoted in src/base/sqltext.c alone.
sub quoting
{
	my ($file, undef, $with_strings, $code) = @_;
	return if $file =~ m{src/base/sqltext\.[ch]$};
	lines_matching($file, $code, qr/\b(quote_identifier|quote_literal|quote_literal_cstr|quote_qualified_identifier)\s*\(/,
		'quotes by itself: base/sqltext does that');
	lines_matching($file, $with_strings, qr/"[^"]*'%[sd]'/, "'%s' in a string: values are parameters or go through base/sqltext");
}

sub version_num
{
	my ($file, undef, $code) = @_;
	return if $file =~ m{src/base/compat\.h$};
	lines_matching($file, $code, qr/\bPG_VERSION_NUM\b/, 'PG_VERSION_NUM belongs to base/compat.h alone');
}

# size: files of at most 800 lines, functions of at most 100. A flat switch or table says so in its body: lint: flat.
sub size
{
	my ($file, $text, undef, $code) = @_;
	my @lines = split /\n/, $text;
	my @code = split /\n/, $code;
	my $start;
	wrong($file, scalar @lines, scalar(@lines) . ' lines in the file, 800 is the limit') if @lines > 800;
	return unless $file =~ /\.c$/;
	for my $i (0 .. $#code)
	{
		$start = $i if $code[$i] =~ /^\{/;
		next unless defined $start && $code[$i] =~ /^\}/;
		wrong($file, $start + 1, 'a function of ' . ($i - $start - 1) . ' lines, 100 is the limit')
			if $i - $start - 1 > 100 && !grep { /lint: flat/ } @lines[ $start .. $i ];
		$start = undef;
	}
}

sub unfinished
{
	my ($file, $text) = @_;
	lines_matching($file, $text, qr/\b(TO[D]O|FIX[M]E|X[X]X)\b/, 'unfinished: write an issue or do it');
}

# sleeps: a test waits for what it wants to see, with a limit; it does not sleep.
sub sleeps
{
	my ($file, $text) = @_;
	lines_matching($file, $text, qr/\bpg_sleep|^[^#]*\b(sleep|usleep)\b\s*[(0-9\$]/, 'a sleep: poll for the state instead');
}

# ascii: databases of every encoding run the install script, which the page is a part of.
sub ascii
{
	my ($file, $text) = @_;
	lines_matching($file, $text, qr/[^\x00-\x7f]/, 'not ASCII');
}
