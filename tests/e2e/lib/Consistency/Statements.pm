# Random statements on a table, as SQL text. They are built from the catalog
# and from Perl's seeded generator.
#
# Each table has a small pool of keys, some of them hot, so that the same rows
# are inserted, updated, deleted and inserted again all the time.
package Consistency::Statements;
use strict;
use warnings;
use Consistency::Values qw(literal quoted one_of chance);

use constant {POOL => 28, HOT => 3, BULK_ROWS => 10_000, BULK_BASE => 1_000_000};

# range => [from, to]: the part of the keys that this writer may use
sub new {
	my ($class, $tables, %option) = @_;
	return bless {tables => $tables, names => [sort keys %$tables], range => [1, POOL], %option}, $class;
}

sub key_literal {
	my ($table, $number) = @_;
	return $table->{key}{type} eq 'text' ? sprintf("'K-%05d'", $number) : $number;
}

sub some_key {
	my ($self, $table) = @_;
	my ($from, $to) = @{$self->{range}};
	my $number = chance(0.3) ? $from + int rand HOT : $from + int rand($to - $from + 1);
	return key_literal($table, $number);
}

sub any_table { my ($self) = @_; return $self->{tables}{one_of(@{$self->{names}})} }

# A reference to some row of the parent that is there.
sub parent_value {
	my ($self, $column) = @_;
	my $parent = $self->{tables}{$column->{parent}};
	my $key = $parent->{key}{quoted};
	my $from = key_literal($parent, 1 + int rand POOL);
	return "coalesce((SELECT $key FROM $parent->{name} WHERE $key >= $from ORDER BY $key LIMIT 1),"
		. "(SELECT min($key) FROM $parent->{name}))";
}

# Unique values come from a space large enough to clash seldom, but they do.
sub unique_value {
	my ($column) = @_;
	return literal($column) if $column->{type} eq 'date';
	return quoted('U-' . int rand 2000);
}

sub value {
	my ($self, $column) = @_;
	return $self->parent_value($column) if $column->{parent} && ($column->{required} || chance(0.8));
	return unique_value($column) if $column->{unique};
	return literal($column);
}

sub insert_head {
	my ($self, $table, $key) = @_;
	my @columns = grep { $_->{key} || $_->{required} || chance(0.6) } @{$table->{columns}};
	my @values = map { $_->{key} ? $key : $self->value($_) } @columns;
	return "INSERT INTO $table->{name} (" . join(',', map { $_->{quoted} } @columns) . ') VALUES ('
		. join(',', @values) . ')';
}

sub insert {
	my ($self, $table) = @_;
	return $self->insert_head($table, $self->some_key($table))
		. " ON CONFLICT ($table->{key}{quoted}) DO NOTHING";
}

sub assignments {
	my ($self, $table) = @_;
	my @columns = grep { !$_->{key} } @{$table->{columns}};
	my %chosen;
	$chosen{$_->{quoted}} = $_ for map { one_of(@columns) } 1 .. 1 + rand 3;
	return join ',', map {
		"$_=" . (chance(0.05) ? $_ : $self->value($chosen{$_}))
	} sort keys %chosen;
}

sub update {
	my ($self, $table) = @_;
	my $key = $table->{key}{quoted};
	my $where = chance(0.8) ? "$key=" . $self->some_key($table)
		: "$key BETWEEN " . key_literal($table, $self->{range}[0] + int rand POOL)
			. ' AND ' . key_literal($table, $self->{range}[0] + int rand POOL);
	my $unique = join '|', map { quotemeta $_->{quoted} } grep { $_->{unique} } @{$table->{columns}};
	my $set = $self->assignments($table);
	# One value in a unique column of several rows is an error, not a test.
	$where = "$key=" . $self->some_key($table) if $unique && $set =~ /$unique/;
	return "UPDATE $table->{name} SET $set WHERE $where";
}

sub upsert {
	my ($self, $table) = @_;
	return $self->insert_head($table, $self->some_key($table))
		. " ON CONFLICT ($table->{key}{quoted}) DO UPDATE SET " . $self->assignments($table);
}

sub delete_row {
	my ($self, $table) = @_;
	return "DELETE FROM $table->{name} WHERE $table->{key}{quoted}=" . $self->some_key($table);
}

sub delete_and_insert {
	my ($self, $table) = @_;
	my $key = $self->some_key($table);
	return "DELETE FROM $table->{name} WHERE $table->{key}{quoted}=$key;"
		. $self->insert_head($table, $key) . " ON CONFLICT ($table->{key}{quoted}) DO NOTHING";
}

