# Who gives up an alteration, or drops or renames a model by its name, while a swap is under way waits for it, and then does not do that to
# what has the name by then.
use strict;
use warnings;
use WalhouseTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $house = one_server(conf => "walhouse.allow_writes = on\n");
$house->safe_psql('postgres', slurp_file('test/lib/handfeed.sql'));
# A swap waits in its first renaming for whoever has the lock, however long that takes.
$house->safe_psql('postgres', q{
	SELECT handfeed.make('shop', 'UTC');
	CREATE TABLE shop.member (k int PRIMARY KEY, name text);
	SELECT handfeed.add('shop', 'shop.member');
	CREATE SCHEMA dw;
	CREATE FUNCTION public.wait() RETURNS event_trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$ BEGIN
		PERFORM pg_advisory_lock_shared(42), pg_advisory_unlock_shared(42); END $$;
	CREATE EVENT TRIGGER wait ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION public.wait();
	SELECT walhouse.create_dimension('dw.member', 'SELECT k, name FROM shop.member', '{k}');
});
$house->safe_psql('postgres', q{CALL walhouse.build('dw.member')});

for my $hand ("walhouse.cancel_alter('dw.member')", "walhouse.drop_model('dw.member__next')", "walhouse.rename('dw.member', 'other')")
{
	$house->safe_psql('postgres', $_) for q{INSERT INTO shop.member SELECT count(*), 'm' FROM shop.member; SELECT handfeed.commit('shop', now()), handfeed.reach('shop')},
		q{CALL walhouse.load('shop')},
		q{SELECT walhouse.alter_dimension('dw.member', query => 'SELECT k, upper(name) AS name FROM shop.member')};
	my $gate = session('SELECT pg_advisory_lock(42);');
	ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted}, 1), "$hand: the gate is shut");
	my $swap = session(q{CALL walhouse.build('dw.member__next');});
	ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 1), 'a swap is under way');
	my $other = session("SELECT $hand;");
	ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND NOT granted}, 1), 'the hand waits for it');
	$gate->{in} .= "\\q\n";
	$_->{run}->finish for $gate, $swap, $other;
	isnt($other->{err}, '', 'and then is refused');
	is($swap->{err}, '', 'the swap comes to its end');
	is(sql($house, q{SELECT relation::text || ' ' || state || coalesce(' paused' || left(paused::text, 0), '') FROM walhouse.model ORDER BY 1}),
		"dw.member live\ndw.member__old live paused", 'what took the place of the model is there');
	sql($house, q{SELECT walhouse.drop_model('dw.member__old')});
}
$house->stop;
done_testing();

# session STATEMENT: one of its own, that is running it.
sub session
{
	my ($statement) = @_;
	my $self = { in => "$statement\n", out => '', err => '' };
	$self->{run} = IPC::Run::start([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $house->connstr('postgres') ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err});
	$self->{run}->pump while length $self->{in};
	return $self;
}
