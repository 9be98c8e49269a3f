# One feed through a year: 40 statements of DDL in random order under a write load, tables that come and go, models that are altered, a slot
# that is lost, two failovers and a restore. Nothing stops the rest of the feed, nothing needs drop_feed; after each month verify is clean,
# and at the end mirrors are what the source has, and the star is what one built from scratch is, where the log reaches back.
# SEED=n plays another year; ROUNDS=n makes it longer (make year).
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use BankLoad;
use PostgreSQL::Test::Cluster;
use Test::More;

my $seed = $ENV{SEED} || 2026;
my $statements = 4 * ($ENV{ROUNDS} || 10);
my $rate = $ENV{RATE} || 100;
srand($seed);
note("SEED=$seed");

my ($source, $house) = source_and_house(house => { conf => "walhouse.verify_interval = 0\n" });
my @tables = qw(account ledger stock tag);
my %columns; # of each table, those that DDL has made: of { name, type, generated }
my ($generation, $names, $counter) = (0, 0, 0);
my @altered; # what was done to columns, as walhouse.schema_changes says it
bank_create($source);
sql($source, q{
	CREATE TABLE stock (id int PRIMARY KEY, place text, amount int);
	CREATE TABLE tag (id int PRIMARY KEY, account int, word varchar(10));
	INSERT INTO stock SELECT i, 'place ' || i % 5, i FROM generate_series(1, 200) i;
	INSERT INTO tag SELECT i, i, 'tag ' || i % 7 FROM generate_series(1, 200) i;
	ALTER PUBLICATION bank ADD TABLE stock, tag});
create_server($house, 'bank', $source);
sql($house, q{
	CALL walhouse.create_feed('bank', server => 'bank', publication => 'bank');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.account', $$ SELECT id, owner, balance, n FROM bank.account $$, key => '{id}', scd => '{"*": 2, "owner": 1}');
	SELECT walhouse.create_dimension('dw.tag', $$ SELECT id, account, word FROM bank.tag $$, key => '{id}');
	SELECT walhouse.create_fact('dw.ledger', $$ SELECT id, account, amount, at, n FROM bank.ledger $$, key => '{id}', event_time => 'at',
		dimensions => '{"account_sk": "dw.account(account)"}');
	SELECT walhouse.create_rollup('dw.daily', 'dw.ledger', '{account_sk}', '{"amount": "sum(amount)", "bookings": "count(*)"}');
	SELECT walhouse.start('bank')});
my @models = qw(dw.account dw.tag dw.ledger dw.daily);
ok(models_reach($house, 'bank'), 'the star is there');

# The year, month by month: what happens in it, beside DDL.
my @months = (
	[ 'January', \&add_table ],
	[ 'February', sub { sql($house, q{SELECT walhouse.pause('dw.daily')}) } ],
	[ 'March', sub { sql($house, q{SELECT walhouse.resume('dw.daily'); SELECT walhouse.alter_fact('dw.ledger', partition_by => 'year')}) } ],
	[ 'April', \&lose_slot ],
	[ 'May', sub { sql($house, q{SELECT walhouse.alter_dimension('dw.account', query => 'SELECT id, owner, balance, n, length(note) AS size FROM bank.account')}) } ],
	[ 'June', sub { fail_over('lacks commits', 0) } ],
	[ 'July', sub { sql($house, q{SELECT walhouse.alter_rollup('dw.daily', bucket => 'month')}) } ],
	[ 'August', sub { fail_over('has all', 1) } ],
	[ 'September', sub { remove_table(); sql($house, q{SELECT walhouse.rename('dw.tag', 'label'); SELECT walhouse.rename('dw.label', 'tag')}) } ],
	[ 'October', \&restore ],
	[ 'November', sub { kill9($house); $house->start } ],
	[ 'December', sub { } ]);
my $clients = bank_start($source, $rate);
for my $month (@months)
{
	my ($name, $event) = @$month;
	$event->();
	$generation++;
	ddl() while $counter < $statements * $generation / @months;
	settle($name);
}
ok(bank_stop($source, $clients), 'the clients have gone');
cmp_ok($counter, '>=', $statements, "$counter statements of DDL");

