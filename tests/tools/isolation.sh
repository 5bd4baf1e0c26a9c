#!/usr/bin/env bash
#
# Runs the isolation specs with PostgreSQL's own tester on the server that
# the environment names, and prints TAP.
#
#	tests/tools/isolation.sh OUTPUT_DIR SPEC...	names without .spec
#
# Each spec finds a fresh database with clinic_sync in it. What differs from
# tests/isolation/expected is shown and kept in OUTPUT_DIR.

set -euo pipefail

out=$1
shift
pg_config=${PG_CONFIG:-pg_config}
tester=$(dirname "$("$pg_config" --pgxs)")/../test/isolation/pg_isolation_regress
inputdir=$(dirname "${BASH_SOURCE[0]}")/../isolation
unset PGDATABASE

echo "1..$#"
number=0
for spec in "$@"; do
	number=$((number + 1))
	rm -rf "${out:?}/$spec"
	mkdir -p "$out/$spec"
	if "$tester" --inputdir="$inputdir" --outputdir="$out/$spec" \
		--bindir="$("$pg_config" --bindir)" --host="$PGHOST" --port="$PGPORT" \
		--user="$PGUSER" --dbname=isolation --load-extension=clinic_sync "$spec" \
		> "$out/$spec/log" 2>&1; then
		echo "ok $number - $spec"
	else
		echo "not ok $number - $spec"
		# a spec that never ran leaves no differences, then its log must do
		said=$out/$spec/regression.diffs
		[ -s "$said" ] || said=$out/$spec/log
		sed 's/^/# /' "$said" >&2
	fi
done
