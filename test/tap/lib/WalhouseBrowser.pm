# WalhouseBrowser: a headless Chromium that a test opens a page in, over the DevTools protocol through two pipes.
#
#   my $browser = WalhouseBrowser->start(width => 1200, height => 800) or plan(skip_all => 'no Chromium is there');
#   $browser->open('/path/page.html');
#   is($browser->value('document.title'), 'Lineage', 'the page has a title');
#   $browser->click('.column');
#   is_deeply([ $browser->complaints ], [], 'nothing in the console');
#
# What the page asked for over the network, and what it complained of, is kept from the start.
package WalhouseBrowser;

use strict;
use warnings;
use Fcntl qw(F_SETFD);
use File::Temp ();
use IO::Select;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(time);

# program: the browser that is there, if any.
sub program
{
	for my $name (qw(chromium-headless-shell chromium chromium-browser google-chrome))
	{
		for my $folder (split(/:/, $ENV{PATH}), '/usr/bin', '/usr/lib/chromium-headless-shell')
		{
			return "$folder/$name" if -x "$folder/$name";
		}
	}
	return undef;
}

sub start
{
	my ($class, %options) = @_;
	my $program = program() or return undef;
	my $profile = File::Temp->newdir;
	pipe(my $command_out, my $command_in) or die "pipe: $!";
	pipe(my $answer_out, my $answer_in) or die "pipe: $!";
	my $pid = fork() // die "fork: $!";

	if ($pid == 0)
	{
		# A group of its own, so that its children can be ended with it.
		setpgrp(0, 0);
		# Copies first: 3 and 4 may be taken.
		my ($in, $out) = map { POSIX::dup(fileno $_) } $command_out, $answer_in;
		my ($in2, $out2) = map { POSIX::dup($_) } $in, $out;
		POSIX::dup2($in2, 3);
		POSIX::dup2($out2, 4);
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', '/dev/null';
		# There is no sandbox without rights that a container may lack; the page is the test's own.
		exec { $program } ($program, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run', "--user-data-dir=$profile", '--remote-debugging-pipe',
			sprintf('--window-size=%d,%d', $options{width} || 1400, $options{height} || 900), 'about:blank');
	}
	close $command_out;
	close $answer_in;
	my $self = bless { pid => $pid, profile => $profile, in => $command_in, out => $answer_out, buffer => '', number => 0, complaints => [], requests => [], answers => {} }, $class;
	my ($page) = grep { $_->{type} eq 'page' } @{ $self->send('Target.getTargets')->{targetInfos} };
	$self->{session} = $self->send('Target.attachToTarget', { targetId => $page->{targetId}, flatten => JSON::PP::true })->{sessionId};
	$self->send("$_.enable") for qw(Page Runtime Log Network);
	$self->scheme('light');
	return $self;
}

sub DESTROY
{
	my ($self) = @_;
	local $?;
	eval { $self->send('Browser.close') };
	kill('KILL', -$self->{pid}, $self->{pid});
	waitpid($self->{pid}, 0);
	return;
}

# send METHOD, {parameters}: its result; dies where the browser says that it went wrong.
sub send
{
	my ($self, $method, $parameters) = @_;
	my $number = ++$self->{number};
	my $message = JSON::PP->new->utf8->encode({ id => $number, method => $method, params => $parameters || {}, $self->{session} ? (sessionId => $self->{session}) : () });

	local $SIG{PIPE} = 'IGNORE';
	my $rest = "$message\0";
	while (length $rest)
	{
		my $written = syswrite($self->{in}, $rest) // die "the browser is gone: $!";
		substr($rest, 0, $written) = '';
	}
	$self->listen(sub { exists $self->{answers}{$number} }, $method);
	my $answer = delete $self->{answers}{$number};
	die "$method: " . $answer->{error}{message} if $answer->{error};
	return $answer->{result};
}

# listen DONE, WHAT[, SECONDS]: reads what the browser says until DONE is true.
sub listen
{
	my ($self, $done, $what, $limit) = @_;
	my $until = time() + ($limit || 120);

	while (!$done->())
	{
		my $left = $until - time();
		die "the browser does not answer: $what" if $left <= 0 || !IO::Select->new($self->{out})->can_read($left);
		sysread($self->{out}, $self->{buffer}, 1 << 20, length $self->{buffer}) or die "the browser has ended: $what";
		$self->hear(JSON::PP->new->utf8->decode($1)) while $self->{buffer} =~ s/\A([^\0]*)\0//;
	}
	return;
}