# ---- The end of the year.
is(value($house, q{SELECT string_agg(concat_ws(' ', source_name, kind, column_name), E'\n' ORDER BY lsn, change_id) FROM walhouse.schema_changes
	WHERE kind IN ('add column', 'drop column', 'rename column', 'alter type')}), join("\n", @altered), 'walhouse.schema_changes has what was done to columns, in order');
ok(reach($house, 'bank', $source), 'all is in');
same_rows($_) for @tables;
verify_clean($house, 'at the end', @models);
star_holds($house, 'at the end');
is(value($house, q{SELECT string_agg(d::text, ' ') FROM walhouse.doctor('1 hour') d WHERE severity <> 'notice'}), '', 'the doctor finds nothing');
sql($house, q{
	SELECT walhouse.create_dimension('dw.account2', $$ SELECT id, owner, balance, n, length(note) AS size FROM bank.account $$, key => '{id}', scd => '{"*": 2, "owner": 1}');
	SELECT walhouse.create_fact('dw.ledger2', $$ SELECT id, account, amount, at, n FROM bank.ledger $$, key => '{id}', event_time => 'at',
		dimensions => '{"account_sk": "dw.account2(account)"}')});
ok(models_reach($house, 'bank'), 'another star is built from scratch');
cmp_ok(value($house, 'SELECT count(*) FROM (' . versions('dw.account') . ') v'), '>', 100, 'there is a history');
same($house, 'its versions are the same where the log reaches back',
	versions('dw.account2'), versions('dw.account'));
same($house, 'and so are its facts, with the versions that they have since then',
	facts('ledger2', 'account2'), facts('ledger', 'account'));
$_->stop for $house, $source;
done_testing();

# same_rows TABLE: its mirror has the source's rows, by the names of columns: what was added, dropped and copied again stands in another order.
sub same_rows
{
	my ($table) = @_;
	my $names = value($source, "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname) FROM pg_attribute WHERE attrelid = '$table'::regclass AND attnum > 0 AND NOT attisdropped");
	my $digest = qq{SELECT count(*) || ' ' || md5(string_agg(t::text, E'\n' ORDER BY id)) FROM (SELECT $names FROM %s) t};
	return is(value($house, sprintf($digest, "bank.$table")), value($source, sprintf($digest, $table)), "mirror of $table equals its source");
}

# reach_of_log: the feed clock at the first transaction that the log of account has; what was before is a matter of the horizon.
sub reach_of_log
{
	return q{(SELECT t.clock FROM bank_log.txn t, walhouse.feed_table f WHERE f.source_name = 'account' AND t.end_lsn > f.sync_lsn ORDER BY t.end_lsn LIMIT 1)};
}

sub versions
{
	my ($dimension) = @_;
	return "SELECT id, owner, balance, n, size, valid_from, valid_to, is_current FROM $dimension WHERE valid_from > " . reach_of_log();
}

sub facts
{
	my ($fact, $dimension) = @_;
	return "SELECT f.id, f.account, f.amount, f.at, f.n, d.id AS of, greatest(d.valid_from, " . reach_of_log() . ") FROM dw.$fact f JOIN dw.$dimension d ON d.${dimension}_sk = f.account_sk";
}

# settle MONTH: tables that cannot be followed are copied again, all models come on, and are right.
sub settle
{
	my ($month) = @_;
	ok(reach_tables(), "$month: the feed is there");
	for my $table (split /\n/, sql($house, q{SELECT source_name FROM walhouse.stat_table WHERE feed = 'bank' AND state = 'resync'}))
	{
		note("$month: $table is copied again: " . value($house, "SELECT error FROM walhouse.stat_table WHERE source_name = '$table'"));
		sql($house, "CALL walhouse.resync_table('bank', 'public.$table')");
	}
	ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.model WHERE state <> 'live' AND paused IS NULL}, '0', 120), "$month: all models are live");
	ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.alteration WHERE swapped IS NULL}, '0', 120), "$month: what was altered has taken its place");
	sql($house, q{SELECT walhouse.drop_model(model) FROM (SELECT model FROM walhouse.stat_alteration WHERE swapped IS NOT NULL ORDER BY model_id DESC) m});
	verify_clean($house, $month, @models);
	return;
}

# reach_tables: what was committed before is in, whatever became of models and tables.
sub reach_tables
{
	my $lsn = source_lsn($source);
	return poll($house, 'postgres', "SELECT walhouse.wait_for('bank', '$lsn'::pg_lsn, '60 s') IS NOT NULL", 't', 120);
}

