# A disk that is full while a partition is archived: the step fails, says so, and is tried again with a growing pause; the table stays,
# other sets go on, and what was half written gives its space back. When there is room again it is archived by itself.
# The folder is a small file system that the server alone sees, mounted in a namespace of its own.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use PostgreSQL::Test::Utils;

my $house = new_server('house', start => 0, conf => "walhouse.partition_lock_timeout = 200ms\n");
my $folder = $house->basedir . '/archive';
my $programs = $house->basedir . '/programs';
mkdir $_ or die "$_: $!" for $folder, $programs;
my $mount = "mount -t tmpfs -o size=4m none '$folder'";
my $within = 'unshare --user --mount --map-current-user --keep-caps sh -c';
plan skip_all => 'no file system can be mounted here' if system("$within \"$mount\" >/dev/null 2>&1") != 0;

# What starts the server mounts the folder first.
my ($real) = grep { -x } map { "$_/pg_ctl" } split /:/, $ENV{PATH};
append_to_file("$programs/pg_ctl", "#!/bin/sh\nexec $within '$mount && exec \"\$0\" \"\$\@\"' $real \"\$\@\"\n" =~ s/'\Q$folder\E'/$folder/r);
chmod 0755, "$programs/pg_ctl";
{
	local $ENV{PATH} = "$programs:$ENV{PATH}";
	$house->append_conf('postgresql.conf', "walhouse.archive_directory = '$folder'\n");
	$house->start;
}
sub on_disk { my ($command) = @_; return sql($house, "COPY (SELECT) TO PROGRAM '$command'") }
sub day { my ($n) = @_; return "(date_trunc('day', now() AT TIME ZONE 'UTC') + $n * interval '1 day') AT TIME ZONE 'UTC'" }

sql($house, 'CREATE EXTENSION walhouse');
on_disk("head -c 3000000 /dev/urandom >$folder/filler");
sql($house, q{
	CREATE ROLE keeper; CREATE SCHEMA s AUTHORIZATION keeper;
	SET ROLE keeper;
	CREATE TABLE s.t (at timestamptz NOT NULL, v bytea) PARTITION BY RANGE (at);
	SELECT walhouse.create_partition_set('s.t', 'day', lead_count => 1, archive => true, outside => 'create');
	SELECT walhouse.make_partition('s.t', (} . day(-20) . q{)::text);
	INSERT INTO s.t SELECT } . day(-20) . q{, sha256(i::text::bytea) || sha512(i::text::bytea) FROM generate_series(1, 20000) i;
	SELECT walhouse.alter_partition_set('s.t', '{"retire_after": "10 days"}');
});
my $table = value($house, q{SELECT partition FROM walhouse.partitions ORDER BY from_value LIMIT 1});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.partitions WHERE next_step = 'archive' AND failures >= 2 AND error LIKE 'could not write file%No space left on device'}, '1'), 'a full disk is said, and the step is tried again')
	or diag(sql($house, 'SELECT * FROM walhouse.partitions'));
is(value($house, q{SELECT failing || ' ' || (error LIKE '%No space left%') FROM walhouse.stat_partition_set}), '1 true', 'it is on view');
is(value($house, q{SELECT bool_and(due > error_time) FROM walhouse.partitions WHERE failures > 0}), 't', 'with a pause before the next attempt');
is(value($house, "SELECT count(*) FROM $table"), '20000', 'the table is there');
is(value($house, "SELECT string_agg(f, ' ') FROM pg_ls_dir('$folder') f WHERE f <> 'filler'") // '', '', 'what was half written has given its space back');
is(value($house, q{SELECT count(*) FROM walhouse.partition_archive}), '0', 'no archive is claimed');

sql($house, q{SET ROLE keeper; CREATE TABLE s.u (at timestamptz NOT NULL) PARTITION BY RANGE (at); SELECT walhouse.create_partition_set('s.u', 'day', lead_count => 3)});
ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_inherits WHERE inhparent = 's.u'::regclass}, '4'), 'another set goes on');
sql($house, q{SET ROLE keeper; SELECT walhouse.alter_partition_set('s.t', '{"lead_count": 3}')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_inherits WHERE inhparent = 's.t'::regclass}, '4'), 'and so do other steps of this one');

on_disk("rm $folder/filler");
ok(poll($house, 'postgres', "SELECT to_regclass('$table') IS NULL", 't'), 'when there is room, it is archived and dropped');
is(value($house, q{SELECT rows || ' ' || (SELECT failing FROM walhouse.stat_partition_set WHERE parent = 's.t'::regclass) FROM walhouse.partition_archives}), '20000 0', 'with all of its rows');
my $from = value($house, q{SELECT from_value FROM walhouse.partition_archives});
sql($house, "SET ROLE keeper; CALL walhouse.restore_partition('s.t', '$from')");
is(value($house, q{SELECT count(*) || ' ' || count(*) FILTER (WHERE length(v) = 96) FROM s.t}), '20000 20000', 'which come back');

$house->stop;
done_testing();
