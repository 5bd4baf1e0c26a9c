#!/usr/bin/env bash
#
# The rules of this code base that a machine can check, as TAP.
#
#	tests/tools/lint.sh BUILD
#
# BUILD has the libraries (make programs). A tool that is not installed
# (shellcheck, clang-tidy ...) is reported as skipped.

# Lists of files are words on purpose: no name in this repository has a blank.
# shellcheck disable=SC2046,SC2086

set -uo pipefail

build=$1
pg_config=${PG_CONFIG:-pg_config}
number=0

# The files git would commit, of these patterns, that still exist.
files()
{
	git ls-files --cached --others --exclude-standard -- "$@" |
		while read -r file; do [ ! -f "$file" ] || echo "$file"; done
}

# check NAME COMMAND...: passes when the command succeeds and prints nothing.
check()
{
	local name=$1 said status
	shift
	number=$((number + 1))
	said=$("$@" 2>&1)
	status=$?
	if [ $status = 0 ] && [ -z "$said" ]; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		printf '%s\n' "${said:-status $status}" | head -60 | sed 's/^/# /' >&2
	fi
}

skip()
{
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2 is not installed"
}

have()
{
	command -v "$1" > /dev/null
}

c_files=$(files '*.[ch]')
own_c=$(files 'common/*.c' 'relay/*.c' 'client/*.c')
extension_c=$(files 'extension/*.c')
shell_files="$(files '*.sh') .ci/run"
perl_files=$(files '*.pl' '*.pm' '*.t' | xargs -r grep -lE '^#!.*perl|^package ')

formatting()
{
	xargs -r clang-format --dry-run -Werror <<< "$c_files"
}

# tidy FLAGS...: the files come from standard input. Only lines that speak of
# our files: the tool also counts what it suppressed.
tidy()
{
	# shellcheck disable=SC2016 # expanded by the inner shell
	xargs -r -n 4 -P 2 sh -c 'flags=$0; clang-tidy --quiet "$@" -- $flags' "$*" 2>&1 |
		grep -E '(warning|error):' | sort -u
	return 0
}

tidy_own()
{
	tidy -std=c11 -D_GNU_SOURCE -I. -Icommon -DCLINIC_SYNC_VERSION='"0"' \
		"$(pkg-config --cflags libpq libwebsockets)" <<< "$own_c"
}

tidy_extension()
{
	tidy -std=gnu11 -D_GNU_SOURCE -Iextension -DCLINIC_SYNC_VERSION='"0"' \
		-I"$("$pg_config" --includedir-server)" <<< "$extension_c"
}

# Leaks and unset variables are left to the sanitizers and to gcc, who see
# through realloc and out parameters.
cppcheck_own()
{
	cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability \
		--inline-suppr --suppress=missingIncludeSystem --suppress=memleak \
		--suppress=uninitvar --error-exitcode=1 -j 2 \
		-D'json_object_foreach(o,k,v)=while(json_next(o,&k,&v))' \
		-D'json_array_foreach(a,i,v)=while(json_next(a,&i,&v))' \
		-I. -Icommon -DCLINIC_SYNC_VERSION='"0"' --file-list=- <<< "$own_c"
}

# only_in HEADER PATTERN: nobody outside the files of PATTERN includes HEADER.
only_in()
{
	grep -lE "^# *include *[<\"]$1[>\"]" $(files 'common/*.[ch]' 'relay/*.[ch]' 'client/*.[ch]') |
		grep -vE "$2" || true
}

# The core of the cache is also built for other systems.
system_headers()
{
	grep -nE '^# *include *<(unistd|fcntl|strings|dirent|poll|pthread|windows|sys/[a-z]+|arpa/.*|netinet/.*)\.h>' \
		$(files 'client/cache_*.[ch]' 'client/loadable_*.[ch]') || true
}

# Includes go down, never up: common knows neither relay nor client, these do
# not know each other, and the extension knows PostgreSQL only.
upward_includes()
{
	local header
	grep -nE '^# *include *"\.\./|^# *include *"(relay|client|extension)/' \
		$(files 'common/*.[ch]') || true
	grep -nE '^# *include *"(client|extension)/' $(files 'relay/*.[ch]') |
		grep -v 'client/cache_' || true
	grep -nE '^# *include *"(relay|extension)/' $(files 'client/*.[ch]') || true
	for header in $(files 'common/*.h' 'relay/*.h' 'client/*.h'); do
		[ -e "extension/${header##*/}" ] ||
			grep -n "^# *include *\"\(.*/\)\{0,1\}${header##*/}\"" $(files 'extension/*.[ch]') || true
	done
}

version_conditions()
{
	grep -ln 'PG_VERSION_NUM' $(files 'extension/*.[ch]') | grep -v '^extension/compat\.h$' || true
}

long_files()
{
	local file lines
	for file in $c_files $(files '*.sh' '*.pl' '*.pm' '*.t' '*.sql'); do
		lines=$(wc -l < "$file")
		[ "$lines" -le 700 ] || echo "$file has $lines lines"
	done
}

