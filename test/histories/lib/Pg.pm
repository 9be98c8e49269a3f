# Pg: a session with a server over its Unix socket, in plain Perl: the simple query protocol, values as text, NULL as undef. A psql
# for each statement would take longer than the statements.
package Pg;

use strict;
use warnings;
use IO::Socket::UNIX;
use IO::Select;

# connect DIRECTORY, PORT, USER, DATABASE[, OPTIONS]: trust alone.
sub connect
{
	my ($class, $dir, $port, $user, $database, $options) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => "$dir/.s.PGSQL.$port", Type => SOCK_STREAM)
		or die Pg::Error->new(C => '08001', M => "cannot connect to $dir/.s.PGSQL.$port: $!");
	my $self = bless { socket => $socket, buffer => '' }, $class;
	my $start = pack('N', 196608) . join("\0", 'user', $user, 'database', $database, 'application_name', 'histories',
		'options', $options || '') . "\0\0";
	$self->_write(pack('N', 4 + length $start) . $start);
	$self->receive;
	return $self;
}

# query SQL: the last result that has rows, as a list of rows; dies with a Pg::Error.
sub query
{
	my ($self, $sql) = @_;
	$self->send($sql);
	my $results = $self->receive;
	for my $result (reverse @$results)
	{
		return $result if @$result;
	}
	return [];
}

# results SQL: a list of rows for each statement that gives rows, be there any or not.
sub results
{
	my ($self, $sql) = @_;
	$self->send($sql);
	return @{ $self->receive };
}

# value SQL: the first column of the first row.
sub value
{
	my ($self, $sql) = @_;
	my $rows = $self->query($sql);
	return @$rows ? $rows->[0][0] : undef;
}

# send SQL: does not wait for the answer, which receive takes.
sub send
{
	my ($self, $sql) = @_;
	utf8::encode($sql) if utf8::is_utf8($sql);
	$self->_write('Q' . pack('N', 5 + length $sql) . $sql . "\0");
	return;
}

# is_ready SECONDS: whether something has come within this time.
sub is_ready
{
	my ($self, $seconds) = @_;
	return 1 if length $self->{buffer};
	return scalar IO::Select->new($self->{socket})->can_read($seconds);
}

# receive: the results of a query that was sent.
sub receive
{
	my ($self) = @_;
	my (@results, $error);
	while (1)
	{
		my ($type, $body) = $self->_message;
		if ($type eq 'D')
		{
			push @{ $results[-1] }, _row($body);
		}
		elsif ($type eq 'T') { push @results, [] }
		elsif ($type eq 'E') { $error ||= Pg::Error->new(_fields($body)) }
		elsif ($type eq 'K') { $self->{pid} = unpack('N', $body) }
		elsif ($type eq 'R')
		{
			die Pg::Error->new(C => '28000', M => 'the server asks for a password') if unpack('N', $body);
		}
		elsif ($type eq 'Z')
		{
			die $error if $error;
			return \@results;
		}
		elsif ($type eq 'E' && $error->is_fatal) { die $error }
		last if $error && $error->is_fatal;
	}
	die $error;
}

sub pid { return $_[0]{pid} }

sub close
{
	my ($self) = @_;
	eval { $self->_write('X' . pack('N', 4)) };
	CORE::close($self->{socket});
	return;
}

# quote VALUE: as a literal.
sub quote
{
	my ($value) = @_;
	return 'NULL' unless defined $value;
	my $quoted = $value =~ s/'/''/gr;
	return $quoted =~ /\\/ ? " E'" . ($quoted =~ s/\\/\\\\/gr) . "'" : "'$quoted'";
}

sub _write
{
	my ($self, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	while (length $bytes)
	{
		my $n = syswrite $self->{socket}, $bytes;
		die Pg::Error->new(S => 'FATAL', C => '08006', M => "the connection is gone: $!") unless defined $n;
		substr($bytes, 0, $n) = '';
	}
	return;
}

sub _message
{
	my ($self) = @_;
	my $buffer = \$self->{buffer};
	while (length $$buffer < 5 || length $$buffer < 1 + unpack('x N', $$buffer))
	{
		my $n = sysread $self->{socket}, $$buffer, 65536, length $$buffer;
		die Pg::Error->new(S => 'FATAL', C => '08006', M => 'the connection is gone') unless $n;
	}
	my ($type, $length) = unpack('a N', $$buffer);
	my $body = substr $$buffer, 5, $length - 4;
	substr($$buffer, 0, 1 + $length) = '';
	return ($type, $body);
}

sub _row
{
	my ($body) = @_;
	my $at = 2;
	my @row;
	for (1 .. unpack('n', $body))
	{
		my $length = unpack('N', substr $body, $at, 4);
		$at += 4;
		if ($length == 0xFFFFFFFF)
		{
			push @row, undef;
			next;
		}
		push @row, substr $body, $at, $length;
		$at += $length;
	}
	return \@row;
}

sub _fields
{
	my ($body) = @_;
	return map { /^(.)(.*)/s ? ($1 => $2) : () } split /\0/, $body;
}

# Pg::Error: what a server said. state: the SQLSTATE.
package Pg::Error;

use overload '""' => sub { $_[0]->text }, fallback => 1;

sub new { my ($class, %fields) = @_; return bless {%fields}, $class }
sub state { return $_[0]{C} }
sub is_fatal { return ($_[0]{S} || '') =~ /FATAL|PANIC/ }
sub text
{
	my ($self) = @_;
	return join "\n", "$self->{C}: $self->{M}", map { "$_->[1]: $self->{$_->[0]}" }
		grep { defined $self->{ $_->[0] } } ['D', 'detail'], ['H', 'hint'], ['W', 'context'], ['q', 'query'];
}

1;
