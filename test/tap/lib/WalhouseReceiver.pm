# WalhouseReceiver: an HTTP endpoint for tests. It keeps what is posted to it, and answers as it is told.
package WalhouseReceiver;

use strict;
use warnings;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

# new: starts one on a free port, or on the port of one that was stopped.
sub new
{
	my ($class, $old) = @_;
	my $self = bless { dir => $old ? $old->{dir} : PostgreSQL::Test::Utils::tempdir() }, $class;
	my $socket = IO::Socket::INET->new(Listen => 10, LocalAddr => '127.0.0.1', LocalPort => $old ? $old->{port} : 0, ReuseAddr => 1, Proto => 'tcp')
		or die "no socket: $!";

	$self->{port} = $socket->sockport;
	$self->{pid} = fork();
	die "no fork: $!" if !defined $self->{pid};
	return $self if $self->{pid};
	$self->serve($socket);
	POSIX::_exit(0);
}

sub url { return "http://127.0.0.1:$_[0]{port}/api/v1/lineage" }

# stop: nobody listens any more.
sub stop
{
	my ($self) = @_;
	return if !$self->{pid};
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	$self->{pid} = 0;
	return;
}

sub DESTROY { local ($?, $@, $!); $_[0]->stop }

# answer STATUSES: what the next requests get, one each; later ones get 201. "hang" never answers.
sub answer
{
	my ($self, @statuses) = @_;
	open my $file, '>', "$self->{dir}/statuses" or die $!;
	print $file join(' ', @statuses);
	close $file;
	return;
}

# taken: the bodies that were answered with 201, in order; refused: with their statuses; forget: all that came.
sub taken { return map { $_->[1] } grep { $_->[0] eq '201' } $_[0]->requests }
sub refused { return grep { $_->[0] ne '201' } $_[0]->requests }
sub forget { unlink "$_[0]{dir}/requests"; return }

# requests: [status, body, headers] of each.
sub requests
{
	my ($self) = @_;
	return if !-e "$self->{dir}/requests";
	return map { [ split /\t/, $_, 3 ] } split /\n/, PostgreSQL::Test::Utils::slurp_file("$self->{dir}/requests");
}

sub serve
{
	my ($self, $socket) = @_;
	local $SIG{CHLD} = 'IGNORE';
	local $SIG{PIPE} = 'IGNORE';
	while (my $client = $socket->accept)
	{
		# One at a time, as long as the connection is kept.
		while (defined(my $request = read_request($client)))
		{
			my ($headers, $body) = @$request;
			my $status = $self->next_status;
			open my $file, '>>', "$self->{dir}/requests" or die $!;
			s/[\t\r\n]+/ /g for $headers, $body;
			print $file "$status\t$body\t$headers\n";
			close $file;
			sleep 3600 if $status eq 'hang';
			my $text = $status eq '201' ? '' : "sorry, $status";
			print $client "HTTP/1.1 $status X\r\nContent-Length: " . length($text) . "\r\n\r\n$text";
			$client->flush;
		}
		close $client;
	}
	return;
}

sub next_status
{
	my ($self) = @_;
	open my $file, '<', "$self->{dir}/statuses" or return '201';
	my ($status, @rest) = split ' ', <$file> // '';
	close $file;
	$self->answer(@rest);
	return $status // '201';
}

sub read_request
{
	my ($client) = @_;
	my $headers = '';
	while (defined(my $line = <$client>))
	{
		last if $line eq "\r\n";
		$headers .= $line;
	}
	my ($length) = $headers =~ /^Content-Length: (\d+)/mi or return;
	my $body = '';
	while (length $body < $length)
	{
		read($client, $body, $length - length $body, length $body) or return;
	}
	return [ $headers, $body ];
}

1;