# Strings and block comments are taken out first, so that URLs do not count.
line_comments()
{
	perl -0777 -ne '
		s{"(?:\\.|[^"\\\n])*"|\x27(?:\\.|[^\x27\\\n])*\x27|/\*.*?\*/}{ $& =~ tr/\n//cdr }gse;
		while (m{//}g) {
			printf "%s:%d: // comment\n", $ARGV, 1 + (substr($_, 0, $-[0]) =~ tr/\n//);
		}' $c_files
}

unfinished()
{
	grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $c_files $perl_files $(files '*.sql') |
		grep -v '^tests/tools/lint\.sh' || true
}

trailing_space()
{
	git grep -nI --untracked -E '[[:space:]]+$' -- ':!tests/*/expected/*' ':!tests/fuzz/corpus' \
		':!tests/mutants' || true
}

# Parameters of one format: what the public library offers, and nothing else.
exported_names()
{
	[ -f "$build/lib/libclinic_cache.so" ] || { echo "no $build/lib/libclinic_cache.so"; return 1; }
	nm -D --defined-only "$build/lib/libclinic_cache.so" | awk '{ print $3 }' |
		grep -v '^clinic_cache_' || true
}

# Of the extension an app sees the entry points only, and it brings neither an
# SQLite nor a network along.
loadable_names()
{
	local library=$build/lib/clinic_cache.so
	[ -f "$library" ] || { echo "no $library"; return 1; }
	nm -D --defined-only "$library" | awk '{ print $3 }' |
		grep -vE '^sqlite3_(clinic_cache|cliniccache|extension)_init$' || true
	nm -D --undefined-only "$library" | grep -E ' (sqlite3_|lws_)' || true
	ldd "$library" | grep -E 'libsqlite3|libwebsockets' || true
}

perl_syntax()
{
	local file
	for file in $perl_files; do
		perl -Itests/e2e/lib -Ibench/lib -wc "$file" 2>&1 | grep -v 'syntax OK$' || true
	done
}

# The control file is the source of the version.
versions()
{
	local version
	version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" clinic_sync.control)
	grep -q "^## $version" CHANGELOG.md || echo "CHANGELOG.md does not speak of $version"
	grep -rnE '"version":"[0-9.]+"' docs/protocol.md | grep -v "\"$version\"" || true
}

# docs/architecture.md names every source file; a header goes with its .c.
file_map()
{
	local file stem
	for file in $(files 'extension/*.[ch]' 'common/*.[ch]' 'relay/*.[ch]' 'client/*.[ch]' \
		'sql/*.sql' 'sql/parts/*.sql'); do
		stem=${file##*/}
		[ "${file%.h}" = "$file" ] || [ ! -f "${file%.h}.c" ] || stem=${stem%.h}.c
		grep -qE "[\`/]$stem\`" docs/architecture.md || echo "$file is not in docs/architecture.md"
	done
}

# Name and default of the relay's options, as the program, the manual page
# and the sample file have them. Sizes become bytes; what depends on the
# machine or has no default is compared by name only.
relay_options()
{
	sed -n 's/^#\{0,1\}\([a-z_]*\) = *\(.*\)$/\1 \2/p' |
		sed -E 's/^(dsn|dsn_file|access_code_file|relay_name) .*/\1/' |
		awk '$2 ~ /^[0-9]+kB$/ { $2 = $2 * 1024 } $2 ~ /^[0-9]+MB$/ { $2 = $2 * 1048576 } { print }' |
		sort
}

option_docs()
{
	local dir program said
	program=$build/bin/clinic-relay
	[ -x "$program" ] || { echo "no $program"; return 1; }
	dir=$(mktemp -d)
	(umask 077 && echo 0123456789abcdef > "$dir/code")
	printf 'dsn = dbname=clinic\naccess_code_file = %s\n' "$dir/code" > "$dir/conf"
	"$program" --config "$dir/conf" --show-config | relay_options > "$dir/program"
	# shellcheck disable=SC2016 # the page's own back-quotes
	sed -nE -e 's/^`([a-z_]+) = .*`$/\1 = /p' -e 's/.*Default: `([^`]*)`.*/\1/p' docs/clinic-relay.conf.5.md |
		awk '/ = $/ { if (name) print name value; name = $0; value = ""; next } { value = $0 }
			END { print name value }' |
		relay_options > "$dir/page"
	relay_options < packaging/clinic-relay.conf > "$dir/sample"
	said=$(cd "$dir" && { diff -u program page; diff -u program sample; })
	rm -rf "$dir"
	echo "$said"
}

if have clang-format; then
	check 'C is formatted as .clang-format says' formatting
else
	skip 'C is formatted as .clang-format says' clang-format
fi
if have clang-tidy; then
	check 'clang-tidy: programs' tidy_own
	check 'clang-tidy: extension' tidy_extension
else
	skip 'clang-tidy' clang-tidy
fi
if have cppcheck; then
	check 'cppcheck: programs' cppcheck_own
else
	skip 'cppcheck: programs' cppcheck
fi
if have shellcheck; then
	# shellcheck disable=SC2086 # one word per file
	check 'shellcheck' shellcheck $shell_files
else
	skip 'shellcheck' shellcheck
fi
check 'perl compiles without warnings' perl_syntax
check 'libpq-fe.h only in relay/pq_*' only_in 'libpq-fe\.h' '^relay/pq_'
check 'libwebsockets.h only in relay/ws_* and client/link_*' \
	only_in 'libwebsockets\.h' '^relay/ws_|^client/link_'
check 'sqlite3.h only in client/cache_sqlite.h and relay/sqlite_*' \
	only_in 'sqlite3(ext)?\.h' '^client/cache_sqlite\.h|^relay/sqlite_'
check 'system headers of the cache only in client/platform_*' system_headers
check 'yajl only in client/cache_change.c' only_in 'yajl/' '^client/cache_change\.c'
check 'includes go downward' upward_includes
check 'server version conditions only in extension/compat.h' version_conditions
check 'no file is longer than 700 lines' long_files
check 'no // comments' line_comments
check 'nothing is left undone' unfinished
check 'no trailing white space' trailing_space
check 'libclinic_cache exports only clinic_cache_*' exported_names
check 'clinic_cache.so shows its entry points and links no SQLite' loadable_names
check 'one version everywhere' versions
check 'docs/architecture.md names every source file' file_map
check 'options of the relay: program, manual page and sample file agree' option_docs
echo "1..$number"
