#!/usr/bin/env bash
#
# Runs one fuzz target for FUZZ_SECONDS (60) and prints TAP.
#
#	tests/tools/fuzz_one.sh build/fuzz/bin/frame
#
# Seeds come from tests/fuzz/corpus/<name>; inputs found on the way stay in
# the build directory, and so does one that crashes, named in the output.

set -euo pipefail

program=$1
name=$(basename "$program")
dir=$(dirname "$program")/../work/$name
mkdir -p "$dir/corpus"
seeds=tests/fuzz/corpus/$name
[ -d "$seeds" ] || seeds=

echo "1..1"
# shellcheck disable=SC2086 # no seeds, no word
if "$program" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 \
	-print_final_stats=1 -artifact_prefix="$dir/" "$dir/corpus" $seeds \
	> "$dir/log" 2>&1; then
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$dir/log")
	echo "ok 1 - $name: $runs inputs in ${FUZZ_SECONDS:-60} s"
else
	echo "not ok 1 - $name"
	tail -40 "$dir/log" | sed 's/^/# /' >&2
fi
