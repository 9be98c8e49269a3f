# docs/reference.md names everything that a user can name: each function and procedure with each of its arguments, each
# view and table with each column, each setting, each option of servers, user mappings, plugin and walhouse_recv; and nothing
# that is not there.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use PostgreSQL::Test::Utils qw(slurp_file);

my $reference = slurp_file('docs/reference.md');
my $house = one_server();

# section NAME: the text from each heading that names it up to the next heading.
sub section
{
	my ($name) = @_;
	my @sections = $reference =~ /^#+ [^\n]*`\Q$name\E[`(](.*?)(?=^#)/msg;
	return @sections ? join("\n", @sections) : undef;
}

for my $line (split /\n/, sql($house, q{
	SELECT p.proname, p.prokind, coalesce(array_to_string(p.proargnames[1:p.pronargs], ' '), '')
	FROM pg_proc p WHERE pronamespace = 'walhouse'::regnamespace
		AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'fdw_handler'::regtype)
		AND proname NOT LIKE '%\_validator'
	ORDER BY 1, 3}))
{
	my ($name, $kind, $arguments) = split /\|/, $line;
	my $section = section("walhouse.$name");
	ok(defined $section, ($kind eq 'p' ? 'procedure' : 'function') . " $name has a section") or next;
	my @missing = grep { my $a = $_; $reference !~ /`walhouse\.\Q$name\E\([^`]*\b\Q$a\E\b/ && $section !~ /`\Q$a\E`/ } split / /, $arguments // '';
	is("@missing", '', "$name: each argument is named");
}

for my $line (split /\n/, sql($house, q{
	SELECT c.relname, string_agg(a.attname, ' ' ORDER BY a.attnum)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relnamespace = 'walhouse'::regnamespace AND c.relkind IN ('r', 'v', 'p') GROUP BY 1 ORDER BY 1}))
{
	my ($name, $columns) = split /\|/, $line;
	my $section = section("walhouse.$name");
	ok(defined $section, "relation $name has a section") or next;
	my @missing = grep { $section !~ /`\Q$_\E`/ } split / /, $columns;
	is("@missing", '', "$name: each column is named");
}

my @settings = split /\n/, sql($house, q{SELECT name || ' ' || boot_val FROM pg_settings WHERE name LIKE 'walhouse.%' ORDER BY name});
cmp_ok(scalar @settings, '>', 2, 'there are settings');
for (@settings)
{
	my ($name, $default) = split / /, $_, 2;
	like($reference, qr/^\| `\Q$name\E`[^\n]*\| \Q$default\E \|/m, "setting $name stands in the table, with its default");
}
my %known = map { (split / /)[0] => 1 } @settings;
is(join(' ', grep { !$known{$_} } $reference =~ /^\| `(walhouse\.[a-z_]+)`/mg), '', 'and no other');

# Options: the errors that refuse an unknown one list all.
my @places = (
	[ server => 'CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (nonsense \'1\')' ],
	[ mapping => 'CREATE SERVER s FOREIGN DATA WRAPPER walhouse; CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (nonsense \'1\')' ],
	[ plugin => q{SELECT pg_create_logical_replication_slot('s', 'walhouse_output'); SELECT pg_logical_slot_get_binary_changes('s', NULL, NULL, 'nonsense', '1')} ]);
for (@places)
{
	my ($what, $statement) = @$_;
	my ($status, $out, $err) = $house->psql('postgres', $statement);
	my ($list) = $err =~ /HINT:  Valid options[^:]*: ([^\n]*)\./;
	ok($list, "an unknown $what option is refused with a list") or diag($err), next;
	my @missing = grep { $reference !~ /`\Q$_\E`/ } split /, /, $list // '';
	is("@missing", '', "each $what option is named");
}
for my $program (grep { my $p = $_; grep { -x "$_/$p" } split /:/, $ENV{PATH} } qw(walhouse_recv walhouse_openlineage))
{
	my $help = `$program --help`;
	my @options = $help =~ /--([a-z-]+)/g;
	cmp_ok(scalar @options, '>', 5, "$program has options");
	is(join(' ', grep { $reference !~ /--\Q$_\E\b/ } @options), '', "each option of $program is named");
}

# And the other way round: what has a heading is there.
my %there = map { $_ => 1 } split /\n/, sql($house, q{
	SELECT proname FROM pg_proc WHERE pronamespace = 'walhouse'::regnamespace
	UNION SELECT relname FROM pg_class WHERE relnamespace = 'walhouse'::regnamespace});
is(join(' ', grep { !$there{$_} } $reference =~ /^#+ [^\n]*?`walhouse\.([a-z_0-9]+)/mg), '', 'what has a heading exists');

$house->stop;
done_testing();
