# Source: the tables of the histories' source, random transactions on them, and what these leave: the change log as ingest writes it, and the
# source's rows after each commit.
#
# A row is a hash of texts (undef: NULL), as PostgreSQL prints them; rows are never changed in place, so that states can share them. A
# change is logical and applies to any state (an insert of a key that is there does nothing), so that a history stays one when parts of it are
# taken away:
#   [insert => table, row]  [update => table, key, {…}]  [delete => table, key]  [rekey => table, key, {…}]  [truncate => table]
package Source;

use strict;
use warnings;
use Exporter 'import';
use Instant;
use Pg;

our @EXPORT = qw(%TABLE key_of canonical new_generator random_rows random_transaction edge mending simulate create_tables change_sql
	quoted_table quoted pick chance);

# Columns of the tables, in order: name, type, and who makes values. "!" begins the name of a key column.
our %TABLE = (
	customers => ['!customer_id integer id', 'name text text', 'city text text', 'score float8 float', 'level numeric numeric',
		'bio text long', 'active boolean mostly', 'address_id integer ref', 'points integer points', 'region text region',
		'since timestamptz business', 'since_local timestamp local', 'since_day date day'],
	addresses => ['!address_id bigint id', 'city text text', 'country text text', 'since timestamptz business'],
	profiles => ['!customer_id integer id', 'level numeric numeric', 'points integer points'],
	tags => ['!tag_id integer tag', 'customer_id integer id', 'kind text kind', 'weight integer small'],
	regions => ['!region text region_key', 'country text text', 'tax numeric numeric'],
	households => ['!household_id integer id', '!customer_id integer id', 'share numeric share'],
	products => ['!product_id integer id', 'name text text', 'price numeric money', 'category_id integer ref', 'changed timestamptz business'],
	categories => ['!category_id bigint id', 'title text title', 'parent_id integer ref'],
	'Odd"Names' => ['!code numeric code', '!re gion text odd', 'label text text', 'select integer small', 'When date day'],
	orders => ['!order_id integer id', 'customer_id integer ref', 'referrer_id integer ref', 'code numeric code_ref', 're gion text odd',
		'at timestamptz event', 'local_at timestamp local_event', 'due date day', 'status text status', 'paid boolean flag', 'shipped boolean flag',
		'channel text channel', 'amount numeric money', 'ratio float8 float', 'unused text text'],
	lines => ['!order_id integer id', '!line numeric line', 'product_id integer ref', 'qty numeric money', 'note text long', 'points integer points'],
	movements => ['!movement_id bigint movement', 'product_id integer ref', 'customer_id integer ref', 'at timestamptz event', 'local_at timestamp local_event',
		'day date day', 'qty integer small', 'cost numeric money', 'exact numeric wide', 'weight float8 float', 'place text channel', 'big bigint big',
		'took interval interval'],
);
my (%columns, %type, %maker, %key);
for my $table (keys %TABLE)
{
	for (@{ $TABLE{$table} })
	{
		my ($is_key, $name, $type, $maker) = /^(!?)(.+) (\S+) (\S+)$/;
		push @{ $columns{$table} }, $name;
		push @{ $key{$table} }, $name if $is_key;
		$type{$table}{$name} = $type;
		$maker{$table}{$name} = $maker;
	}
}
sub columns_of { return @{ $columns{ $_[0] } } }
sub key_columns { return @{ $key{ $_[0] } } }
sub type_of { return $type{ $_[0] }{ $_[1] } }

sub pick { return $_[int rand @_] }
sub chance { return rand() < $_[0] }

# canonical TEXT: the same for values that are equal, for keys: numbers lose the zeroes behind their point.
sub canonical
{
	my ($text) = @_;
	return $text unless defined $text && $text =~ /^-?\d+\.\d+$/;
	return $text =~ s/\.?0+$//r;
}

# key_of TABLE, ROW: one text for each key.
sub key_of
{
	my ($table, $row) = @_;
	return join "\x1f", map { canonical($row->{$_}) } @{ $key{$table} };
}

# parts KEY: the values that key_of joined.
sub parts { return $_[0] eq "" ? ("") : split /\x1f/, $_[0], -1 }

