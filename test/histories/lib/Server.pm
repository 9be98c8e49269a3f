# Server: a private server for one process of the histories, with a database whose feed is made by hand: its mirrors and logs are
# ordinary tables that Play fills.
package Server;

use strict;
use warnings;
use Time::HiRes qw(usleep time);
use Pg;
use Source;

# new DIRECTORY, LIB: a server there, and the folder with handfeed.sql.
sub new
{
	my ($class, $dir, $lib) = @_;
	my $self = bless { dir => $dir, lib => $lib, user => scalar(getpwuid $>), database => 'histories' }, $class;
	_run("rm -rf '$dir' && mkdir -p '$dir' && initdb -D '$dir/data' -A trust -N --no-instructions >'$dir/log' 2>&1");
	open my $conf, '>>', "$dir/data/postgresql.conf" or die "$dir: $!";
	open my $given, '<', $ENV{SERVER_CONF} or die "SERVER_CONF: $!";
	print $conf $_ while <$given>;
	print $conf "listen_addresses = ''\nunix_socket_directories = '$dir'\nlog_statement = none\njit = off\nmax_connections = 20\n",
		"full_page_writes = off\nclient_min_messages = warning\nrestart_after_crash = on\nmax_wal_size = 4GB\n";
	close $conf;
	$self->start;
	$self->make_template;
	return $self;
}

sub _run
{
	my ($command) = @_;
	system($command) == 0 or die "failed: $command\n";
	return;
}

sub start { my ($self) = @_; _run("pg_ctl -D '$self->{dir}/data' -l '$self->{dir}/log' -w start >/dev/null"); return }

sub stop
{
	my ($self, $mode) = @_;
	delete $self->{$_} for qw(main other source);
	_run("pg_ctl -D '$self->{dir}/data' -m " . ($mode || 'immediate') . ' -w stop >/dev/null');
	return;
}

# session DATABASE: tried again while the server comes back from a crash.
sub session
{
	my ($self, $database) = @_;
	my $until = time() + 60;
	while (1)
	{
		my $pg = eval { Pg->connect($self->{dir}, 5432, $self->{user}, $database, '-c timezone=UTC -c walhouse.allow_writes=off') };
		return $pg if $pg;
		die $@ if time() > $until || !ref $@ || $@->state !~ /^(08|57)/;
		usleep(2_000);
	}
}

# main, other: the session that works, and the one that watches it.
sub main { my ($self) = @_; return $self->{main} ||= $self->session($self->{database}) }
sub other { my ($self) = @_; return $self->{other} ||= $self->session($self->{database}) }

# source: where the tables of the real feed are.
sub source { my ($self) = @_; return $self->{source} ||= $self->session('source') }

# use_database NAME: histories (by hand), or real, which is made when it is first asked for.
sub use_database
{
	my ($self, $database) = @_;
	return if $self->{database} eq $database;
	$self->forget;
	$self->{database} = $database;
	$self->make_real if $database eq 'real' && !$self->{has_real}++;
	return;
}

# forget: sessions that are gone.
sub forget
{
	my ($self) = @_;
	$_->close for grep { $_ } delete @$self{qw(main other source)};
	return;
}

sub make_template
{
	my ($self) = @_;
	my $pg = $self->session('postgres');
	$pg->query('CREATE DATABASE template_histories');
	$pg->close;
	$pg = $self->session('template_histories');
	$pg->query('CREATE EXTENSION walhouse');
	open my $file, '<', "$self->{lib}/handfeed.sql" or die "$self->{lib}/handfeed.sql: $!";
	$pg->query(do { local $/; <$file> });
	$pg->query("SELECT handfeed.make('shop', 'UTC'); DELETE FROM walhouse.feed_position");
	$pg->query($_) for create_tables();
	for my $table (map { quoted_table($_) } sort keys %TABLE)
	{
		$pg->query('SELECT handfeed.add(' . Pg::quote('shop') . ', ' . Pg::quote($table) . ')');
		$pg->query("DROP TRIGGER handfeed ON $table; DROP TRIGGER handfeed_truncate ON $table");
	}
	make_calendars($pg);
	$pg->close;
	return;
}

sub make_calendars
{
	my ($pg) = @_;
	$pg->query('CREATE SCHEMA dw; CREATE SCHEMA cal');
	$pg->query("SELECT walhouse.create_date_dimension('cal.date', '2026-05-10', '2026-05-20')");
	$pg->query("SELECT walhouse.create_time_dimension('cal.$_', '$_')") for qw(hour minute second);
	return;
}

# make_real: a source with the same tables, and a feed of it.
sub make_real
{
	my ($self) = @_;
	my $pg = $self->session('postgres');
	$pg->query("CREATE DATABASE $_") for qw(source real);
	$pg->close;
	$self->source->query(Source::at_source($_)) for create_tables();
	$self->source->query('CREATE PUBLICATION shop FOR ALL TABLES');
	$self->main->query($_) for 'CREATE EXTENSION walhouse', "CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (host '$self->{dir}', dbname 'source')",
		"CREATE USER MAPPING FOR CURRENT_USER SERVER shop OPTIONS (user '$self->{user}')", "CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop')";
	make_calendars($self->main);
	return;
}

# fresh: the database as it was made.
sub fresh
{
	my ($self) = @_;
	my $is_real = $self->{database} eq 'real';
	$self->forget;
	my $pg = $self->session('postgres');
	if ($is_real)
	{
		$pg->query("DROP DATABASE IF EXISTS real WITH (FORCE)");
		$pg->query('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL');
		usleep(20_000) while $pg->value('SELECT count(*) FROM pg_replication_slots WHERE active_pid IS NOT NULL');
		$pg->query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots');
		$pg->query("DROP DATABASE IF EXISTS source WITH (FORCE)");
		$self->make_real;
	}
	else
	{
		$pg->query('DROP DATABASE IF EXISTS histories WITH (FORCE)');
		$pg->query('CREATE DATABASE histories TEMPLATE template_histories');
	}
	$pg->close;
	return;
}

1;