sub hear
{
	my ($self, $message) = @_;
	my ($method, $p) = ($message->{method} || '', $message->{params});

	if (defined $message->{id})
	{
		$self->{answers}{ $message->{id} } = $message;
	}
	elsif ($method eq 'Runtime.exceptionThrown')
	{
		push @{ $self->{complaints} }, $p->{exceptionDetails}{exception}{description} || $p->{exceptionDetails}{text};
	}
	elsif ($method eq 'Runtime.consoleAPICalled')
	{
		push @{ $self->{complaints} }, join ' ', "console.$p->{type}:", map { $_->{value} // $_->{description} // '' } @{ $p->{args} };
	}
	elsif ($method eq 'Log.entryAdded')
	{
		push @{ $self->{complaints} }, "$p->{entry}{level}: $p->{entry}{text}";
	}
	elsif ($method eq 'Network.requestWillBeSent')
	{
		push @{ $self->{requests} }, $p->{request}{url};
	}
	elsif ($method eq 'Page.loadEventFired')
	{
		$self->{loaded} = 1;
	}
	return;
}

sub complaints { return @{ $_[0]{complaints} } }
sub requests { return @{ $_[0]{requests} } }

# open FILE: as the browser's page; returns when it has loaded, with the milliseconds that took.
sub open
{
	my ($self, $file) = @_;
	my $began = time();

	$self->{loaded} = 0;
	$self->send('Page.navigate', { url => "file://$file" });
	$self->listen(sub { $self->{loaded} }, "load $file");
	return 1000 * (time() - $began);
}

# value EXPRESSION: what the page says it is; promises are waited for.
sub value
{
	my ($self, $expression) = @_;
	my $result = $self->send('Runtime.evaluate', { expression => $expression, returnByValue => JSON::PP::true, awaitPromise => JSON::PP::true });
	die "$expression: " . ($result->{exceptionDetails}{exception}{description} || $result->{exceptionDetails}{text}) if $result->{exceptionDetails};
	return $result->{result}{value};
}

# until EXPRESSION: waits until it is true in the page; false when the time is over.
sub until
{
	my ($self, $expression, $limit) = @_;
	my $end = time() + ($limit || 30);

	until ($self->value("Boolean($expression)"))
	{
		return 0 if time() > $end;
		$self->value('new Promise(done => requestAnimationFrame(done))');
	}
	return 1;
}

# place SELECTOR, or of an expression that gives an element: the middle of what can be seen of it.
sub place
{
	my ($self, $what) = @_;
	my $expression = $what =~ /\(/ ? $what : 'document.querySelector(' . JSON::PP->new->allow_nonref->encode($what) . ')';
	return $self->value("(e => { const r = e.getBoundingClientRect(); return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })($expression)");
}

sub mouse
{
	my ($self, $type, $x, $y, %more) = @_;
	$self->send('Input.dispatchMouseEvent', { type => $type, x => $x, y => $y, %more });
	return;
}

# hover X, Y, EXPRESSION: moves the mouse there and a pixel to and fro, as hands do, until it is true in the page; false when the time is over.
sub hover
{
	my ($self, $x, $y, $expression, $limit) = @_;
	my $end = time() + ($limit || 30);

	for (my $aside = 1; time() < $end; $aside = !$aside)
	{
		$self->mouse('mouseMoved', $x + $aside, $y);
		$self->value('new Promise(done => requestAnimationFrame(done))');
		return 1 if $self->value("Boolean($expression)");
	}
	return 0;
}

# click WHAT: with the mouse, in its middle.
sub click
{
	my ($self, $what) = @_;
	my $at = $self->place($what);

	$self->mouse('mouseMoved', $at->{x}, $at->{y});
	$self->mouse($_, $at->{x}, $at->{y}, button => 'left', clickCount => 1, buttons => $_ eq 'mousePressed' ? 1 : 0) for qw(mousePressed mouseReleased);
	return;
}

# key NAME[, TEXT]: pressed and released.
sub key
{
	my ($self, $name, $text) = @_;
	$self->send('Input.dispatchKeyEvent', { type => 'keyDown', key => $name, defined $text ? (text => $text) : () });
	$self->send('Input.dispatchKeyEvent', { type => 'keyUp', key => $name });
	return;
}

# type TEXT: into what has the focus.
sub type
{
	my ($self, $text) = @_;
	$self->send('Input.insertText', { text => $text });
	return;
}

# scheme dark | light: what the system likes; and nothing that moves, so that what is seen does not depend on when it is looked at.
sub scheme
{
	my ($self, $scheme) = @_;
	$self->send('Emulation.setEmulatedMedia', { features => [ { name => 'prefers-color-scheme', value => $scheme }, { name => 'prefers-reduced-motion', value => 'reduce' } ] });
	return;
}

# picture FILE: of what the window shows, as PNG.
sub picture
{
	my ($self, $file) = @_;
	require MIME::Base64;
	CORE::open my $out, '>:raw', $file or die "$file: $!";
	print $out MIME::Base64::decode_base64($self->send('Page.captureScreenshot')->{data});
	close $out;
	return;
}

1;
