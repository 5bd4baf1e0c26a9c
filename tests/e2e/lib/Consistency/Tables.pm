# What the catalog says about the published tables: all the writers and the
# oracle know of them comes from here, no column is named in the test.
package Consistency::Tables;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT_OK = qw(read_tables);

my $COLUMNS = <<'SQL';
SELECT a.attname AS name, quote_ident(a.attname) AS quoted, format_type(a.atttypid, NULL) AS type,
	format_type(a.atttypid, a.atttypmod) AS full_type, a.attnotnull AS required,
	a.attnum = ANY(i.indkey) AS key,
	EXISTS (SELECT FROM pg_index u WHERE u.indrelid = a.attrelid AND u.indisunique
		AND NOT u.indisprimary AND u.indkey::text = a.attnum::text) AS unique,
	EXISTS (SELECT FROM pg_index u WHERE u.indrelid = a.attrelid AND u.indisunique
		AND NOT u.indimmediate AND u.indkey::text = a.attnum::text) AS deferrable,
	(SELECT confrelid::regclass::text FROM pg_constraint f WHERE f.contype = 'f'
		AND f.conrelid = a.attrelid AND f.conkey = ARRAY[a.attnum]) AS parent,
	coalesce(a.attname = ANY(p.excluded), false) AS excluded
FROM pg_attribute a
	JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
	LEFT JOIN clinic_sync.publication p ON p.relation = a.attrelid
WHERE a.attrelid = ?::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
SQL

# {table => {name, key => column, columns => [{...}, ...]}}
sub read_tables {
	my ($dbh, @names) = @_;
	my %tables;
	for my $name (@names) {
		my $columns = $dbh->selectall_arrayref($COLUMNS, {Slice => {}}, $name);
		my ($key, @more) = grep { $_->{key} } @$columns;
		die "$name: this test wants tables with a key of one column\n" if !$key || @more;
		$tables{$name} = {name => $name, key => $key, columns => $columns};
	}
	return \%tables;
}

1;