# ---- DDL

# ddl: one random statement, and changes that show it.
sub ddl
{
	my $table = $tables[rand @tables];
	my $of = $columns{$table} ||= [];
	my @choices = (\&add, \&add, \&add, (@$of ? (\&drop, \&again, \&rename_column, \&widen, \&not_null, \&set_default) : ()), \&rewrite, \&identity, \&check);
	my $statement = $choices[rand @choices]->($table, $of);

	$counter++;
	note("$counter: $statement");
	sql($source, "SET lock_timeout = '10s'; $statement");
	sql($source, "UPDATE $table SET " . join(', ', map { "$_->{name} = " . value_of($_) } grep { !$_->{generated} } @$of) . " WHERE id % 7 = 3")
		if grep { !$_->{generated} } @$of;
	return;
}

sub add
{
	my ($table, $of) = @_;
	my @types = ([ 'int', ' DEFAULT 7' ], [ 'smallint', '' ], [ 'varchar(10)', q{ DEFAULT 'x'} ], [ 'numeric(8,2)', '' ], [ 'float8', ' DEFAULT random()' ],
		[ 'timestamptz', ' DEFAULT clock_timestamp()' ], [ 'int', ' GENERATED ALWAYS AS (id * 2) STORED' ], [ 'text', q{ NOT NULL DEFAULT 'y'} ]);
	my ($type, $more) = @{ $types[rand @types] };
	my $name = 'x' . ++$names;
	push @altered, "$table add column $name";
	push @$of, { name => $name, type => $type, generated => scalar($more =~ /GENERATED/) };
	return "ALTER TABLE $table ADD COLUMN $name $type$more";
}

sub drop
{
	my ($table, $of) = @_;
	my $column = splice @$of, rand @$of, 1;
	push @altered, "$table drop column $column->{name}";
	return "ALTER TABLE $table DROP COLUMN $column->{name}";
}

sub again
{
	my ($table, $of) = @_;
	my $column = $of->[rand @$of];
	@$column{qw(type generated)} = ('text', '');
	push @altered, "$table drop column $column->{name}", "$table add column $column->{name}";
	return "ALTER TABLE $table DROP COLUMN $column->{name}; ALTER TABLE $table ADD COLUMN $column->{name} text";
}

sub rename_column
{
	my ($table, $of) = @_;
	my $column = $of->[rand @$of];
	my $was = $column->{name};
	$column->{name} = 'x' . ++$names;
	push @altered, "$table rename column $column->{name}";
	return "ALTER TABLE $table RENAME COLUMN $was TO $column->{name}";
}

sub widen
{
	my ($table, $of) = @_;
	my %wider = ('smallint' => 'int', 'int' => 'bigint', 'varchar(10)' => 'varchar(20)', 'varchar(20)' => 'text', 'numeric(8,2)' => 'numeric(12,2)', 'numeric(12,2)' => 'numeric');
	my @narrow = grep { !$_->{generated} && $wider{ $_->{type} } } @$of or return add($table, $of);
	my $column = $narrow[rand @narrow];
	$column->{type} = $wider{ $column->{type} };
	push @altered, "$table alter type $column->{name}";
	return "ALTER TABLE $table ALTER COLUMN $column->{name} TYPE $column->{type}";
}

sub not_null
{
	my ($table, $of) = @_;
	my $column = $of->[rand @$of];
	# The clients insert into the others.
	return "ALTER TABLE $table ALTER COLUMN $column->{name} DROP NOT NULL" if $column->{generated} || $table !~ /^(stock|tag)$/ || rand() < 0.3;
	return "UPDATE $table SET $column->{name} = " . value_of($column) . "; ALTER TABLE $table ALTER COLUMN $column->{name} SET NOT NULL";
}

sub set_default
{
	my ($table, $of) = @_;
	my $column = $of->[rand @$of];
	return check($table) if $column->{generated};
	return "ALTER TABLE $table ALTER COLUMN $column->{name} SET DEFAULT " . value_of($column);
}

sub rewrite
{
	my ($table) = @_;
	return 'VACUUM FULL ' . $table;
}

sub identity
{
	my ($table) = @_;
	return "ALTER TABLE $table REPLICA IDENTITY " . (rand() < 0.5 ? 'FULL' : 'DEFAULT');
}

