# Shrink: takes away from a case what its failure does not need, and writes what is left as a script for psql.
package Shrink;

use strict;
use warnings;
use Exporter 'import';
use Time::HiRes qw(time);
use Instant;
use Play;
use Pg;
use Source;

our @EXPORT = qw(shrink script_of);

# shrink SERVER, CASE, FAILURE, SECONDS: the smaller case, and how it fails.
sub shrink
{
	my ($server, $case, $failure, $seconds) = @_;
	my $until = time() + $seconds;
	my $try = sub {
		my ($smaller) = @_;
		return 0 if time() > $until;
		my $new = play($server, $smaller);
		return 0 unless $new && $new->{what} eq $failure->{what};
		($case, $failure) = ($smaller, $new);
		return 1;
	};
	my $before = '';
	while ($before ne size($case) && time() < $until)
	{
		$before = size($case);
		fewer_models($try, sub { $case });
		fewer_tables($try, sub { $case });
		less($try, sub { $case }, $_) for qw(steps transactions first);
		fewer_changes($try, sub { $case });
		calmer($try, sub { $case });
	}
	return ($case, $failure);
}

sub size
{
	my ($case) = @_;
	return join ' ', map({ scalar @{ $case->{$_} } } qw(steps transactions models first)), scalar map({ @{ $_->{changes} } } @{ $case->{transactions} }),
		scalar grep { ref $_ } map { @$_ } @{ $case->{steps} };
}

# less TRY, CASE, WHAT: of a list, halves, quarters and so on down to single members.
sub less
{
	my ($try, $case, $what) = @_;
	my $length = @{ $case->()->{$what} } || 1;
	while (1)
	{
		for (my $i = 0; $i < @{ $case->()->{$what} };)
		{
			my @list = @{ $case->()->{$what} };
			splice @list, $i, $length;
			$i += $length unless $try->({ %{ $case->() }, $what => \@list });
		}
		last if $length == 1;
		$length = int(($length + 1) / 2);
	}
	return;
}

sub fewer_models
{
	my ($try, $case) = @_;
	for my $model (reverse @{ $case->()->{models} })
	{
		# A history goes with its mini-dimension.
		next if !$model->{declare};
		my %gone = map { $_ => 1 } $model, $model->{history} || ();
		next if grep { !$gone{$_} && grep { $_ && $gone{$_} } $_->{fact}, map { $_->{dimension} } @{ $_->{roles} || [] }, @{ $_->{outriggers} || [] }, @{ $_->{members} || [] } }
			@{ $case->()->{models} };
		$try->({ %{ $case->() }, models => [grep { !$gone{$_} } @{ $case->()->{models} }] });
	}
	return;
}

# fewer_tables: without the changes of one.
sub fewer_tables
{
	my ($try, $case) = @_;
	for my $table (@{ $case->()->{tables} })
	{
		my @first = grep { $_->[1] ne $table } @{ $case->()->{first} };
		my @transactions = map { { %$_, changes => [grep { $_->[1] ne $table } @{ $_->{changes} }] } } @{ $case->()->{transactions} };
		$try->({ %{ $case->() }, first => \@first, transactions => \@transactions });
	}
	return;
}

sub fewer_changes
{
	my ($try, $case) = @_;
	for my $t (0 .. $#{ $case->()->{transactions} })
	{
		for (my $i = 0; $i < @{ $case->()->{transactions}[$t]{changes} };)
		{
			my @all = @{ $case->()->{transactions} };
			my @changes = @{ $all[$t]{changes} };
			splice @changes, $i, 1;
			$all[$t] = { %{ $all[$t] }, changes => \@changes };
			$i++ unless $try->({ %{ $case->() }, transactions => \@all });
		}
	}
	return;
}

# calmer: without crashes, and without a log that is ahead.
sub calmer
{
	my ($try, $case) = @_;
	$try->({ %{ $case->() }, ahead => 0 }) if $case->()->{ahead};
	for my $i (0 .. $#{ $case->()->{steps} })
	{
		my @steps = @{ $case->()->{steps} };
		next unless ref $steps[$i][-1];
		$steps[$i] = [@{ $steps[$i] }[0 .. $#{ $steps[$i] } - 1]];
		$try->({ %{ $case->() }, steps => \@steps });
	}
	return;
}

# script_of CASE: the case by test/lib/handfeed.sql, as far as SQL can tell it.
sub script_of
{
	my ($case) = @_;
	my %tables = map { $_ => 1 } map { @{ $_->{tables} || [] } } @{ $case->{models} };
	my @lines = ("CREATE EXTENSION IF NOT EXISTS walhouse; \\i test/lib/handfeed.sql", "SET timezone = 'UTC'; SELECT handfeed.make('shop', '$case->{zone}'); CREATE SCHEMA dw;",
		"-- cal: SELECT walhouse.create_date_dimension('cal.date', '2026-05-10', '2026-05-20'), walhouse.create_time_dimension('cal.hour', 'hour')");
	push @lines, map { my $t = $_; grep { index($_, quoted_table($t) . ' ') > 0 } map { "$_;" } create_tables() } sort keys %tables;
	push @lines, map { change_sql($_) . ';' } @{ $case->{first} };
	push @lines, map { 'SELECT handfeed.add(' . Pg::quote('shop') . ', ' . Pg::quote(quoted_table($_)) . ');' } sort keys %tables;
	push @lines, map { $_->{declare} ? "$_->{declare};" : () } @{ $case->{models} };
	my @steps = @{ $case->{steps} };
	my $step = sub {
		my ($what, @args) = @{ $_[0] };
		my $crash = ref $args[-1] ? ' -- stopped by ' . (pop(@args)->{how}) : '';
		return $what eq 'load' ? "CALL walhouse.load('shop');$crash" : $what eq 'build' ? "CALL walhouse.build(" . Pg::quote($args[0]) . ");$crash"
			: $what eq 'reach' ? "SELECT handfeed.reach('shop');" : $what eq 'verify' ? 'SELECT * FROM walhouse.verify();' : "-- @{[map { $_ // '' } $what, @args]}";
	};
	my $do = sub {
		my ($n) = @_;
		push @lines, $step->(shift @steps) while @steps && !($steps[0][0] eq 'reach' && $steps[0][1] > $n);
	};
	push @lines, "-- the whole log is there from the beginning, the position is not" if $case->{ahead};
	$do->(0);
	my @transactions = Play::with_mending($case);
	for my $i (0 .. $#transactions)
	{
		my $transaction = $transactions[$i];
		push @lines, join(' ', map({ change_sql($_) . ';' } @{ $transaction->{changes} }), sprintf "SELECT handfeed.commit('shop', '%s'); -- %d",
			text_of_instant($transaction->{time}), $transaction->{n});
		# Steps belong behind the last transaction that they may see.
		my $next = $transactions[$i + 1] ? $transactions[$i + 1]{n} : 1e9;
		$do->($next - 1);
	}
	push @lines, '-- the end: reach, build what is not, load';
	return join "\n", @lines, '';
}

1;
