# P1, wire: a single value of 900 MB passes through a walsender and walhouse_recv, in chunks. Slow, and it takes 4 GB of
# memory (the reorder buffer's, for the value and the pieces it came in) and 5 GB of disk: WALHOUSE_HUGE=1 runs it.
use strict;
use warnings;
use Digest::MD5;
use IPC::Run;
use Time::HiRes qw(time);
use WalhouseTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => 'slow: WALHOUSE_HUGE=1 runs it') unless $ENV{WALHOUSE_HUGE};

my $size = 900 * 1024 * 1024;
my $node = new_server('huge', conf => "shared_preload_libraries = ''\nmax_wal_size = 4GB\n");
my $dir = PostgreSQL::Test::Utils::tempdir();

sql($node, <<~'SQL');
	CREATE TABLE huge (id integer PRIMARY KEY, v bytea);
	ALTER TABLE huge ALTER v SET STORAGE EXTERNAL;
	SELECT pg_create_logical_replication_slot('huge', 'walhouse_output');
	SQL
sql($node, "INSERT INTO huge SELECT 1, convert_to(repeat('0123456789abcde' || chr(10), $size / 16), 'UTF8')");
my $end = sql($node, 'SELECT pg_current_wal_lsn()');

# peak PID: the most memory of its own that a process has had, in MB; shared buffers not counted.
sub peak
{
	my ($pid) = @_;
	open my $file, '<', "/proc/$pid/status" or return 0;
	my ($anonymous) = map { /^RssAnon:\s+(\d+)/ ? $1 : () } <$file>;
	return ($anonymous // 0) / 1024;
}

my ($sender, $receiver, $err, $out) = (0, 0, '', '');
my $from = time();
my $run = IPC::Run::start([ 'walhouse_recv', '-d', $node->connstr('postgres'), '--slot', 'huge', '--start', '--endpos', $end,
		'--format', 'delimited', '--file', "$dir/huge" ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(900));
my $pid = $run->{KIDS}[0]{PID};
my ($walsender, $first);
wait_until(sub {
	$walsender ||= sql($node, q{SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots WHERE slot_name = 'huge'});
	$first ||= time() if -s "$dir/huge";
	my ($mine, $theirs) = ($walsender ? peak($walsender) : 0, peak($pid));
	$sender = $mine if $mine > $sender;
	$receiver = $theirs if $theirs > $receiver;
	eval { $run->pump_nb };
	return !$run->pumpable;
}, 900);
ok($run->finish, 'the value is received') or diag($err);
my $seconds = time() - $from;

# The file is read as it lies there: batches, entries, chunks.
sub varint
{
	my ($file) = @_;
	my ($value, $shift, $byte) = (0, 0);
	while (read($file, $byte, 1))
	{
		$value |= (ord($byte) & 0x7F) << $shift;
		$shift += 7;
		return ($value) if ord($byte) < 0x80;
	}
	return;
}

my ($largest, $chunks, $bytes) = (0, 0, 0);
my $digest = Digest::MD5->new;
my $batch;
open my $file, '<:raw', "$dir/huge" or die;
while (my ($length) = varint($file))
{
	read($file, $batch, $length);
	$largest = $length if $length > $largest;
	# The entry's tag and length of a Chunk, its id 1, and the tag and length of its data.
	next unless $batch =~ /\x92\x01[\x80-\xff]+[\x00-\x7f]\x08\x01\x12([\x80-\xff]*[\x00-\x7f])/s;
	my ($start, $header, $size_of, $shift) = ($+[0], $1, 0, 0);
	for my $byte (unpack 'C*', $header) { $size_of |= ($byte & 0x7F) << $shift; $shift += 7 }
	$digest->add(substr $batch, $start, $size_of);
	$bytes += $size_of;
	$chunks++;
}
is($bytes, $size, 'all of it');
is($digest->hexdigest, sql($node, 'SELECT md5(v) FROM huge'), 'as it was');
cmp_ok($largest, '<', 300_000, 'in small batches');
cmp_ok($receiver, '<', 64, 'walhouse_recv needs little memory');
cmp_ok($sender, '<', 2.2 * $size / 1024 / 1024, "the walsender little more than the reorder buffer's");
diag(sprintf '%d chunks in %.1f s, the first after %.1f s; walsender %d MB, walhouse_recv %d MB', $chunks, $seconds,
	($first || $from) - $from, $sender, $receiver);

# A message is one piece. Of as many bytes as WAL can hold, behind rows, it needs a batch of its own; a line of JSON may not hold it.
sql($node, <<~'SQL');
	SELECT pg_create_logical_replication_slot('message', 'walhouse_output');
	BEGIN;
	INSERT INTO huge (id) SELECT generate_series(2, 2000);
	SELECT pg_logical_emit_message(true, 'large', convert_to(repeat(chr(10), 1060000000), 'UTF8'));
	COMMIT;
	SQL
my $peek = "SELECT max(length(data)) > 1060000000 FROM pg_logical_slot_peek";
is(sql($node, "${peek}_binary_changes('message', NULL, NULL, 'messages', 'large')"), 't', 'a message that fills the memory of one value');
my (undef, undef, $refused) = $node->psql('postgres', "${peek}_changes('message', NULL, NULL, 'messages', 'large', 'format', 'json')");
like($refused, qr/message "large" is too large for a line of JSON.*HINT:  Read the slot with format=protobuf/s, 'and says where it is too large');
$node->stop;
done_testing();