sub check
{
	my ($table) = @_;
	return "ALTER TABLE $table ADD CONSTRAINT c" . ++$names . ' CHECK (id > -1)';
}

sub value_of
{
	my ($column) = @_;
	return q{'2026-01-01 00:00+00'} if $column->{type} eq 'timestamptz';
	return $column->{type} =~ /char|text/ ? "'" . chr(97 + rand 26) . "'" : int(rand 100);
}

# ---- Tables that come and go

sub add_table
{
	sql($source, q{
		CREATE TABLE parcel (id int PRIMARY KEY, account int, place text);
		INSERT INTO parcel SELECT i, i % 200, 'place ' || i % 9 FROM generate_series(1, 5000) i;
		ALTER PUBLICATION bank ADD TABLE parcel});
	sql($house, q{CALL walhouse.add_table('bank', 'public.parcel')});
	sql($source, q{UPDATE parcel SET place = 'none' WHERE id % 3 = 0; DELETE FROM parcel WHERE id % 11 = 0});
	ok(poll($house, 'postgres', q{SELECT state FROM walhouse.stat_table WHERE source_name = 'parcel'}, 'ready', 120), 'a table has come');
	sql($house, q{SELECT walhouse.create_dimension('dw.parcel', 'SELECT id, account, place FROM bank.parcel', '{id}')});
	sql($source, q{UPDATE parcel SET place = 'some' WHERE id % 5 = 0});
	push @tables, 'parcel';
	push @models, 'dw.parcel';
	return;
}

sub remove_table
{
	same_rows('parcel');
	fails_with($house, 'a table that models read stays', q{CALL walhouse.remove_table('bank', 'public.parcel')}, qr/parcel/);
	sql($house, q{SELECT walhouse.drop_model('dw.parcel')});
	sql($source, 'ALTER PUBLICATION bank DROP TABLE parcel');
	sql($house, q{CALL walhouse.remove_table('bank', 'public.parcel')});
	@tables = grep { $_ ne 'parcel' } @tables;
	@models = grep { $_ ne 'dw.parcel' } @models;
	return;
}

# ---- What befalls the source

sub lose_slot
{
	sql($house, q{SELECT walhouse.stop('bank')});
	ok(poll($source, 'postgres', 'SELECT count(*) FROM pg_replication_slots WHERE active', '0'), 'the worker has gone');
	sql($source, q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots});
	wait_for_changes($source, 50);
	resync('a lost slot');
	return;
}

sub fail_over
{
	my ($what, $has_all) = @_;
	my $next = PostgreSQL::Test::Cluster->new("generation$generation");
	$source->backup("for$generation");
	$next->init_from_backup($source, "for$generation", has_streaming => 1);
	$next->start;
	bank_stop($source, $clients);
	if ($has_all)
	{
		my $lsn = source_lsn($source);
		ok(poll($next, 'postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn'"), 'the standby has all');
	}
	else
	{
		$next->stop;
		sql($source, 'CALL work()') for 1 .. 30;
		ok(reach_tables(), 'the feed has what the standby has not');
	}
	$source->stop('immediate');
	$next->start unless $has_all;
	$next->promote;
	follow($next);
	resync("a standby that $what");
	return;
}

sub restore
{
	my $next = PostgreSQL::Test::Cluster->new('restored');
	$source->backup('earlier');
	wait_for_changes($source, 50);
	bank_stop($source, $clients);
	ok(reach_tables(), 'the feed has what came after the backup');
	$source->stop('immediate');
	$next->init_from_backup($source, 'earlier');
	$next->start;
	follow($next);
	resync('a restored source');
	return;
}

sub follow
{
	my ($node) = @_;
	$source = $node;
	sql($house, sprintf q{ALTER SERVER bank OPTIONS (SET host '%s', SET port '%s')}, $node->host, $node->port);
	$clients = bank_start($node, $rate);
	return;
}

sub resync
{
	my ($what) = @_;
	sql($house, q{SELECT walhouse.stop('bank')});
	ok(poll($house, 'postgres', q{SELECT worker FROM walhouse.stat_feed}, 'stopped'), "$what: the worker has ended");
	sql($house, q{CALL walhouse.resync('bank')});
	sql($house, q{SELECT walhouse.start('bank')});
	return pass("$what: the feed goes on");
}
