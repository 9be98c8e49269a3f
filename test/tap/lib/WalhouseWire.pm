# WalhouseWire: a reader of the stream, written from the format's description alone.
package WalhouseWire;

use strict;
use warnings;
use Exporter 'import';

our @EXPORT = qw(batches entries fields one varint crc32c);

# batches BYTES: the batches of a delimited file.
sub batches
{
	my ($stream) = @_;
	my ($at, @batches) = (0);

	while ($at < length $stream)
	{
		my $length = varint(\$stream, \$at);
		push @batches, substr $stream, $at, $length;
		$at += $length;
	}
	return @batches;
}

# entries BATCH: [kind, fields] each.
sub entries
{
	my ($batch) = @_;
	return map { my ($message) = fields($_->[1]); [ $message->[0], fields($message->[1]) ] } fields($batch);
}

sub varint
{
	my ($bytes, $at) = @_;
	my ($value, $shift) = (0, 0);

	while (1)
	{
		my $byte = ord substr($$bytes, $$at++, 1);
		$value |= ($byte & 0x7F) << $shift;
		return $value if $byte < 0x80;
		$shift += 7;
	}
}

# fields BYTES: [number, value] each; the values of fixed fields are bytes.
sub fields
{
	my ($bytes) = @_;
	my ($at, @fields) = (0);

	while ($at < length $bytes)
	{
		my $key = varint(\$bytes, \$at);
		my $type = $key & 7;
		my $value;

		if ($type == 0) { $value = varint(\$bytes, \$at) }
		else
		{
			my $length = $type == 1 ? 8 : $type == 5 ? 4 : varint(\$bytes, \$at);
			$value = substr $bytes, $at, $length;
			$at += $length;
		}
		push @fields, [ $key >> 3, $value ];
	}
	return @fields;
}

sub one
{
	my ($number, @fields) = @_;
	my ($field) = grep { $_->[0] == $number } @fields;
	return $field ? $field->[1] : undef;
}

# crc32c BYTES: bit by bit, in a table.
my @table = map { my $c = $_; $c = $c & 1 ? ($c >> 1) ^ 0x82F63B78 : $c >> 1 for 1 .. 8; $c } 0 .. 255;
sub crc32c
{
	my ($bytes) = @_;
	my $crc = 0xFFFFFFFF;
	$crc = $table[ ($crc ^ $_) & 0xFF ] ^ ($crc >> 8) for unpack 'C*', $bytes;
	return $crc ^ 0xFFFFFFFF;
}

1;
