# Ingest: how a case's transactions come to the warehouse. Hand writes log, mirror, txn and position itself, as ingest does, in no time and with
# any commit times. Real runs the transactions at a source and has the extension ingest them, with crashes, so that they are sent again; there
# the times are the server's.
package Ingest;

use strict;
use warnings;
use Instant;
use Pg;
use Source;

# An ingest: server, case, commits, at (the commit where the feed stands), horizon (a commit).
sub new
{
	my ($class, %self) = @_;
	return bless { %self, at => 0, horizon => 0 }, $class;
}

sub pg { return $_[0]{server}->main }

sub text_of_lsn { my ($lsn) = @_; return sprintf '%X/%X', $lsn >> 32, $lsn & 0xFFFFFFFF }
sub lsn_of_text { my ($high, $low) = split m{/}, $_[0]; return (hex($high) << 32) + hex $low }

# commit_of LSN: the last commit at or before a position; below zero: the position is before the first.
sub commit_of
{
	my ($self, $text) = @_;
	return undef unless defined $text;
	my $lsn = lsn_of_text($text);
	my $at = -1;
	for my $i (0 .. $#{ $self->{commits} })
	{
		$at = $i if defined $self->{commits}[$i]{lsn} && $self->{commits}[$i]{lsn} <= $lsn;
	}
	return $at;
}

# move_horizon COMMIT: the log begins there.
sub move_horizon
{
	my ($self, $to) = @_;
	my $lsn = text_of_lsn($self->{commits}[$to]{lsn});
	$self->pg->query("UPDATE walhouse.feed SET horizon = '$lsn'; DELETE FROM shop_log.txn WHERE end_lsn < '$lsn';"
			. join(' ', map { 'DELETE FROM shop_log.' . quoted($_) . " WHERE lsn <= '$lsn';" } @{ $self->{case}{tables} }));
	$self->{horizon} = $to;
	return;
}

# log_start TABLES: the commit from which on their logs are complete.
sub log_start
{
	my ($self, @tables) = @_;
	my $start = $self->{horizon};
	for my $copied (grep { defined } map { $self->{copied}{$_} } @tables)
	{
		$start = $copied if $copied > $start;
	}
	return $start;
}

sub copy_again { return }

package Ingest::Hand;

our @ISA = ('Ingest');
BEGIN { Instant->import; Source->import }

sub begin
{
	my ($self) = @_;
	my $case = $self->{case};
	$self->pg->query("UPDATE walhouse.feed SET time_zone = '$case->{zone}', horizon = '0/1000'; "
			. "INSERT INTO walhouse.feed_position (feed_id, position, clock) SELECT feed_id, '0/1000', '2000-01-01 00:00+00' FROM walhouse.feed;"
			. mirror_sql({}, $self->{commits}[0]{state}));
	$self->{written} = 0;
	$self->pg->query($self->write_sql($#{ $self->{commits} })) if $case->{ahead};
	return;
}

# reach COMMIT: log and mirror, if they are not ahead, and the feed's position.
sub reach
{
	my ($self, $to) = @_;
	my $sql = $self->write_sql($to);
	if ($to > $self->{at})
	{
		my $commit = $self->{commits}[$to];
		$sql .= sprintf "INSERT INTO walhouse.feed_position (feed_id, position, clock) SELECT feed_id, '%s', '%s' FROM walhouse.feed",
			Ingest::text_of_lsn($commit->{lsn}), text_of_instant($commit->{clock});
		$self->{at} = $to;
	}
	$self->pg->query($sql) if length $sql;
	return;
}

sub write_sql
{
	my ($self, $to) = @_;
	return '' if $to <= $self->{written};
	my (%rows, @txn);
	for my $commit (@{ $self->{commits} }[$self->{written} + 1 .. $to])
	{
		my $lsn = Ingest::text_of_lsn($commit->{lsn});
		push @txn, sprintf "('%s', '700', '%s', NULL, '%s')", $lsn, text_of_instant($commit->{time}), text_of_instant($commit->{clock});
		for my $entry (@{ $commit->{log} })
		{
			my ($table, $seq, $op, $row) = @$entry;
			push @{ $rows{$table} }, "('$lsn', $seq, '$op', " . join(', ', map { Pg::quote($row->{$_}) } Source::columns_of($table)) . ')';
		}
	}
	my $sql = 'INSERT INTO shop_log.txn VALUES ' . join(', ', @txn) . ';';
	$sql .= 'INSERT INTO shop_log.' . quoted($_) . ' VALUES ' . join(', ', @{ $rows{$_} }) . ';' for sort keys %rows;
	$sql .= mirror_sql($self->{commits}[$self->{written}]{state}, $self->{commits}[$to]{state});
	$self->{written} = $to;
	return $sql;
}

# mirror_sql FROM, TO: from one state to another.
sub mirror_sql
{
	my ($from, $to) = @_;
	my $sql = '';
	for my $table (sort keys %$to)
	{
		my ($old, $new) = ($from->{$table} || {}, $to->{$table});
		next if $old == $new;
		my @gone = grep { !$new->{$_} || $new->{$_} != $old->{$_} } sort keys %$old;
		my @come = grep { !$old->{$_} || $new->{$_} != $old->{$_} } sort keys %$new;
		my @key = Source::key_columns($table);
		my $values = sub { my ($row, @columns) = @_; return '(' . join(', ', map { Pg::quote($row->{$_}) } @columns) . ')' };
		$sql .= 'DELETE FROM ' . quoted_table($table) . ' WHERE (' . join(', ', map { quoted($_) } @key) . ') IN ('
			. join(', ', map { $values->($old->{$_}, @key) } @gone) . ');' if @gone;
		$sql .= 'INSERT INTO ' . quoted_table($table) . ' VALUES ' . join(', ', map { $values->($new->{$_}, Source::columns_of($table)) } @come) . ';' if @come;
	}
	return $sql;
}

sub check { return }

sub clean
{
	my ($self) = @_;
	$self->pg->query(join ' ', map({ 'DELETE FROM ' . quoted_table($_) . '; DELETE FROM shop_log.' . quoted($_) . ';' } @{ $self->{case}{tables} }),
		map { "DELETE FROM $_;" } qw(shop_log.txn walhouse.feed_position));
	return;
}

package Ingest::Real;

our @ISA = ('Ingest');
BEGIN { Instant->import; Source->import }

# begin: the tables become what the first state is, and the log begins there.
sub begin
{
	my ($self) = @_;
	my $commits = $self->{commits};
	my $sql = join '', map { 'DELETE FROM ' . Source::at_source(quoted_table($_)) . ';' } @{ $self->{case}{tables} };
	for my $table (@{ $self->{case}{tables} })
	{
		$sql .= Source::at_source(change_sql([insert => $table, $_])) . ';' for map { $commits->[0]{state}{$table}{$_} } sort keys %{ $commits->[0]{state}{$table} };
	}
	$self->{server}->source->query($sql . 'SELECT pg_logical_emit_message(true, \'\', \'\')');
	$self->pg->query("CALL walhouse.ingest('shop')");
	# So little memory that changes of a transaction, and the images of one step of an ingest, do not fit in it.
	$self->pg->query("SET walhouse.feed_memory = '64kB'; SET walhouse.feed_batch_rows = 3") if $self->{case}{ahead};
	$_->{lsn} = undef for @$commits;
	my ($position, $clock) = @{ $self->pg->query('SELECT position, clock FROM walhouse.feed_position ORDER BY position DESC LIMIT 1')->[0] };
	$self->pg->query("UPDATE walhouse.feed SET time_zone = '$self->{case}{zone}', horizon = '$position'");
	$commits->[0]{lsn} = Ingest::lsn_of_text($position);
	$commits->[0]{clock} = instant_of($clock);
	return;
}

# reach COMMIT, CALL: runs the transactions at the source, and has them ingested by CALL, code that takes a statement and may be stopped in it.
sub reach
{
	my ($self, $to, $call) = @_;
	my @new = grep { @{ $self->{commits}[$_]{log} } } $self->{at} + 1 .. $to;
	for my $i (@new)
	{
		$self->{server}->source->query(join '; ', map { Source::at_source(change_sql($_)) } @{ $self->{commits}[$i]{applied} });
	}
	if ($call)
	{
		$call->("CALL walhouse.ingest('shop')");
		$self->{count}{"the source sent again"} += $self->pg->value('SELECT count(*) FROM pg_replication_slots WHERE confirmed_flush_lsn < '
				. '(SELECT max(end_lsn) FROM shop_log.txn)');
	}
	$self->pg->query("CALL walhouse.ingest('shop')");
	my $last = Ingest::text_of_lsn($self->{commits}[$self->{at}]{lsn});
	my @found = @{ $self->pg->query("SELECT end_lsn, commit_time, clock FROM shop_log.txn WHERE end_lsn > '$last' ORDER BY end_lsn") };
	die { what => 'ingest', text => @new . ' transactions were made, ' . @found . ' were ingested' } if @new != @found;
	for my $i ($self->{at} + 1 .. $to)
	{
		my $commit = $self->{commits}[$i];
		@$commit{qw(lsn time clock)} = @{ $self->{commits}[$i - 1] }{qw(lsn time clock)};
		@$commit{qw(lsn time clock)} = (Ingest::lsn_of_text($found[0][0]), map { instant_of($_) } @{ shift @found }[1, 2]) if @{ $commit->{log} };
	}
	$self->{at} = $to;
	return;
}

# copy_again TABLE: from the source, as it is now; its log begins there.
sub copy_again
{
	my ($self, $table) = @_;
	$self->pg->query("CALL walhouse.resync_table('shop', " . Pg::quote(Source::at_source(quoted_table($table))) . ')');
	$self->{copied}{$table} = $self->{at};
	$self->{count}{'tables copied again'}++;
	return;
}

# check: log and mirrors are what the source did.
sub check
{
	my ($self) = @_;
	my @commits = @{ $self->{commits} };
	for my $table (@{ $self->{case}{tables} })
	{
		my $from = $self->log_start($table);
		my $start = Ingest::text_of_lsn($commits[$from]{lsn});
		my @columns = Source::columns_of($table);
		my $names = join ', ', map { quoted($_) } @columns;
		my $line = sub { join ' | ', map { $_ // 'NULL' } @_ };
		my @expected = map { my $c = $_; map { my (undef, undef, $op, $row) = @$_; $line->(Ingest::text_of_lsn($c->{lsn}), $op, @$row{@columns}) } grep { $_->[0] eq $table } @{ $c->{log} } }
			@commits[$from + 1 .. $#commits];
		Play::same(undef, "the log of $table", \@expected, [map { $line->(@$_) } @{ $self->pg->query("SELECT lsn, op, $names FROM shop_log." . quoted($table) . " WHERE lsn > '$start'") }]);
		Play::same(undef, "the mirror of $table", [map { $line->(@$_{@columns}) } values %{ $commits[-1]{state}{$table} }],
			[map { $line->(@$_) } @{ $self->pg->query("SELECT $names FROM " . quoted_table($table)) }]);
	}
	return;
}

sub clean { return }

1;
