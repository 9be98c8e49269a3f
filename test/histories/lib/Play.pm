# Play: brings a case before a server, and compares what comes out with the oracle.
#
# Ingest is played by hand: log, mirror, txn and position are brought to a commit in one transaction, as ingest does; in some cases log
# and mirror are ahead of the position, as they are for a model that waits. A load or build is stopped where it first writes to a relation that
# another session has locked, and then its process is ended, or the whole server.
package Play;

use strict;
use warnings;
use Exporter 'import';
use Time::HiRes qw(usleep time);
use Aggregates;
use Facts;
use Ingest;
use Instant;
use Oracle;
use Pg;
use References;
use Source;

our @EXPORT = qw(play $count);
our $count = {}; # what happened in this process, by name

# play SERVER, CASE: undef when all is as the oracle says; otherwise { what, text }, where "what" is the same for the same sort of difference.
sub play
{
	my ($server, $case) = @_;
	my $self = bless { server => $server, case => $case }, 'Play';
	$server->use_database($case->{real} ? 'real' : 'histories');
	my $failure;
	eval {
		local $SIG{ALRM} = sub { die { what => 'time', text => 'it takes longer than a minute' } };
		alarm 60;
		$self->prepare;
		$self->step($_) for @{ $case->{steps} };
		$self->finish;
		$self->clean;
		alarm 0;
		1;
	} or $failure = $@;
	alarm 0;
	return undef unless $failure;
	$failure = { what => 'error ' . (ref $failure && $failure->isa('Pg::Error') ? $failure->state : ''), text => "$failure" }
		unless ref $failure eq 'HASH';
	$failure->{step} = $self->{step} // 'the beginning';
	eval { $self->clean; 1 } or $server->fresh;
	return $failure;
}

sub pg { return $_[0]{server}->main }

sub prepare
{
	my ($self) = @_;
	my $case = $self->{case};
	my @transactions = with_mending($case);
	my $commits = simulate($case->{first}, \@transactions);
	$self->{numbers} = [0, map { $_->{n} } @transactions];
	$self->{commits} = $commits;
	$self->{oracle} = Oracle->new(commits => $commits, zone => $case->{zone});
	$self->{model} = { map { $_->{table} => $_ } @{ $case->{models} } };

	$self->{ingest} = ($case->{real} ? 'Ingest::Real' : 'Ingest::Hand')->new(server => $self->{server}, case => $case, commits => $commits, count => $count);
	$self->{ingest}->begin;
	$count->{'histories through a real feed'} += $case->{real};
	$count->{'transactions'} += $#$commits;
	$count->{'changes in logs'} += @{ $_->{log} } for @$commits;
	$count->{'the log is ahead'} += $case->{ahead};
	$count->{$_}++ for map { features_of($_) } @{ $case->{models} };
	$self->pg->query($_) for grep { $_ } map { $_->{declare} } @{ $case->{models} };
	return;
}

# with_mending CASE: its transactions, and one that lets all queries be computed at the end, if they cannot.
sub with_mending
{
	my ($case) = @_;
	my @transactions = @{ $case->{transactions} };
	my @mending = mending(simulate($case->{first}, \@transactions)->[-1]{state});
	my $time = @transactions ? $transactions[-1]{time} + 1 : instant_of('2026-01-01');
	return (@transactions, @mending ? { n => 1e6, time => $time, changes => \@mending } : ());
}

# features_of MODEL: what its kind can do and it does.
sub features_of
{
	my ($model) = @_;
	my %scd = map { $_ => 1 } values %{ $model->{scd} || {} };
	return ($model->{kind}, ($model->{joins} ? "$model->{kind} over joins" : ()), (map { "type $_" } sort keys %scd),
		($model->{on_delete} ? "on_delete $model->{on_delete}" : ()), ($model->{effective} ? 'effective' : ()), ($model->{outriggers} ? 'outriggers' : ()),
		($model->{fact} ? ("$model->{kind} by $model->{bucket}", (map { "$model->{kind} with $_->{function}" } @{ $model->{measures} }), $model->{kind} eq 'snapshot' && $model->{fill}
				? 'snapshot with fill' : ()) : ()), ($model->{kind} eq 'mini' ? 'mini' : ()), ($model->{kind} eq 'fact' ? "corrections $model->{corrections}" : ()), ($model->{event} && $model->{event} eq 'booked_at' ? 'event time booked_at' : ()),
		(map { $model->{$_} ? $_ : () } qw(milestones lags)), ($model->{members} ? 'bridge' : ()), ($model->{weight} ? 'bridge with weight' : ()), map { role_feature($_) } @{ $model->{roles} || [] });
}

