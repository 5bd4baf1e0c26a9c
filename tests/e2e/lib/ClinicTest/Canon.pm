# Digests of rows as the wire has them, by docs/protocol.md alone.
package ClinicTest::Canon;
use strict;
use warnings;
use Digest::SHA qw(sha256);
use Encode qw(encode_utf8);
use Exporter 'import';
use JSON::PP;
our @EXPORT_OK = qw(digest_of);

# A value decoded from JSON -> its canonical text in UTF-8.
sub text_of {
	my ($value) = @_;
	return !defined $value ? undef : JSON::PP::is_bool($value) ? ($value ? 'true' : 'false') : encode_utf8($value);
}

# "rows:hash" of row objects with all columns.
sub digest_of {
	my (@rows) = @_;
	my ($high, $low) = (0, 0);
	for my $row (@rows) {
		my $bytes = '';
		for my $column (sort { encode_utf8($a) cmp encode_utf8($b) } keys %$row) {
			my $text = text_of($row->{$column});
			$bytes .= defined $text ? 'V' . length($text) . ":$text" : 'N';
		}
		my ($h, $l) = unpack 'N N', sha256($bytes);
		$low += $l;
		$high += $h + ($low >> 32);
		$low &= 0xffffffff;
		$high &= 0xffffffff;
	}
	return sprintf '%d:%08x%08x', scalar @rows, $high, $low;
}

1;
