# Random SQL literals for a type, from Perl's seeded generator: mostly dull
# values, sometimes the ones that break encoders.
package Consistency::Values;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT_OK = qw(literal quoted one_of chance);

sub one_of { return $_[int rand @_] }
sub chance { return rand() < $_[0] }

sub quoted { my ($text) = @_; $text =~ s/'/''/g; return "'$text'" }

my @WORDS = ('Paracetamol', 'follow-up', "O'Brien", 'a b  c', "two\nlines", "tab\there",
	'back\\slash', '"quoted"', '', ' ', 'Señora Ñuñez', "\xf0\x9f\x98\x80", 'NULL', "'", '{}',
	'Ü', '$x$', '?', '%', ':name');

sub text_value {
	return quoted(join '', map { sprintf '%08x', rand 2**32 } 1 .. 400 + rand 2000) if chance(0.004);
	return quoted(one_of(@WORDS) . (chance(0.5) ? int rand 1000 : ''));
}

sub timestamp_value {
	return one_of("'infinity'", "'-infinity'", "'0044-03-15 12:00:00 BC'", "'294276-12-31 23:59:59.999999'")
		if chance(0.01);
	my $second = sprintf '2026-%02d-%02d %02d:%02d:%02d', 1 + rand 12, 1 + rand 28, rand 24, rand 60, rand 60;
	return "'$second'" if chance(0.3);
	return sprintf "'%s.%03d'", $second, rand 1000 if chance(0.5);
	return sprintf "'%s.%06d'", $second, rand 1e6;
}

sub numeric_value {
	return one_of("'NaN'", '9999999999.99', '-0.01', '0', '0.10') if chance(0.01);
	return sprintf '%.2f', rand(5000) - 100;
}

my @JSON = ('{}', '[]', 'null', '{"a":1}', '{ "b" : [1, 2.50, "x"] }', '{"a":1,"a":2}', '"\u0000"',
	'[{"id":"s1","name":"CBC","price":1500.00}]', '"Ñ"');

my %MAKER = (
	'text' => \&text_value,
	'boolean' => sub { one_of('true', 'false') },
	'integer' => sub { chance(0.01) ? one_of(2147483647, '(-2147483648)') : int rand 1000 },
	'bigint' => sub { chance(0.01) ? one_of('9223372036854775807', '(-9223372036854775808)') : int rand 1e6 },
	'numeric' => \&numeric_value,
	'timestamp without time zone' => \&timestamp_value,
	'date' => sub { sprintf "'%04d-%02d-%02d'", 1990 + rand 60, 1 + rand 12, 1 + rand 28 },
	'json' => sub { quoted(one_of(@JSON)) },
);

# A literal of a column's type; NULL now and then where that is allowed.
sub literal {
	my ($column) = @_;
	return 'NULL' if !$column->{required} && chance(0.12);
	my $maker = $MAKER{$column->{type}} or die "no values for type $column->{type}\n";
	return $maker->();
}

1;
