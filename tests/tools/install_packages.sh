#!/usr/bin/env bash
#
# Installs what packaging/packages.txt lists and this machine lacks.
#
#   tests/tools/install_packages.sh [group ...]      run, check, lint; all of them by default
#
# With nothing missing it says nothing and takes a few milliseconds, for it
# runs before every `make demo` and `make check`. Otherwise it prints the
# packages and installs them with apt-get, through sudo when not root. Where
# that cannot be, it names them and ends with status 1.
#
# Which PostgreSQL: that of PG_CONFIG if it is a server's, else the newest
# installed one, else the release's own.
#
# Installing a Debian server package also makes and starts a cluster. A
# postgresql-common that is not here yet is therefore installed first and
# told not to; one that is here keeps its administrator's choice.

set -euo pipefail

list=$(dirname "${BASH_SOURCE[0]}")/../../packaging/packages.txt
groups=${*:-run check lint}

say()
{
	echo "clinic_sync: $*" >&2
}

privileged()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

apt_get()
{
	privileged env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >&2
}

# Major version that apt would install for a package like postgresql or clang.
# Their versions look like 15+248 and 1:14.0-55.7.
candidate_major()
{
	apt-cache policy "$1" | sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}\([0-9][0-9]*\).*/\2/p'
}

postgresql_major()
{
	local config
	config=$(command -v "${PG_CONFIG:-pg_config}" 2> /dev/null || true)
	if [ -n "$config" ] && [ -x "$("$config" --bindir)/postgres" ]; then
		"$config" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/'
		return
	fi
	config=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' 2> /dev/null |
		sort -n | tail -1)
	if [ -n "$config" ]; then
		echo "$config"
		return
	fi
	candidate_major postgresql
}

clang_major()
{
	if command -v clang > /dev/null; then
		clang -dumpversion | sed 's/\..*//'
	else
		candidate_major clang
	fi
}

is_installed()
{
	[[ $'\n'$installed$'\n' == *$'\n'"$1"$'\n'* ]]
}

# Sets pg, clang and wanted. An optional package that apt does not know is
# not wanted; apt is asked only about missing ones.
plan()
{
	local group name mark
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
	pg=$(postgresql_major)
	clang=$(clang_major)
	wanted=()
	while read -r group name mark; do
		case $group in '#'* | '') continue ;; esac
		case " $groups " in *" $group "*) ;; *) continue ;; esac
		name=${name//@PG@/$pg}
		name=${name//@CLANG@/$clang}
		if ! is_installed "$name" &&
			{ [ "$mark" != optional ] || [ -n "$(candidate_major "$name")" ]; }; then
			wanted+=("$name")
		fi
	done < "$list"
}

# Not a Debian: the tools and headers themselves are looked for.
check_by_hand()
{
	local absent='' program module
	for program in gcc make perl curl sqlite3 pg_config pkg-config; do
		command -v "$program" > /dev/null || absent+=" $program"
	done
	for module in libpq libwebsockets libuv jansson yajl sqlite3 openssl; do
		pkg-config --exists "$module" 2> /dev/null || absent+=" $module(headers)"
	done
	[ -z "$absent" ] || { say "missing:$absent"; exit 1; }
	exit 0
}

keep_cluster_away()
{
	local conf=/etc/postgresql-common/createcluster.conf
	apt_get install --no-install-recommends postgresql-common
	privileged sed -i '/^#\{0,1\} *create_main_cluster/d' "$conf"
	echo 'create_main_cluster = false' | privileged tee -a "$conf" > /dev/null
}

if ! command -v apt-get > /dev/null || ! command -v dpkg-query > /dev/null; then
	check_by_hand
fi

plan
[ ${#wanted[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] && ! command -v sudo > /dev/null; then
	say "missing packages, and no sudo here to install them. As root:"
	say "    apt-get update && apt-get install --no-install-recommends ${wanted[*]}"
	exit 1
fi

# apt's lists may be empty or old, so what is known and wanted may change.
say "packages are missing; fetching the lists of what there is"
apt_get update || say "apt-get update failed; going on with the lists at hand"
plan
case $pg in
14 | 15 | 16 | 17 | 18) ;;
*)
	say "PostgreSQL 14 to 18 is needed, this system offers '${pg:-none}'"
	exit 1
	;;
esac

say "installing: ${wanted[*]}"
is_installed postgresql-common || keep_cluster_away
apt_get install --no-install-recommends "${wanted[@]}" || {
	say "these could not be installed: ${wanted[*]}"
	exit 1
}