sub quoted { return '"' . ($_[0] =~ s/"/""/gr) . '"' }
sub quoted_table { return 'shop.' . quoted($_[0]) }

# at_source SQL: where the tables are in schema public.
sub at_source { my ($sql) = @_; return $sql =~ s/\bshop\.(?=")/public./gr }

# create_tables: the statements; the harness makes them once for a database.
sub create_tables
{
	return map {
		my $table = $_;
		'CREATE TABLE ' . quoted_table($table) . ' (' . join(', ', map { quoted($_) . " $type{$table}{$_}" } columns_of($table)) .
			', PRIMARY KEY (' . join(', ', map { quoted($_) } @{ $key{$table} }) . '))',
			map { 'ALTER TABLE ' . quoted_table($table) . ' ALTER COLUMN ' . quoted($_) . ' SET STORAGE EXTERNAL' }
			grep { $maker{$table}{$_} eq 'long' } columns_of($table);
	} sort keys %TABLE;
}

# ---- random values

# new_generator: what the values of one history are taken from: its zone, its commit times, how many keys there are.
sub new_generator
{
	my ($n) = @_;
	my $zone = pick('UTC', 'Europe/Berlin', 'America/Havana', 'Asia/Kathmandu');
	# A few days before a change of clocks, or the end of a month, a quarter or a year, or in the middle of nowhere.
	my $anchor = instant_of(pick('2026-03-29 01:00:00+00', '2026-10-25 01:00:00+00', '2026-03-08 05:00:00+00', '2026-11-01 05:00:00+00',
			'2026-07-01 00:00:00+00', '2027-01-01 00:00:00+00', '2026-05-13 12:00:00+00'));
	my $step = pick(3_600_000_000, 6 * 3_600_000_000, 43_200_000_000, 86_400_000_000, 3 * 86_400_000_000, 14 * 86_400_000_000);
	my $time = $anchor - int($n / 2) * $step;
	my @times;
	for (1 .. $n)
	{
		$time += pick(0, 0, 1, 2, $step, $step, $step, 2 * $step);
		push @times, chance(0.1) ? $time - pick(1, $step, 5 * $step) : $time;
	}
	return { zone => $zone, times => \@times, step => $step, anchor => $anchor, ids => pick(2, 3, 4, 6) };
}

my %values = (
	text => ['Bonn', 'Rom', '', undef, 'O\'Hara \\ "x"'],
	float => ['NaN', '-0', '0', '1.5', 'Infinity', '-Infinity', undef, '0.1'],
	numeric => ['1.0', '1.00', '1', 'NaN', 'Infinity', '-Infinity', undef, '0'],
	money => ['1.0', '1.00', '2', '10.5', '0', '-3.25', '7', undef],
	wide => ['1.0', '1.00', '0.000001', '123456789012345678901234.5', 'NaN', 'Infinity', '-Infinity', undef, '-1'],
	share => ['0.5', '0.50', '1', '0.25', '0', undef],
	mostly => ['t', 't', 't', 'f', undef],
	flag => ['t', 'f', undef],
	small => [0 .. 5, undef],
	region => ['north', 'south', 'NORTH', '', undef],
	region_key => ['north', 'south', 'NORTH', ''],
	title => ['hidden', 'secret', 'books', 'music', undef],
	code => ['1', '1.0', '1.00', '2', 'NaN'],
	odd => ['', 'a"b'],
	status => ['open', 'open', 'void', undef],
	channel => ['web', 'shop', '', undef],
	line => ['1', '1.0', '1.00', '2'],
	kind => ['a', 'b', 'a ', undef],
	big => ['9223372036854775807', '-9223372036854775808', '1', '0', undef],
	interval => ['1 mon', '30 days', '-01:00:00', '00:00:00', '1 day 01:00:00', undef]);

sub value
{
	my ($g, $maker) = @_;
	return pick(@{ $values{$maker} }) if $values{$maker};
	return 1 + int rand $g->{ids} if $maker eq 'id';
	return chance(0.12) ? undef : chance(0.1) ? 77 : 1 + int rand $g->{ids} if $maker eq 'ref';
	return 1 + int rand 2 * $g->{ids} if $maker eq 'tag' || $maker eq 'movement';
	return pick(undef, '3', @{ $values{code} }) if $maker eq 'code_ref';
	return chance(0.08) ? 0 : pick(1, 2, 3, 4, undef) if $maker eq 'points';
	return chance(0.1) ? ('toast ' x 500) . pick('a', 'b') : pick(undef, '', 'small') if $maker eq 'long';
	return text_of_instant(instant($g)) // undef if $maker eq 'business' || $maker eq 'event';
	return text_of_local(local_of_utc($g->{zone}, instant($g))) if $maker eq 'local' || $maker eq 'local_event';
	return date_of_local(local_of_utc($g->{zone}, instant($g))) if $maker eq 'day';
	die "no maker of values: $maker";
}

# instant: of the commits, or just beside them, before and after; of local hours, days and months nearby; or of nowhere.
sub instant
{
	my ($g) = @_;
	my $r = rand();
	return $g->{clock} if defined $g->{clock} && chance(0.2); # of the transaction that is being made
	my $time = pick(@{ $g->{times} });
	return $time if $r < 0.3;
	return $time + pick(-1, 1) if $r < 0.4;
	return utc_of_local($g->{zone}, truncate_local(pick('hour', 'day', 'day', 'week', 'month'), local_of_utc($g->{zone}, $time)) + pick(0, 0, 0, -1))
		if $r < 0.6;
	return pick(undef, undef, $INFINITY, -$INFINITY, instant_of('9999-12-31 00:00:00+00'), instant_of('1901-01-01 00:00:00+00')) if $r < 0.75;
	return $g->{anchor} + pick(-3_600_000_000, -1_800_000_000, -1, 0, 1_800_000_000, 3_600_000_000) if $r < 0.82;
	return $time + pick(-7, -3, -2, 2, 3, 7) * $g->{step} + int rand 3_600_000_000;
}

sub random_row
{
	my ($g, $table) = @_;
	return { map { $_ => value($g, $maker{$table}{$_}) } columns_of($table) };
}

# random_key: of a table, be it there or not.
sub random_key
{
	my ($g, $table) = @_;
	return join "\x1f", map { canonical(value($g, $maker{$table}{$_})) } @{ $key{$table} };
}

# random_rows GENERATOR, TABLES: the rows that a first copy would bring; they can be computed by all queries.
sub random_rows
{
	my ($g, @tables) = @_;
	my @changes;
	for my $table (@tables)
	{
		for (1 .. int rand 2 * $g->{ids})
		{
			push @changes, [insert => $table, random_row($g, $table)];
		}
	}
	return (@changes, mending(simulate(\@changes, [])->[0]{state}));
}

# random_transaction GENERATOR, N, TABLES: the changes of the N-th transaction.
sub random_transaction
{
	my ($g, $n, @tables) = @_;
	my $time = $g->{times}[$n - 1];
	$g->{clock} = $time if !defined $g->{clock} || $time > $g->{clock};
	return map { random_changes($g, @tables) } 1 .. pick(1, 1, 2, 2, 3, 4, 5);
}

# edge GENERATOR, N, TABLES: what chance seldom brings together: a fact whose event time is the clock itself (what the N-th transaction does beside
# the rest), and a change of what it refers to in the next transaction, at the same clock (the second list).
sub edge
{
	my ($g, $n, @tables) = @_;
	my ($fact) = grep { /^(orders|movements)$/ } shuffle(@tables);
	my ($other) = grep { /^(customers|products|regions)$/ } shuffle(@tables);
	return ([], []) unless $fact && $other;
	my $clock = (sort { $b <=> $a } @{ $g->{times} }[0 .. $n - 1])[0];
	$g->{times}[$n] = $clock - pick(0, 0, 1, $g->{step});
	my ($id, $one) = (random_key($g, $fact), 1 + int rand $g->{ids});
	my %event = (customer_id => $one, product_id => $one, referrer_id => $one, at => text_of_instant($clock), local_at => text_of_local(local_of_utc($g->{zone}, $clock)));
	my %values = map { $_ => $event{$_} } grep { exists $event{$_} } columns_of($fact);
	my $row = { %{ random_row($g, $fact) }, %values, $key{$fact}[0] => $id };
	return ([[insert => $fact, $row], [update => $fact, $id, \%values]], [[update => $other, $one, random_values($g, $other)], [update => $other, $one, random_values($g, $other)]]);
}

sub shuffle { my %at = map { $_ => rand } @_; return sort { $at{$a} <=> $at{$b} } @_ }

sub random_changes
{
	my ($g, @tables) = @_;
	$g->{hot} ||= [map { pick(@tables) } 1 .. pick(1, 2)]; # much happens to the same rows
	my $table = pick(chance(0.4) ? @{ $g->{hot} } : @tables);
	my $r = rand();
	return [insert => $table, random_row($g, $table)] if $r < 0.33;
	return [update => $table, random_key($g, $table), random_values($g, $table)] if $r < 0.68;
	return random_deletes($g, $table, @tables) if $r < 0.82;
	return random_rekeys($g, $table) if $r < 0.94;
	return [update => $table, random_key($g, $table), {}] if $r < 0.975; # of nothing
	return [truncate => $table], map { [insert => $table, random_row($g, $table)] } 1 .. int rand 3;
}

# random_values: some columns, or all but the key.
sub random_values
{
	my ($g, $table) = @_;
	my %is_key = map { $_ => 1 } @{ $key{$table} };
	my @others = grep { !$is_key{$_} } columns_of($table);
	my @flags = grep { $maker{$table}{$_} eq 'flag' } @others;
	return { pick(@flags) => pick('t', 'f') } if @flags && chance(0.3); # milestones are reached, lost, and reached again
	my @some = chance(0.2) ? @others : map { pick(@others) } 1 .. pick(1, 1, 2);
	return { map { $_ => value($g, $maker{$table}{$_}) } @some };
}

# random_deletes: alone, with an insert of the same key again, or the header and its lines, in either order or the one alone.
sub random_deletes
{
	my ($g, $table, @tables) = @_;
	my $key = random_key($g, $table);
	if ($table =~ /^(orders|lines)$/ && grep { $_ eq 'lines' } @tables)
	{
		my $order = 1 + int rand $g->{ids};
		my @lines = map { [delete => 'lines', "$order\x1f$_"] } 1, 2;
		return pick([[delete => 'orders', $order], @lines], [@lines, [delete => 'orders', $order]], [[delete => 'orders', $order]], \@lines)->@*
			if chance(0.6);
	}
	return [delete => $table, $key] if chance(0.65);
	my $row = random_row($g, $table);
	my @parts = parts($key);
	$row->{ $key{$table}[$_] } = $parts[$_] for 0 .. $#parts;
	return ([delete => $table, $key], [insert => $table, $row]);
}

# random_rekeys: to another key, to another image of the same key, or two swap theirs by a third.
sub random_rekeys
{
	my ($g, $table) = @_;
	my $column = pick(@{ $key{$table} });
	my ($one, $other) = (random_key($g, $table), random_key($g, $table));
	my $to = value($g, $maker{$table}{$column});
	return [rekey => $table, $one, { $column => $to }] if chance(0.5) || $one eq $other;
	my (%one, %other, %third);
	@one{ @{ $key{$table} } } = parts($one);
	@other{ @{ $key{$table} } } = parts($other);
	%third = (%one, $column => $type{$table}{$column} eq 'text' ? 'third' : -1);
	return ([rekey => $table, $one, \%third], [rekey => $table, $other, \%one], [rekey => $table, key_of($table, \%third), \%other]);
}

# mending STATE: changes after which all queries can be computed.
sub mending
{
	my ($state) = @_;
	my @changes;
	for my $table (grep { exists $type{$_}{points} } sort keys %$state)
	{
		push @changes, map { [update => $table, $_, { points => 2 }] }
			grep { defined $state->{$table}{$_}{points} && $state->{$table}{$_}{points} == 0 } sort keys %{ $state->{$table} };
	}
	my %tags;
	push @changes, map { [delete => 'tags', $_] } grep {
		my ($customer, $kind) = @{ $state->{tags}{$_} }{qw(customer_id kind)};
		defined $customer && defined $kind && $tags{"$customer $kind"}++;
	} sort keys %{ $state->{tags} };
	return @changes;
}

# ---- what transactions leave

# simulate FIRST, TRANSACTIONS: FIRST are the changes that made the first copy; a transaction is {time, changes}. Returns the commits: [0] is the
# beginning; each {lsn, time, clock, log, applied, state}, log: [table, seq, op, row], applied: the changes that did something, state: table => key
# => row.
sub simulate
{
	my ($first, $transactions) = @_;
	my %state = map { $_ => {} } keys %TABLE;
	my $clock = instant_of('2000-01-01');
	apply(\%state, {}, [], $_) for @$first;
	my @commits = ({ lsn => 0x1000, time => $clock, clock => $clock, log => [], state => {%state} });
	my $lsn = 0x1000;
	for my $transaction (@$transactions)
	{
		my (%touched, @log);
		$clock = $transaction->{time} if $transaction->{time} > $clock;
		my @applied = grep { apply(\%state, \%touched, \@log, $_) } @{ $transaction->{changes} };
		$lsn += 256;
		push @commits, { lsn => $lsn, time => $transaction->{time}, clock => $clock, log => \@log, applied => \@applied, state => {%state} };
	}
	return \@commits;
}

# apply STATE, TOUCHED, LOG, CHANGE: one change; TOUCHED: the keys that the log has in this transaction. Returns whether it did anything.
sub apply
{
	my ($state, $touched, $log, $change) = @_;
	my ($what, $table, $key, $values) = @$change;
	my %rows = %{ $state->{$table} };
	my $seq = @$log ? $log->[-1][1] + 1 : 1;
	my $was = sub { push @$log, [$table, $seq, 'B', $_[1]] unless $touched->{$table}{ $_[0] }++ };

	if ($what eq 'insert')
	{
		my $row = $key;
		$key = key_of($table, $row);
		return 0 if $rows{$key};
		push @$log, [$table, $seq, 'I', $row];
		$touched->{$table}{$key}++;
		$rows{$key} = $row;
	}
	elsif ($what eq 'truncate')
	{
		$was->($_, $rows{$_}) for sort keys %rows;
		push @$log, [$table, $seq + 1, 'T', {}];
		%rows = ();
	}
	else
	{
		my $old = $rows{$key} or return 0;
		my $new = $what eq 'delete' ? undef : { %$old, %$values };
		my $to = $new && key_of($table, $new);
		return 0 if $new && $to ne $key && $rows{$to};
		$was->($key, $old);
		my $same_key = $new && $to eq $key; # 1.0 and 1.00 are
		push @$log, [$table, $seq, 'D', { map { $_ => $old->{$_} } @{ $key{$table} } }] unless $same_key;
		push @$log, [$table, $seq, $same_key ? 'U' : 'I', $new] if $new;
		delete $rows{$key};
		$rows{$to} = $new if $new;
		$touched->{$table}{$to}++ if $new;
	}
	$state->{$table} = \%rows;
	return 1;
}

# change_sql CHANGE: as a statement, for people.
sub change_sql
{
	my ($change) = @_;
	my ($what, $table, $key, $values) = @$change;
	my $name = quoted_table($table);
	my @names = @{ $key{$table} };
	my $literal = sub { defined $_[0] && $_[0] =~ /^((?:toast ){20,})(.)$/ ? "repeat('toast ', " . length($1) / 6 . ") || '$2'" : Pg::quote($_[0]) };
	my $where = sub {
		my @parts = parts($key);
		return join ' AND ', map { quoted($names[$_]) . ' = ' . Pg::quote($parts[$_]) } 0 .. $#names;
	};
	return "TRUNCATE $name" if $what eq 'truncate';
	return 'DELETE FROM ' . $name . ' WHERE ' . $where->() if $what eq 'delete';
	if ($what eq 'insert')
	{
		my @given = grep { defined $key->{$_} } columns_of($table);
		return "INSERT INTO $name (" . join(', ', map { quoted($_) } @given) . ') VALUES (' . join(', ', map { $literal->($key->{$_}) } @given)
			. ') ON CONFLICT DO NOTHING';
	}
	my @set = %$values ? sort keys %$values : ($columns{$table}[-1]);
	return "UPDATE $name SET " . join(', ', map { quoted($_) . ' = ' . (%$values ? $literal->($values->{$_}) : quoted($_)) } @set) . ' WHERE ' . $where->();
}

1;
