#!/usr/bin/env bash
#
# Runs one pgTAP file in a fresh database of the server that the environment
# names (PGHOST, PGPORT ...), and drops the database afterwards.
#
#	tests/tools/pgtap_file.sh tests/sql/capture.sql
#
# The database is UTF8 and holds pgtap and clinic_sync, unless the file makes
# one of them itself (CREATE EXTENSION). psql stops at the first error, so a
# broken file never looks like a short one: its plan does not fit.

set -euo pipefail

file=$1
name=test_$(basename "$file" .sql)

psql -XAtq -d postgres -v ON_ERROR_STOP=1 -c "DROP DATABASE IF EXISTS \"$name\" WITH (FORCE)" \
	-c "CREATE DATABASE \"$name\" ENCODING 'UTF8' TEMPLATE template0" 2> /dev/null
# the last connection of a test may still be on its way out, hence FORCE
trap 'psql -XAtq -d postgres -c "DROP DATABASE \"$name\" WITH (FORCE)" > /dev/null' EXIT
for extension in pgtap clinic_sync; do
	grep -qiE "^ *create extension (if not exists )?$extension\b" "$file" ||
		PGOPTIONS='-c client_min_messages=warning' psql -XAtq -d "$name" \
			-v ON_ERROR_STOP=1 -c "CREATE EXTENSION $extension"
done
psql -XAtq -d "$name" -v ON_ERROR_STOP=1 -P pager=off -f "$file"
