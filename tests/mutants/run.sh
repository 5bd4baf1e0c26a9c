#!/usr/bin/env bash
#
# Do the tests see the mistakes they exist for? Each patch in this folder puts
# one in. It is applied to a copy of the checkout, built, and the test that it
# names must be red; one that stays green fails this run.
#
#   tests/mutants/run.sh [NAME ...]        make mutants
#
# The head of a patch says:
#   Mutant: what is wrong with it
#   Red: tests/e2e/NAME.t                  the test that must notice
#   With: VARIABLE=VALUE ...               its environment, optional
#   Tries: N                               seeds to try before it counts as green (3)
#
# The unchanged copy is tested first: a test that is always red proves nothing.
# Only a result line `not ok` counts as red, so that a patch which merely
# breaks the build or the server is not taken for a success; and not one about
# numbers to be reached, which a slow machine can miss.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
work=${MUTANTS_DIR:-$root/build/mutants}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}

field()
{
	sed -n "s/^$2: *//p;/^---/q" "$1"
}

# The copy takes built objects along, so that only what a patch touches is
# compiled again.
make_copy()
{
	rm -rf "$work/tree"
	mkdir -p "$work/tree"
	tar -C "$root" --exclude=./.git --exclude=./build/mutants --exclude=./build/e2e \
		--exclude=./build/check --exclude=./build/asan --exclude=./build/fuzz -cf - . |
		tar -C "$work/tree" -xf -
}

build()
{
	make -C "$work/tree" -j2 all tools > "$work/build.log" 2>&1 || {
		tail -30 "$work/build.log"
		return 1
	}
}

# The first complaint; nothing if there is none.
complaint()
{
	sed -n 's/^not ok [0-9]* - //p' "$1" | grep -v -m1 '^at least [0-9]' || true
}

# red: 0, green: 1, neither: 2
run_test()
{
	local test=$1 log=$2 status=0
	shift 2
	(cd "$work/tree" && env "$@" CLINIC_BUILD=build perl "$test") > "$log" 2>&1 || status=$?
	if [ -n "$(complaint "$log")" ]; then
		return 0
	fi
	[ "$status" = 0 ] || ! grep -q '^1\.\.' "$log" || status=0
	[ "$status" = 0 ] && return 1
	return 2
}


try_mutant()
{
	local patch=$1 name test tries with log result
	name=$(basename "$patch" .patch)
	test=$(field "$patch" Red)
	tries=$(field "$patch" Tries)
	read -r -a with <<< "$(field "$patch" With)"
	make_copy
	patch -d "$work/tree" -p1 -s --no-backup-if-mismatch < "$patch" || {
		echo "not ok - $name: the patch does not apply"
		return 1
	}
	build || { echo "not ok - $name: does not build"; return 1; }
	for try in $(seq "${tries:-3}"); do
		log=$work/$name.$try.log
		result=0
		run_test "$test" "$log" SEED=$((seed + try)) ${with[@]+"${with[@]}"} || result=$?
		case $result in
		0)
			echo "ok - $name: red ($(complaint "$log"))"
			return 0
			;;
		2)
			echo "not ok - $name: $test broke down without a result, see $log"
			return 1
			;;
		esac
	done
	echo "not ok - $name: $test stayed green"
	return 1
}

# The same tests on the same copy, without a mistake.
try_control()
{
	local test with key seen=' ' result log
	make_copy
	build || { echo "not ok - control: does not build"; return 1; }
	for patch in "$@"; do
		test=$(field "$patch" Red)
		with=$(field "$patch" With)
		key="$test|$with"
		[[ $seen != *" $key "* ]] || continue
		seen+="$key "
		log=$work/control.$(basename "$test" .t).log
		result=0
		# shellcheck disable=SC2086 # several VARIABLE=VALUE words
		run_test "$test" "$log" SEED="$seed" $with || result=$?
		[ "$result" = 1 ] || { echo "not ok - control: $test is red without a mutant, see $log"; return 1; }
		echo "ok - control: $test ${with:+($with) }is green"
	done
}

patches=()
if [ $# -gt 0 ]; then
	for name; do patches+=("$here/${name%.patch}.patch"); done
else
	patches=("$here"/*.patch)
fi

mkdir -p "$work"
echo "# seed $seed"
failed=0
try_control "${patches[@]}" || exit 1
for patch in "${patches[@]}"; do
	try_mutant "$patch" || failed=$((failed + 1))
done
[ "$failed" = 0 ] && rm -rf "$work/tree"
echo "# ${#patches[@]} mutants, $failed not noticed"
[ "$failed" = 0 ]
