# Every example in README.md, docs/tutorial.md, docs/models.md, docs/lineage.md, docs/partitions.md, docs/provenance.md, docs/openlineage.md and docs/operations.md runs, from the top of the page to its end, on a fresh server, and
# gives what the page shows. How a page says what is to be done:
#
#   ```sql    the first line names database and role: "-- shop, as shopkeeper"; psql runs the block
#   ```sh     a shell runs the block; walhouse_recv --start is ended, as by Ctrl-C, when it has written what is expected
#   ```ini    the first line names the file: "# postgresql.conf …" (the server is restarted) or "# pg_hba.conf …"
#   ```text   after sql or sh: what it printed, where LSNs, times, OIDs and transaction ids may be others
#
# Blocks of no language are pictures, or commands that build and test. A server that lives on a socket gets its name for
# 'localhost'.
#   DOCS_PAGES=…       these pages alone
#   DOCS_ACCEPT=DIR   writes the pages there, with what the blocks really printed
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use WalhouseTest;
use Test::More;

my @pages = split ' ', $ENV{DOCS_PAGES} || 'README.md docs/tutorial.md docs/models.md docs/lineage.md docs/partitions.md docs/provenance.md docs/openlineage.md docs/operations.md';

for my $page (@pages)
{
	(my $name = $page) =~ s/\W/_/g;
	my $node = new_server($name, initdb => ['--encoding=UTF8']);

	sql($node, 'CREATE ROLE postgres SUPERUSER LOGIN') if sql($node, q{SELECT to_regrole('postgres') IS NULL}) eq 't';
	run_page($node, $page);
	$node->stop;
}
done_testing();

sub run_page
{
	my ($node, $page) = @_;
	my @blocks = blocks(slurp_file($page));
	my $printed;

	for my $block (@blocks)
	{
		my $where = "$page:$block->{line}";

		if ($block->{language} eq 'text')
		{
			defined $printed or die "$where: no block before this one prints anything";
			is(normal($printed), normal($block->{text}), "$where is what is printed");
			$block->{text} = $printed;
			$printed = undef;
			next;
		}
		$printed = $block->{language} eq 'sql' ? run_sql($node, $block, $where)
			: $block->{language} eq 'sh' ? run_shell($node, $block, $where)
			: $block->{language} eq 'ini' ? configure($node, $block, $where)
			: undef;
	}
	write_page($page, @blocks) if $ENV{DOCS_ACCEPT};
}

# blocks: the page's fenced blocks in order: language, text, number of the line; and what stands before each.
sub blocks
{
	my ($text) = @_;
	my @found;
	my $from = 0;

	while ($text =~ /^```(\w*)\n(.*?)^```$/msg)
	{
		my $before = substr($text, $from, $-[0] - $from);
		push @found, { language => $1, text => $2, line => 1 + (substr($text, 0, $-[0]) =~ tr/\n//), before => $before };
		$from = $+[0];
	}
	push @found, { language => 'end', text => '', line => 0, before => substr($text, $from) };
	for my $i (0 .. $#found - 1)
	{
		$found[$i]{expected} = $found[ $i + 1 ]{text} if $found[ $i + 1 ]{language} eq 'text';
	}
	return @found;
}

sub run_sql
{
	my ($node, $block, $where) = @_;
	my ($database, $role) = $block->{text} =~ /\A-- (\w+), as (\w+)$/m
		or return fail("$where names database and role in its first line");
	my $sql = $block->{text};
	my ($host, $port) = ($node->host, $node->port);
	my ($out, $err) = ('', '');

	$sql =~ s/host 'localhost'/host '$host', port '$port'/g;
	# A reader is not as quick as the signal that a reload sends.
	for my $part (split /(?<=pg_reload_conf\(\);\n)/, $sql)
	{
		my $loaded = sql($node, 'SELECT pg_conf_load_time()');
		IPC::Run::run([ 'psql', '-XqP', 'pager=off', '-v', 'ON_ERROR_STOP=1', '-h', $host, '-p', $port, '-U', $role, '-d', $database ],
			'<', \$part, '>', \my $printed, '2>', \my $errors, IPC::Run::timeout(120));
		$out .= $printed;
		$err .= $errors;
		$node->poll_query_until('postgres', "SELECT pg_conf_load_time() > '$loaded'") if $part =~ /pg_reload_conf/;
	}
	is($err =~ s/^NOTICE.*\n//mgr, '', "$where runs");
	return $out;
}

# run_shell: as the reader would in a terminal; one that streams is interrupted when the expected lines are there.
sub run_shell
{
	my ($node, $block, $where) = @_;
	my ($out, $err) = ('', '');
	my $lines = () = ($block->{expected} // '') =~ /\n/g;
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my $run = IPC::Run::start([ 'bash', '-c', "exec $block->{text}" ], '<', \undef, '>', \$out, '2>', \$err,
		IPC::Run::timeout(60));

	if ($block->{text} =~ / --start\b/)
	{
		# With nothing to compare with, as when the page is new, whatever comes at first.
		$run->pump until (() = $out =~ /\n/g) >= ($lines || 8);
		$run->signal('INT');
	}
	$run->finish;
	is($run->result(0), 0, "$where runs") or diag($err);
	return $out;
}

sub configure
{
	my ($node, $block, $where) = @_;

	if ($block->{text} =~ /\A# postgresql\.conf/)
	{
		my $text = $block->{text};
		# Servers that do not know the setting do not start with it; the harness knows who does.
		$text =~ s/^output_plugin_libraries.*\n//m unless slurp_file($ENV{WALHOUSE_CONF}) =~ /^output_plugin_libraries/m;
		$node->append_conf('postgresql.conf', $text);
		$node->restart;
		pass("$where starts");
	}
	elsif ($block->{text} =~ /\A# pg_hba\.conf/)
	{
		my $file = $node->data_dir . '/pg_hba.conf';
		my $rest = slurp_file($file);
		open my $out, '>', $file or die "$file: $!";
		print $out $block->{text}, $rest;
		close $out;
		$node->reload;
		is(sql($node, 'SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL'), '0', "$where is understood");
	}
	else
	{
		fail("$where names a file in its first line");
	}
	return undef;
}

# normal: without what differs between two runs that are both right.
sub normal
{
	my ($text) = @_;

	$text =~ s{"(server_version|xid|relid|database_oid)":\d+}{"$1":0}g;
	$text =~ s{"(system_identifier|plugin_version)":"[^"]*"}{"$1":"0"}g;
	$text =~ s{\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?}{<time>}g;
	$text =~ s{\b[0-9A-F]{1,8}/[0-9A-F]{1,8}\b}{<lsn>}g;
	# Widths follow what was replaced.
	$text =~ s/[ \t]+$//mg;
	$text =~ s/-{2,}/--/g;
	$text =~ s/ {2,}/ /g;
	$text =~ s/\n+\z/\n/;
	return $text;
}

sub write_page
{
	my ($page, @blocks) = @_;
	(my $name = $page) =~ s{.*/}{};

	open my $out, '>', "$ENV{DOCS_ACCEPT}/$name" or die "$ENV{DOCS_ACCEPT}/$name: $!";
	for my $block (@blocks)
	{
		print $out $block->{before};
		last if $block->{language} eq 'end';
		(my $text = $block->{text}) =~ s/[ \t]+$//mg;
		# The version stands in walhouse.control alone.
		$text =~ s/"plugin_version":"[^"]*"/"plugin_version":"…"/g;
		$text =~ s/\n+\z/\n/;
		print $out "```$block->{language}\n$text```";
	}
	close $out;
	return;
}