# What may fail is tried in a subtransaction, which is a case of its own.
sub tried { my ($sql) = @_; return "DO \$try\$BEGIN $sql; EXCEPTION WHEN others THEN NULL; END\$try\$" }

sub change_key {
	my ($self, $table) = @_;
	my $key = $table->{key}{quoted};
	return tried("UPDATE $table->{name} SET $key=" . $self->some_key($table)
		. (chance(0.3) ? ',' . $self->assignments($table) : '')
		. " WHERE $key=" . $self->some_key($table));
}

# Two rows exchange a unique value: by one statement where the constraint is
# deferrable, else by taking both out and putting them back.
sub swap {
	my ($self, $table) = @_;
	my ($column) = grep { $_->{unique} } @{$table->{columns}};
	return $self->swap_keys($table) if !$column;
	my ($name, $key, $c) = ($table->{name}, $table->{key}{quoted}, $column->{quoted});
	my ($one, $two) = ($self->some_key($table), $self->some_key($table));
	return tried("UPDATE $name a SET $c=b.$c FROM $name b WHERE a.$key IN ($one,$two)"
		. " AND b.$key IN ($one,$two) AND a.$key<>b.$key") if $column->{deferrable};
	return "DO \$try\$DECLARE a $name%ROWTYPE; b $name%ROWTYPE; v $name.$c%TYPE; BEGIN"
		. " SELECT * INTO STRICT a FROM $name WHERE $key=$one;"
		. " SELECT * INTO STRICT b FROM $name WHERE $key=$two;"
		. " DELETE FROM $name WHERE $key IN ($one,$two); v:=a.$c; a.$c:=b.$c; b.$c:=v;"
		. " INSERT INTO $name SELECT (a).*; INSERT INTO $name SELECT (b).*;"
		. " EXCEPTION WHEN others THEN NULL; END\$try\$";
}

# Two rows exchange their keys through a third one.
sub swap_keys {
	my ($self, $table) = @_;
	my ($name, $key) = ($table->{name}, $table->{key}{quoted});
	my ($one, $two, $spare) = ($self->some_key($table), $self->some_key($table),
		key_literal($table, 50_000 + $self->{range}[0] + $$ % 1000));
	return tried("UPDATE $name SET $key=$spare WHERE $key=$one;UPDATE $name SET $key=$one WHERE $key=$two;"
		. "UPDATE $name SET $key=$two WHERE $key=$spare");
}

my @KINDS = ((\&insert) x 14, (\&update) x 42, (\&upsert) x 22, (\&delete_row) x 8,
	(\&delete_and_insert) x 5, (\&change_key) x 4, (\&swap) x 5);

sub statement {
	my ($self) = @_;
	return one_of(@KINDS)->($self, $self->any_table);
}

# ---- rare, large ones -----------------------------------------------------------

sub truncate {
	my ($self) = @_;
	my $table = $self->any_table;
	return "SET LOCAL lock_timeout='300ms';TRUNCATE $table->{name}"
		. (chance(0.3) ? ' RESTART IDENTITY' : '') . ' CASCADE';
}

sub bulk_key {
	my ($table, $i) = @_;
	return $table->{key}{type} eq 'text' ? "'B-' || $i" : BULK_BASE . " + $i";
}

sub bulk_insert {
	my ($self, $table) = @_;
	my @columns = grep { $_->{key} || $_->{required} || chance(0.3) } @{$table->{columns}};
	my @values = map {
		$_->{key} ? bulk_key($table, 'i')
		: $_->{unique} ? ($_->{type} eq 'date' ? "'3000-01-01'::date + i" : "'UB-' || i")
		: $self->value($_);
	} @columns;
	return "INSERT INTO $table->{name} (" . join(',', map { $_->{quoted} } @columns) . ') SELECT '
		. join(',', map { my $c = $_; "($values[$c])::$columns[$c]{full_type}" } 0 .. $#columns)
		. ' FROM generate_series(1,' . BULK_ROWS . ") i ON CONFLICT ($table->{key}{quoted}) DO NOTHING";
}

sub bulk_where {
	my ($table) = @_;
	return $table->{key}{type} eq 'text' ? "$table->{key}{quoted} LIKE 'B-%'"
		: "$table->{key}{quoted} > " . BULK_BASE;
}

sub bulk_update {
	my ($self, $table) = @_;
	my @columns = grep { !$_->{key} && !$_->{unique} } @{$table->{columns}};
	my $column = one_of(@columns);
	return "UPDATE $table->{name} SET $column->{quoted}=" . $self->value($column)
		. ' WHERE ' . bulk_where($table);
}

sub bulk_delete {
	my ($self, $table) = @_;
	return "DELETE FROM $table->{name} WHERE " . bulk_where($table);
}

1;
