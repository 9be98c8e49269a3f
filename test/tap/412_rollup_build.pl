# A rollup and a periodic snapshot are built while loads go on: the build has read its fact and waits, loads move the fact, and what they did is
# there when the build ends. The same with kill -9 of the server in the midst of it, before and after loads: the next build is right.
use strict;
use warnings;
use FindBin;
use IPC::Run ();
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $node = one_server();
my $n = 0;
open my $file, '<', "$FindBin::Bin/../lib/handfeed.sql" or die "handfeed.sql: $!";
sql($node, join('', <$file>));
sql($node, q{
	SET client_min_messages = warning;
	SELECT handfeed.make('shop', 'UTC');
	CREATE TABLE shop.moves (id int PRIMARY KEY, item int, at timestamptz, qty int, price numeric);
	INSERT INTO shop.moves SELECT i, i % 9, timestamptz '2026-01-01' + i % 20 * interval '1 day', i % 7, i % 11 FROM generate_series(1, 500) i;
	SELECT handfeed.add('shop', 'shop.moves');
	UPDATE shop.moves SET qty = qty WHERE id = 1;
	SELECT handfeed.commit('shop', '2026-01-20 12:00+00');
	SELECT handfeed.reach('shop');
	CREATE SCHEMA dw;
	SELECT walhouse.create_fact('dw.move', 'SELECT id, item, at, qty, price FROM shop.moves', '{id}', 'at');
	CALL walhouse.build('dw.move');
	SELECT walhouse.create_rollup('dw.day', 'dw.move', '{item}', '{"n": "count(*)", "qty": "sum(qty)", "hi": "max(price)"}');
	SELECT walhouse.create_periodic_snapshot('dw.stock', 'dw.move', '{item}', '{"n": "count(*)", "stock": "balance(qty)", "price": "last(price)"}');
});

for my $model (qw(dw.day dw.stock))
{
	my ($build, $blocker) = waiting_build($model);
	change() for 1 .. 3;
	isnt(value($node, "SELECT count(*) FROM ${model}_pending"), '0', "$model: what the build did not see is kept");
	$blocker->query_safe('COMMIT');
	$blocker->quit;
	$build->finish;
	right($model, 'built while loads went on');
	change();
	right($model, 'and kept on from there');

	# Built again, killed after a load; the rows of before are there, and what came since.
	($build, $blocker) = waiting_build($model);
	change();
	kill9($node);
	eval { $build->finish };
	eval { $blocker->quit };
	$node->start;
	is(value($node, "SELECT state FROM walhouse.model WHERE relation = '$model'::regclass"), 'building', "$model: a build that was killed is not at its end");
	is(value($node, "SELECT missing + unexpected + different FROM walhouse.verify('$model')"), '0', "$model: has what it had, and keeps what it missed");
	change();
	sql($node, "CALL walhouse.build('$model')");
	right($model, 'built after a crash');
}
is(value($node, 'SELECT count(*) FROM walhouse.verify() WHERE missing + unexpected + different > 0'), '0', 'all is right at the end');
$node->stop;
done_testing();

# waiting_build MODEL: a build that has taken its snapshot and waits for a lock on the model's table, and the session that holds it.
sub waiting_build
{
	my ($model) = @_;
	my $out = '';
	my $blocker = $node->background_psql('postgres');

	$blocker->query_safe("BEGIN; LOCK TABLE $model IN SHARE MODE");
	my $build = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL walhouse.build('$model')" ],
		'<', \undef, '>', \$out, '2>', \$out);
	ok(poll($node, 'postgres', "SELECT count(*) FROM pg_locks WHERE relation = '$model'::regclass AND NOT granted", '1'), "$model: its build waits");
	return ($build, $blocker);
}

# change: a source transaction of every kind of change, loaded.
sub change
{
	$n++;
	sql($node, qq{
		SET client_min_messages = warning;
		UPDATE shop.moves SET qty = qty + $n WHERE id % 50 = $n % 50;
		UPDATE shop.moves SET at = at + interval '1 day', price = price + 1 WHERE id % 70 = $n;
		UPDATE shop.moves SET item = 9 - item WHERE id % 90 = $n;
		DELETE FROM shop.moves WHERE id = $n * 3;
		INSERT INTO shop.moves VALUES (1000 + $n, $n, '2026-01-05', 1, 100);
		SELECT handfeed.commit('shop', timestamptz '2026-01-20 13:00+00' + $n * interval '9 hours');
		SELECT handfeed.reach('shop');
		CALL walhouse.load('shop');
	});
	return;
}

sub right
{
	my ($model, $when) = @_;
	is(value($node, "SELECT state FROM walhouse.model WHERE relation = '$model'::regclass"), 'live', "$model, $when: it is live");
	is(value($node, "SELECT missing + unexpected + different FROM walhouse.verify('$model')"), '0', "$model, $when: it is right");
	is(value($node, "SELECT count(*) FROM ${model}_pending"), '0', "$model, $when: nothing is left to be added");
	is(value($node, q{SELECT count(*) FROM (SELECT item, count(*), sum(qty), max(price) FROM dw.move GROUP BY 1, at::date
		EXCEPT ALL SELECT item, n, qty, hi FROM dw.day) q}), '0', "$model, $when: and what PostgreSQL computes") if $model eq 'dw.day';
	return;
}
