#!/usr/bin/env bash
#
# Adds up what the parts of `make check` left in DIR: one line a part, then,
# alone on the last line, `N passed, N failed`. A part without a result did
# not even build and counts as one failed.
#
#	tests/tools/summary.sh DIR PART...

set -euo pipefail

dir=$1
shift
all_passed=0
all_failed=0

echo
printf '%-12s %8s %8s %8s\n' part passed failed seconds
for part in "$@"; do
	passed=0 failed=1 seconds=-
	[ ! -f "$dir/$part.result" ] || read -r passed failed seconds < "$dir/$part.result"
	printf '%-12s %8s %8s %8s\n' "$part" "$passed" "$failed" "$seconds"
	all_passed=$((all_passed + passed))
	all_failed=$((all_failed + failed))
done
echo
echo "$all_passed passed, $all_failed failed"
[ "$all_failed" = 0 ]