sub role_feature
{
	my ($role) = @_;
	return ($role->{dimension} ? "role $role->{dimension}{kind}" : $role->{date} ? 'role date' : 'role time',
		map { $role->{$_} ? "role with $_" : () } qw(null not_applicable_if error_if));
}

# commit_at N: the last commit whose transaction has this number or a lower one.
sub commit_at
{
	my ($self, $n) = @_;
	my $at = 0;
	$at = $_ for grep { $self->{numbers}[$_] <= $n } 0 .. $#{ $self->{numbers} };
	return $at;
}

# ---- steps

sub step
{
	my ($self, $step) = @_;
	my ($what, @args) = @$step;
	$count->{"steps: $what"}++;
	$self->{step} = join ' ', map { ref $_ ? "($_->{how} at $_->{at})" : $_ // '' } @$step;
	if ($what eq 'reach') { $self->reach($self->commit_at($args[0]), $args[1]) }
	elsif ($what eq 'copy') { $self->copy_again($args[0]) }
	elsif ($what eq 'horizon') { $self->move_horizon($self->commit_at($args[0]), $args[1]) }
	elsif ($what eq 'load') { $self->call("CALL walhouse.load('shop')", $args[0]) }
	elsif ($what eq 'build') { $self->build(@args) }
	elsif ($what eq 'mend') { $self->mend }
	elsif ($what eq 'compare') { $self->compare }
	elsif ($what eq 'verify') { $self->verify }
	elsif ($what eq 'known') { $self->known($args[0]) }
	return;
}

# reach COMMIT, CRASH: the feed's position; by hand it is reached at once.
sub reach
{
	my ($self, $to, $crash) = @_;
	return if $to < $self->{ingest}{at};
	$self->{ingest}->reach($to, $crash && sub { $self->call($_[0], $crash) });
	return;
}

# move_horizon COMMIT, CUTS OFF: what retention does, which waits for models, or what a new copy of tables does, which does not: models behind
# it are built again. The horizon never lies where a query cannot be computed.
sub move_horizon
{
	my ($self, $to, $cuts_off) = @_;
	for my $state ($cuts_off ? () : $self->states)
	{
		$to = $state->{position} if defined $state->{position} && $state->{position} < $to;
	}
	return if $to <= $self->{ingest}{horizon} || $to > $self->{ingest}{at};
	return if grep { $_->{tables} && $self->{oracle}->is_bad_at($_, $to) } @{ $self->{case}{models} };
	$self->{ingest}->move_horizon($to);
	$count->{'horizon moved'}++;
	return;
}

# copy_again TABLE: its models are built again.
sub copy_again
{
	my ($self, $table) = @_;
	return if !(grep { $_ eq $table } @{ $self->{case}{tables} })
		|| grep { $_->{tables} && $self->{oracle}->is_bad_at($_, $self->{ingest}{at}) } @{ $self->{case}{models} };
	$self->{ingest}->copy_again($table);
	return;
}

# log_start MODEL: the commit from which on the logs of its tables are complete.
sub log_start
{
	my ($self, $model) = @_;
	return $self->{ingest}->log_start(@{ ($model->{fact} || $model)->{tables} });
}

# build MODEL, CRASH: where its dimensions are ready.
sub build
{
	my ($self, $name, $crash) = @_;
	my ($model) = grep { $_->{name} eq $name } @{ $self->{case}{models} };
	return unless $model;
	my %state = map { $_->{relation} => $_ } $self->states;
	my @needs = $model->{kind} ne 'dimension' ? map { $state{ $_->{table} } } needs($model) : ();
	return if grep { $_->{state} ne 'live' } @needs;
	eval { $self->call('CALL walhouse.build(' . Pg::quote($name) . ')', $crash); 1 } and return;
	# Data that cannot be computed stops the model; dimensions may stand apart, or be built anew meanwhile.
	my $error = $@;
	die $error unless ref $error && ref $error ne 'HASH' && ($self->may_be_bad($model) || @needs);
	return;
}

sub may_be_bad
{
	my ($self, $model) = @_;
	$model = $model->{fact} || $model;
	return $self->{oracle}->is_bad_at($model, $self->{ingest}{at});
}

# mend: what stopped is tried again at the next load, and what waits for a build is built.
sub mend
{
	my ($self) = @_;
	$self->pg->query("SELECT walhouse.resume(relation) FROM walhouse.model WHERE state = 'stopped'");
	for my $state (grep { $_->{state} =~ /^(rebuild|building)$/ } $self->states)
	{
		$self->build($self->{model}{ $state->{relation} }{name}) if $self->{model}{ $state->{relation} };
	}
	return;
}

# states: of the case's models, those that others need first.
sub states
{
	my ($self) = @_;
	my @states = map { { relation => $_->[0], state => $_->[1], start => $self->{ingest}->commit_of($_->[2]), position => $self->{ingest}->commit_of($_->[3]),
			start_lsn => $_->[2], error => $_->[4] } }
		@{ $self->pg->query(q{SELECT c.relname, m.state, m.history_start, (SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = m.model_id
			ORDER BY l.load_id DESC LIMIT 1), m.error FROM walhouse.model m JOIN pg_class c ON c.oid = m.relation
			WHERE m.kind NOT IN ('date', 'time', 'junk', 'mini') ORDER BY m.model_id}) };
	for my $state (@states)
	{
		$count->{"seen $state->{state}"}++;
		$self->{oracle}{start_lsn}{ $self->{model}{ $state->{relation} }{name} } = $state->{start_lsn};
	}
	return @states;
}

# call STATEMENT, CRASH: to its end, or stopped where it first writes to some relation, which another session has locked: for good, or while other
# things happen.
sub call
{
	my ($self, $statement, $crash) = @_;
	return $self->pg->query($statement) unless $crash;
	my $server = $self->{server};
	my ($pg, $other) = ($server->main, $server->other);
	my $relation = $self->relation_to_stop_at($statement, $crash);
	my $until = time() + 30;
	$other->query("BEGIN; LOCK TABLE $relation IN SHARE MODE");
	$pg->send($statement);
	until ($pg->is_ready(0.001))
	{
		if ($other->value("SELECT count(*) FROM pg_locks WHERE pid = $pg->{pid} AND NOT granted"))
		{
			$crash->{how} eq 'pause' ? $self->meanwhile($crash) : $self->end_session($crash->{how});
			last;
		}
		die { what => 'time', text => "$statement neither ends nor waits" } if time() > $until;
	}
	eval { $other->query('ROLLBACK') };
	return if eval { $pg->receive; 1 };
	my $error = $@;
	die $error if $crash->{how} eq 'pause' || !ref $error || ref $error eq 'HASH' || $error->state !~ /^(57|08)/;
	$server->forget if $crash->{how} ne 'cancel';
	return $self->pg->query($statement) if $crash->{again};
	return;
}

sub relation_to_stop_at
{
	my ($self, $statement, $crash) = @_;
	my @relations = $statement =~ /ingest/ ? ('walhouse.feed_position', 'shop_log.txn', map { (quoted_table($_), 'shop_log.' . quoted($_)) } @{ $self->{case}{tables} })
		: (qw(walhouse.load walhouse.load_model walhouse.model walhouse.ahead walhouse.fact_rejected walhouse.load_retry walhouse.purged),
		(map { $_->{name} } @{ $self->{case}{models} }) x 2);
	return $relations[$crash->{at} * @relations];
}

# meanwhile: transactions come, and a load, in a third session, while a build waits, unless it has the feed's state lock.
sub meanwhile
{
	my ($self, $crash) = @_;
	my $server = $self->{server};
	my $pid = $server->main->pid;
	return if $server->other->value("SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype = 'object' AND classid = 'walhouse.feed'::regclass AND granted");
	my $third = $server->session($server->{database});
	$count->{'built meanwhile'}++;
	local $server->{main} = $third;
	my $to = $self->{ingest}{at} + 1 + int $crash->{more};
	$self->{ingest}->reach($to > $#{ $self->{commits} } ? $#{ $self->{commits} } : $to);
	$third->send("CALL walhouse.load('shop')");
	# A load that wants what is locked, too, goes on when the lock is gone.
	$third->is_ready(0.2) or $server->other->query('ROLLBACK');
	$third->receive;
	$third->close;
	return;
}

sub end_session
{
	my ($self, $how) = @_;
	my $server = $self->{server};
	my $pid = $server->main->pid;
	$count->{"ended by $how"}++;
	if ($how eq 'kill')
	{
		kill 'KILL', $pid;
		eval { $server->other->query('SELECT pg_sleep(60)') }; # until the server ends it, before it comes back
	}
	elsif ($how eq 'server')
	{
		system("pg_ctl -D '$server->{dir}/data' -m immediate -w stop >/dev/null");
		$server->start;
	}
	else { $server->other->query("SELECT pg_$how\_backend($pid)") }
	return;
}

# ---- the end

# finish: everything is brought to the end, built where it is not, and compared.
sub finish
{
	my ($self) = @_;
	$self->{step} = 'end';
	$self->reach($#{ $self->{commits} });
	for (1 .. 6)
	{
		$self->pg->query("SELECT walhouse.resume(relation) FROM walhouse.model WHERE state = 'stopped'");
		$self->pg->query("CALL walhouse.load('shop')");
		my @waiting = grep { $_->{state} ne 'live' } $self->states;
		last unless @waiting;
		$self->build($self->{model}{ $_->{relation} }{name}) for grep { $_->{state} =~ /^(new|rebuild|building)$/ } @waiting;
	}
	$self->pg->query("CALL walhouse.load('shop')");
	for my $state ($self->states)
	{
		die { what => "state $state->{relation}", text => "$state->{relation} is $state->{state}: " . ($state->{error} // '') } if $state->{state} ne 'live';
		die { what => "position $state->{relation}", text => "$state->{relation} stands at commit $state->{position}, not $self->{ingest}{at}" }
			if $state->{position} != $self->{ingest}{at};
	}
	$self->compare;
	$self->verify;
	$self->{ingest}->check;
	my $left = $self->pg->query('SELECT a.* FROM walhouse.ahead a WHERE event_time < (SELECT max(clock) FROM shop_log.txn) LIMIT 3');
	die { what => 'ahead', text => 'kept as ahead though the clock has passed it: ' . join ' ', map { $_ // 'NULL' } @{ $left->[0] } } if @$left;
	return;
}

# clean: the database as it was before.
sub clean
{
	my ($self) = @_;
	$self->pg->query("SELECT walhouse.drop_model('$_->[0]')")
		for @{ $self->pg->query(q{SELECT relation FROM walhouse.model WHERE relation::text LIKE 'dw.%'
			AND relation::text <> 'dw.profile_history' ORDER BY model_id DESC}) };
	$self->{ingest}->clean;
	$self->pg->query(join ' ', map { "DELETE FROM walhouse.$_;" } qw(load load_model load_retry));
	return;
}

sub verify
{
	my ($self) = @_;
	for my $state (grep { $_->{state} eq 'live' && $_->{position} >= $self->log_start($self->{model}{ $_->{relation} }) } $self->states)
	{
		my $name = $self->{model}{ $state->{relation} }{name};
		my $row = $self->pg->query('SELECT missing, unexpected, different FROM walhouse.verify(' . Pg::quote($name) . ')')->[0];
		die { what => "verify $name", text => "verify($name): missing, unexpected, different: @$row" } if "@$row" ne '0 0 0';
		next unless $self->{case}{samples};
		$row = $self->pg->query('SELECT missing, unexpected, different FROM walhouse.verify(' . Pg::quote($name) . ', 3)')->[0];
		die { what => "sample $name", text => "verify($name, 3): missing, unexpected, different: @$row" } if "@$row" ne '0 0 0';
		$count->{'verified by sample'}++;
	}
	return;
}

# ---- comparing

# compare: every live model with what the oracle says of the position where it stands.
sub compare
{
	my ($self) = @_;
	my %state = map { $_->{relation} => $_ } $self->states;
	$self->{$_} = {} for qw(members table of_key facts);
	for my $model (@{ $self->{case}{models} })
	{
		my $state = $state{ $model->{table} };
		$self->read_combinations($model, \%state) if $model->{kind} =~ /^(junk|mini)$/;
		next if !$state || $state->{state} ne 'live';
		$self->compare_dimension($model, $state) if $model->{kind} eq 'dimension';
		next unless together($model, \%state);
		$self->compare_fact($model, $state, \%state) if $model->{kind} eq 'fact';
		$self->compare_aggregate($model, $state) if $model->{kind} =~ /^(rollup|snapshot)$/;
		compare_outriggers($self, $model) if $model->{outriggers};
		compare_bridge($self, $model) if $model->{members};
	}
	return;
}

# needs MODEL: the models that it refers to and that follow the feed.
sub needs
{
	my ($model) = @_;
	my $fact = $model->{fact};
	return $fact ? ($fact, needs($fact)) : grep { $_ && $_->{tables} } map { $_->{dimension} } map { @{ $model->{$_} || [] } } qw(roles outriggers members);
}

# together MODEL, STATES: whether what it refers to is live, and at its position.
sub together
{
	my ($model, $states) = @_;
	my $position = $states->{ $model->{table} }{position};
	return !grep { $_->{state} ne 'live' || $_->{position} != $position } map { $states->{ $_->{table} } } needs($model);
}

# lines NAME, EXPECTED, FOUND: lists of texts that must have the same members.
sub same
{
	my ($self, $name, $expected, $found) = @_;
	$count->{'rows compared'} += @$expected;
	my %count;
	$count{$_}++ for @$expected;
	$count{$_}-- for @$found;
	my @missing = grep { $count{$_} > 0 } sort keys %count;
	my @surplus = grep { $count{$_} < 0 } sort keys %count;
	return unless @missing || @surplus;
	my @wrong = ((map { "  expected $_" } @missing[0 .. ($#missing > 9 ? 9 : $#missing)]), map { "  found    $_" } @surplus[0 .. ($#surplus > 9 ? 9 : $#surplus)]);
	push @wrong, '  that is ' . first_difference($missing[0], $surplus[0]) if @missing && @surplus;
	die { what => "rows $name", text => join "\n", "$name differs:", map { s/(toast ){9,}/toast… /gr } @wrong };
}

# first_difference: the fields in which the first two lines differ.
sub first_difference
{
	my ($one, $other) = map { [split / \| /] } @_;
	return join ', ', map { "$one->[$_], not $other->[$_]" } grep { $one->[$_] ne ($other->[$_] // '') } 0 .. $#$one;
}

sub line
{
	my ($row, @columns) = @_;
	return join ' | ', map { "$_=" . ($row->{$_} // 'NULL') } @columns;
}

sub rows
{
	my ($self, $sql, @columns) = @_;
	return map { my %row; @row{@columns} = @$_; \%row } @{ $self->pg->query($sql) };
}

sub compare_dimension
{
	my ($self, $model, $state) = @_;
	my @columns = (Oracle::attributes($model), 'valid_from', 'valid_to');
	my $sk = quoted("$model->{table}_sk");
	my @rows = $self->rows("SELECT $sk, is_inferred, " . join(', ', map { quoted($_) } @columns) . " FROM $model->{name} ORDER BY valid_from", 'wh sk',
		'is_inferred', @columns);
	$self->{table}{ $model->{table} } = { map { $_->{'wh sk'} => $_ } @rows };
	$self->{of_key}{ $model->{table} } = {};
	@rows = grep { $_->{'wh sk'} > 0 } @rows;
	my $versions = $self->{oracle}->dimension_rows($model, $state->{start}, $state->{position});
	my @expected = map { line({ %$_, valid_from => text_of_instant($_->{valid_from}), valid_to => text_of_instant($_->{valid_to}) }, @columns) } map { @$_ } values %$versions;
	$self->same($model->{name}, \@expected, [map { line($_, @columns) } grep { $_->{is_inferred} eq 'f' } @rows]);
	for my $row (@rows)
	{
		my $key = model_key($model, $row);
		push @{ $self->{of_key}{ $model->{table} }{$key} }, $row;
		$self->{members}{ $model->{table} }{ $row->{'wh sk'} } = "$key from $row->{valid_from}";
		next if $row->{is_inferred} eq 'f';
		my %is_fixed = map { $_ => 1 } @{ $model->{key} }, qw(valid_from valid_to is_current is_deleted);
		die { what => "inferred $model->{name}", text => "$model->{name} has an inferred member with versions or values: " . line($row, @columns) }
			if $versions->{$key} || "$row->{valid_from} $row->{valid_to} $row->{is_current}" ne '-infinity infinity t' || ($row->{is_deleted} // 'f') ne 'f'
			|| grep { defined $row->{$_} && !$is_fixed{$_} } @columns;
	}
	return;
}

# read_combinations MODEL, STATES: of a junk or mini-dimension; a mini-dimension has those of all versions of its history.
sub read_combinations
{
	my ($self, $model, $states) = @_;
	my @columns = map { $_->[0] } @{ $model->{columns} };
	my $sk = quoted("$model->{table}_sk");
	my %seen;
	for my $row ($self->rows("SELECT $sk, " . join(', ', map { quoted($_) } @columns) . " FROM $model->{name} WHERE $sk > 0", 'wh sk', @columns))
	{
		my $text = Oracle::combination($model, $row);
		$self->{members}{ $model->{table} }{ $row->{'wh sk'} } = $text;
		die { what => "twice $model->{name}", text => "$model->{name} has a combination twice: $text" } if $seen{$text}++;
	}
	return unless $model->{history} && $states->{ $model->{history}{table} }{state} eq 'live';
	for my $row (grep { $_->{'wh sk'} > 0 && $_->{is_inferred} eq 'f' } values %{ $self->{table}{ $model->{history}{table} } || {} })
	{
		my $text = Oracle::combination($model, $row);
		die { what => "combination $model->{name}", text => "$model->{name} lacks what its history has: $text" } unless $seen{$text};
	}
	return;
}

sub compare_fact
{
	my ($self, $model, $state, $states) = @_;
	my @columns = map { $_->[0] } Oracle::fact_columns($model);
	my @roles = @{ $model->{roles} };
	my ($expected, $rejected) = $self->{oracle}->fact_rows($model, $state->{start}, $state->{position}, sub {
			my ($dimension) = @_;
			return $self->{oracle}->dimension_rows($dimension, $states->{ $dimension->{table} }{start}, $state->{position});
		});
	my @found = $self->rows('SELECT ' . join(', ', (map { 'f.' . quoted($_) } @columns), map { $self->role_sql($_) } @roles) . " FROM $model->{name} f", @columns,
		map { $_->{column} } @roles);
	compare_fact_views($self, $model, @found) if $self->{case}{views};
	for my $row (@found)
	{
		for my $role (grep { $_->{dimension} } @roles)
		{
			my $sk = $row->{ $role->{column} };
			$row->{ $role->{column} } = $self->{members}{ $role->{dimension}{table} }{$sk} // "dangling $sk" if $sk !~ /^-[123]$/;
		}
	}
	my @all = (@columns, map { $_->{column} } @roles);
	$self->{facts}{ $model->{table} } = $expected;
	$self->same($model->{name}, [map { line($_, @all) } @$expected], [map { line($_, @all) } @found]);
	my $have = $self->pg->query('SELECT key, reason FROM walhouse.rejected WHERE model = ' . Pg::quote($model->{name}) . '::regclass');
	$self->same("rejected $model->{name}", [map { '{' . join(',', @{ $_->{key} }) . "} $_->{reason}" } @$rejected], [map { "@$_" } @$have]);
	return;
}

# compare_aggregate MODEL, STATE: a rollup or a periodic snapshot, with the rows of its fact that should be there.
sub compare_aggregate
{
	my ($self, $model, $state) = @_;
	my $expected = $self->{facts}{ $model->{fact}{table} } or return;
	my %role = map { $_->{column} => $_ } @{ $model->{fact}{roles} };
	my @columns = ($model->{bucket} eq 'none' ? () : 'period_start', @{ $model->{group_by} }, map { $_->{name} } @{ $model->{measures} });
	my @rows = $self->{oracle}->aggregate_rows($model, $expected, $self->{commits}[$state->{position}]{clock}, $self->pg);
	my @found = $self->rows('SELECT ' . join(', ', map { quoted($_) } @columns) . " FROM $model->{name}", @columns);
	# How many zeroes an average has behind its point is not told.
	for my $average (map { $_->{name} } grep { $_->{function} eq 'avg' } @{ $model->{measures} })
	{
		$_->{$average} = canonical($_->{$average}) for @found;
	}
	for my $column (grep { $role{$_} } @{ $model->{group_by} })
	{
		my $role = $role{$column};
		if ($role->{date}) { $_->{$column} =~ s/^(\d+)-(\d\d)-(\d\d)$/$1$2$3/ for @rows }
		else { $_->{$column} = $_->{$column} =~ /^-[123]$/ ? $_->{$column} : $self->{members}{ $role->{dimension}{table} }{ $_->{$column} } // "dangling $_->{$column}" for @found }
	}
	$self->same($model->{name}, [map { line($_, @columns) } @rows], [map { line($_, @columns) } @found]);
	return;
}

# role_sql ROLE: the surrogate key; of dates and times what the row that it points to says.
sub role_sql
{
	my ($self, $role) = @_;
	my $column = 'f.' . quoted($role->{column});
	return $column if $role->{dimension};
	my $dimension = $role->{date} || $role->{time};
	my ($what) = $dimension =~ /\.(.*)/;
	my $text = $role->{date} ? 'd.date::text' : 'd.time::text';
	return "coalesce((SELECT coalesce($text, d.${what}_sk::text) FROM $dimension d WHERE d.${what}_sk = $column), 'dangling ' || $column)";
}

# known MODEL: what it said after an earlier load; surrogate keys are those of now, so they are left out.
sub known
{
	my ($self, $name) = @_;
	my ($model) = grep { $_->{name} eq $name } @{ $self->{case}{models} };
	return unless $model;
	my %state = map { $_->{relation} => $_ } $self->states;
	my $state = $state{ $model->{table} };
	my $lowest = ($model->{fact} ? $state{ $model->{fact}{table} } : $state)->{start} // 0;
	return if $state->{state} ne 'live' || $self->log_start($model) > ($lowest > 0 ? $lowest : 0);
	my $load = $self->pg->query('SELECT l.load_id, l.to_lsn FROM walhouse.load_model l WHERE l.model_id = (SELECT model_id FROM walhouse.model WHERE relation = '
		. Pg::quote($name) . "::regclass) AND l.load_id >= (SELECT max(x.load_id) FROM walhouse.load x JOIN walhouse.load_model y USING (load_id) WHERE x.kind = 'build' AND y.model_id = l.model_id) ORDER BY md5(l.to_lsn::text) LIMIT 1")->[0];
	return unless $load;
	my $at = $self->{ingest}->commit_of($load->[1]);
	# As it stood, a fact may have the versions of its dimensions replayed, too: always those with business time and of profiles, others for rows
	# ahead of the clock.
	return if grep { $_ && (!defined $_->{start} || $self->log_start($_->{of}) > $_->{start} || $at < $_->{start}) }
		map { $state{ $_->{table} } && { %{ $state{ $_->{table} } }, of => $_ } } needs($model);
	my (@columns, @expected);
	if ($model->{kind} eq 'dimension')
	{
		@columns = (Oracle::attributes($model), 'valid_from', 'valid_to');
		@expected = map { { %$_, valid_from => text_of_instant($_->{valid_from}), valid_to => text_of_instant($_->{valid_to}) } }
			map { @$_ } values %{ $self->{oracle}->dimension_rows($model, $state->{start}, $at) };
	}
	elsif ($model->{kind} eq 'fact')
	{
		@columns = map { $_->[0] } Oracle::fact_columns($model);
		@expected = @{ ($self->{oracle}->fact_rows({ %$model, roles => [] }, $state->{start}, $at))[0] };
	}
	else
	{
		my %is_role = map { $_->{column} => 1 } @{ $model->{fact}{roles} };
		return if grep { $is_role{$_} } @{ $model->{group_by} };
		@columns = ($model->{bucket} eq 'none' ? () : 'period_start', @{ $model->{group_by} }, map { $_->{function} eq 'avg' ? () : $_->{name} } @{ $model->{measures} });
		my ($rows) = $self->{oracle}->fact_rows({ %{ $model->{fact} }, roles => [] }, $state{ $model->{fact}{table} }{start}, $at);
		@expected = $self->{oracle}->aggregate_rows($model, $rows, $self->{commits}[$at]{clock}, $self->pg);
	}
	my $sk = quoted("$model->{table}_sk");
	my @rows = $self->rows('SELECT ' . join(', ', map { quoted($_) } @columns) . " FROM walhouse.as_known(NULL::$name, load => $load->[0])"
		. ($model->{kind} eq 'dimension' ? " WHERE coalesce($sk, 1) > 0" : ''), @columns);
	$count->{"known $model->{kind}"}++;
	$self->same("as known after $load->[1], $name", [map { line($_, @columns) } @expected], [map { line($_, @columns) } @rows]);
	return;
}

1;
