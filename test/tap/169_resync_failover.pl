# One feed through two failovers and three restores of its source, under a running load: to a standby that lacks commits which the
# feed has, to one that has all of them, to copies of an earlier state with the same ids, with the slot and without it.  Each time
# the feed stops with the choice, CALL walhouse.resync brings it on, and verify is clean.  A source that is no copy is refused.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use BankLoad;
use PostgreSQL::Test::Cluster;
use Test::More;

my @models = qw(dw.account dw.ledger dw.by_owner);
my ($source, $house) = source_and_house();
bank_create($source);
create_server($house, 'bank', $source);
sql($house, q{
	CALL walhouse.create_feed('bank', server => 'bank', publication => 'bank');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.account', $$ SELECT id, owner, balance, n, length(note) AS size FROM bank.account $$,
		key => '{id}', scd => '{"*": 2, "owner": 1}');
	SELECT walhouse.create_fact('dw.ledger', $$ SELECT id, account, amount, at, n FROM bank.ledger $$, key => '{id}',
		event_time => 'at', dimensions => '{"account_sk": "dw.account(account)"}');
	SELECT walhouse.create_rollup('dw.by_owner', 'dw.ledger', '{account_sk}', '{"amount": "sum(amount)", "bookings": "count(*)"}');
	SELECT walhouse.start('bank')});

# A failover to a standby that lacks commits which the feed has: its LSNs are lower.
my $second = standby_of($source, 'second');
caught_up($source, $second);
$second->stop;
load($source, 300);
# More WAL than the load below writes at the standby.
sql($source, 'SELECT pg_switch_wal(); UPDATE account SET n = n + 1 WHERE id = 1') for 1 .. 6;
ok(reach($house, 'bank', $source), 'the feed has what the standby has not');
$source->stop('immediate');
$second->start;
$second->promote;
follow($second);
goes_on($second, 'a standby that lacks commits', qr/timeline/, 300);
is(value($house, q{SELECT lsn_offset > 0 FROM walhouse.feed}), 't', 'positions go on where LSNs are lower');

# A failover to a standby that has all.
my $third = standby_of($second, 'third');
load($second, 200);
ok(reach($house, 'bank', $second), 'all arrives');
caught_up($second, $third);
$second->stop('immediate');
$third->promote;
follow($third);
goes_on($third, 'a standby that has all', qr/timeline/, 100);

# Restored to an earlier state: a base backup, which has no slots, and the files as they were, slot and ids too.
$third->backup('base');
load($third, 200);
ok(reach($house, 'bank', $third), 'all arrives again');
sql($house, q{SELECT walhouse.stop('bank')});
$third->stop;
$third->backup_fs_cold('files');
$third->start;
sql($house, q{SELECT walhouse.start('bank')});
load($third, 400);
ok(reach($house, 'bank', $third), 'and again');
$third->stop('immediate');
my $fourth = copy_of($third, 'fourth', 'files');
goes_on($fourth, 'the files of an earlier state', qr/is behind the feed/, 1);
$fourth->stop('immediate');
my $fifth = copy_of($third, 'fifth', 'base');
goes_on($fifth, 'a base backup of an earlier state', qr/does not exist/, 200);

# Another cluster is no copy.
my $other = new_server('other');
sql($other, q{CREATE TABLE pad (); CREATE TABLE ledger (id bigint PRIMARY KEY); CREATE TABLE account (id int PRIMARY KEY);
	CREATE PUBLICATION bank FOR TABLE account, ledger});
sql($house, q{SELECT walhouse.stop('bank')});
follow($other);
fails_with($house, 'a source with other ids stops the feed', q{CALL walhouse.run('bank')}, qr/system identifier of the source/, qr/walhouse\.resync/);
fails_with($house, 'and one that is no copy cannot take its place', q{CALL walhouse.resync('bank')}, qr/no copy of the one that feed "bank" was made for/, qr/drop_feed/);
follow($fifth);
sql($house, q{CALL walhouse.run('bank')});
verify_clean($house, 'in the end', @models);
star_holds($house, 'in the end');
$_->stop for $house, $fifth, $other;
done_testing();

sub standby_of
{
	my ($primary, $name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$primary->backup("for_$name");
	$node->init_from_backup($primary, "for_$name", has_streaming => 1);
	$node->start;
	return $node;
}

sub caught_up
{
	my ($primary, $standby) = @_;
	my $lsn = source_lsn($primary);
	return ok(poll($standby, 'postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn'"), $standby->name . ' has all');
}

sub copy_of
{
	my ($from, $name, $backup) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($from, $backup);
	$node->start;
	follow($node);
	return $node;
}

sub follow
{
	my ($node) = @_;
	return sql($house, sprintf(q{ALTER SERVER bank OPTIONS (SET host '%s', SET port '%s')}, $node->host, $node->port));
}

sub load
{
	my ($node, $changes) = @_;
	my $clients = bank_start($node, $ENV{RATE} || 200);
	wait_for_changes($node, $changes);
	return ok(bank_stop($node, $clients), 'the clients have gone');
}

# goes_on NODE, WHAT, WHY, CHANGES: the feed says why it does not run there, and runs after a resync made while so many changes come.
sub goes_on
{
	my ($node, $what, $why, $changes) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok(until_true(sub { (ask($house, q{SELECT error FROM walhouse.stat_feed}) // '') =~ $why }, 60), "$what: the feed stops, and says why")
		or diag(value($house, q{SELECT error FROM walhouse.stat_feed}));
	my $clients = bank_start($node, $ENV{RATE} || 200);
	wait_for_changes($node, $changes);
	sql($house, q{CALL walhouse.resync('bank')});
	verify_clean($house, "$what: just after the resync", @models);
	wait_for_changes($node, $changes);
	ok(bank_stop($node, $clients), "$what: the load was on all the while");
	ok(models_reach($house, 'bank') && reach($house, 'bank', $node), "$what: the feed goes on");
	mirrors_equal($house, $node, 'bank', qw(account ledger));
	verify_clean($house, "$what: after it", @models);
	star_holds($house, $what);
	is(value($house, 'SELECT count(*), sum(amount) FROM dw.ledger'), value($node, 'SELECT count(*), sum(amount) FROM ledger'), "$what: the ledger adds up");
	return;
}
