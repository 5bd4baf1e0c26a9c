# The database side of the workload: user triggers that touch the same row,
# another row of the same statement, or bring a deleted row back, with names
# that sort before and after ours, and unique values that can be swapped.
package Consistency::Workload;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT_OK = qw(create_triggers defer_unique);

# Arguments of each trigger: the key column, and a text column it may write.
# A hash of the row decides, so that the seed and not random() does.
my $FUNCTIONS = <<'SQL';
CREATE FUNCTION touch_self() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF hashtext(NEW::text) % 6 = 0 THEN
		EXECUTE format('UPDATE %I SET %I = ''touched '' || $2 WHERE %I = $1', TG_TABLE_NAME,
			TG_ARGV[1], TG_ARGV[0], TG_ARGV[0])
			USING to_jsonb(NEW) ->> TG_ARGV[0], hashtext(NEW::text);
	END IF;
	RETURN NULL;
END $$;
CREATE FUNCTION touch_other() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF hashtext(NEW::text) % 5 = 0 THEN
		EXECUTE format('UPDATE %1$I SET %2$I = ''by trigger '' || $2 WHERE %3$I = (SELECT %3$I FROM %1$I
			WHERE %3$I > ($1).%3$I ORDER BY %3$I LIMIT 1)', TG_TABLE_NAME, TG_ARGV[1], TG_ARGV[0])
			USING NEW, hashtext(NEW::text);
	END IF;
	RETURN NULL;
END $$;
CREATE FUNCTION replace_self() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF hashtext(NEW::text) % 7 = 0 THEN
		EXECUTE format('DELETE FROM %1$I WHERE %2$I = ($1).%2$I', TG_TABLE_NAME, TG_ARGV[0]) USING NEW;
		EXECUTE format('INSERT INTO %1$I SELECT ($1).*', TG_TABLE_NAME) USING NEW;
	END IF;
	RETURN NULL;
END $$;
CREATE FUNCTION bring_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF hashtext(OLD::text) % 4 = 0 THEN
		EXECUTE format('INSERT INTO %1$I SELECT ($1).*', TG_TABLE_NAME) USING OLD;
	END IF;
	RETURN NULL;
END $$;
CREATE FUNCTION drop_self() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF hashtext(NEW::text) % 9 = 0 THEN
		EXECUTE format('DELETE FROM %1$I WHERE %2$I = ($1).%2$I', TG_TABLE_NAME, TG_ARGV[0]) USING NEW;
	END IF;
	RETURN NULL;
END $$;
CREATE FUNCTION rewrite_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF hashtext(NEW::text) % 3 = 0 THEN
		NEW := jsonb_populate_record(NEW, jsonb_build_object(TG_ARGV[1], 'rewritten'));
	END IF;
	RETURN NEW;
END $$;
SQL

# table => [trigger name, when, function], … ; a blank sorts before `!`.
my %TRIGGERS = (
	patients => [[' touch_self', 'AFTER INSERT OR UPDATE', 'touch_self'],
		['zz_touch_other', 'AFTER UPDATE', 'touch_other']],
	appointments => [[' touch_other', 'AFTER INSERT OR UPDATE', 'touch_other'],
		['zz_touch_self', 'AFTER INSERT OR UPDATE', 'touch_self']],
	active_patient_queue => [['zz_touch_self', 'AFTER INSERT OR UPDATE', 'touch_self'],
		[' touch_other', 'AFTER UPDATE', 'touch_other']],
	medical_records => [[' replace_self', 'AFTER UPDATE', 'replace_self']],
	bill_items => [['zz_replace_self', 'AFTER INSERT OR UPDATE', 'replace_self'],
		['zz_touch_other', 'AFTER INSERT OR UPDATE', 'touch_other']],
	payments => [['zz_rewrite', 'BEFORE INSERT OR UPDATE', 'rewrite_new'],
		[' touch_other', 'AFTER INSERT OR UPDATE', 'touch_other']],
	user_activity_log => [[' bring_back', 'AFTER DELETE', 'bring_back'],
		['zz_drop_self', 'AFTER UPDATE', 'drop_self']],
	clinic_services => [['zz_bring_back', 'AFTER DELETE', 'bring_back']],
	user_sessions => [[' drop_self', 'AFTER INSERT', 'drop_self']],
);

# The text column that a trigger may write: the last one that anything goes in.
sub free_text_column {
	my ($table) = @_;
	my ($column) = grep { $_->{type} eq 'text' && !$_->{unique} && !$_->{parent} && !$_->{key}
		&& !$_->{excluded} } reverse @{$table->{columns}};
	return $column->{name};
}

sub create_triggers {
	my ($dbh, $tables) = @_;
	$dbh->do($FUNCTIONS);
	for my $name (sort keys %TRIGGERS) {
		my @arguments = map { $dbh->quote($_) } $tables->{$name}{key}{name},
			free_text_column($tables->{$name});
		for my $trigger (@{$TRIGGERS{$name}}) {
			my ($called, $when, $function) = @$trigger;
			$dbh->do(qq(CREATE TRIGGER "$called" $when ON $name FOR EACH ROW
				WHEN (pg_trigger_depth() = 0)
				EXECUTE FUNCTION $function(@{[join ', ', @arguments]})));
		}
	}
	return;
}

# Two unique values that can be swapped by one statement.
sub defer_unique {
	my ($dbh) = @_;
	for my $pair (['users', 'username'], ['clinic_services', 'serviceName']) {
		my ($table, $column) = @$pair;
		my ($index) = $dbh->selectrow_array(q(SELECT indexrelid::regclass::text FROM pg_index i
			JOIN pg_attribute a ON a.attrelid = i.indrelid AND indkey::text = attnum::text
			WHERE indrelid = ?::regclass AND attname = ? AND indisunique), undef, $table, $column);
		$dbh->do("DROP INDEX $index") if $index;
		$dbh->do(qq(ALTER TABLE $table ADD CONSTRAINT "swap_$column" UNIQUE ("$column")
			DEFERRABLE INITIALLY IMMEDIATE));
	}
	return;
}

1;
