#!/usr/bin/env bash
#
# Links the extension for another system, and looks at what came out, as TAP.
#
#	tests/tools/cross.sh DIR SYSTEM
#
# DIR/SYSTEM has the objects (make cross-objects).

set -uo pipefail

dir=$1/$2
system=$2
number=0
declare -A begins=([jansson]=json_ [yajl]=yajl_ [crypto]=EVP_)

case $system in
*mingw*) library=clinic_cache.dll suffix=.dll libraries=-lbcrypt ;;
*) library=clinic_cache.so suffix=.so libraries='-lm -Wl,-z,defs -Wl,-Bsymbolic' ;;
esac

check()
{
	local name=$1 said status
	shift
	number=$((number + 1))
	said=$("$@" 2>&1)
	status=$?
	if [ $status = 0 ] && [ -z "$said" ]; then
		echo "ok $number - $system: $name"
	else
		echo "not ok $number - $system: $name"
		printf '%s\n' "${said:-status $status}" | head -40 | sed 's/^/# /' >&2
	fi
}

mapfile -t objects < <(find "$dir" -path "$dir/stand-in" -prune -o -name '*.o' -print | sort)

# A library with the functions of one name that the objects use, and nothing in them.
stand_in()
{
	local name=$1
	"$system-nm" --undefined-only "${objects[@]}" | awk '{ print $2 }' | grep "^${begins[$name]}" |
		sort -u | sed 's/.*/void &(void);void &(void){}/' > "$dir/stand-in/$name.c"
	[ -s "$dir/stand-in/$name.c" ] || echo "nothing of $name is used"
	"$system-gcc" -shared -Wl,-soname="lib$name$suffix" "$dir/stand-in/$name.c" \
		-o "$dir/stand-in/lib$name$suffix"
}

link_all()
{
	# shellcheck disable=SC2086 # words on purpose
	"$system-gcc" -shared -o "$dir/$library" "${objects[@]}" "$dir"/stand-in/lib*"$suffix" $libraries
}

# Names an app could meet by accident, besides the entry points.
exported()
{
	case $system in
	*mingw*) "$system-objdump" -p "$dir/$library" | sed -n '/^\[Ordinal/,/^$/s/^\t\[ *[0-9]*\] *//p' ;;
	*) "$system-nm" -D --defined-only "$dir/$library" | awk '{ print $3 }' ;;
	esac | awk '/^sqlite3_(clinic_cache|cliniccache|extension)_init$/ { found++; next } { print }
			END { if (found != 3) print found + 0 " entry points" }'
}

# What has to be there when it is loaded.
needed()
{
	"$system-objdump" -p "$dir/$library" | sed -n 's/.*\(NEEDED\|DLL Name:\) *//p' |
		grep -vE '^lib(jansson|yajl|crypto)\.|^(libc|libm|ld-linux-aarch64)\.so|^(KERNEL32|msvcrt|bcrypt)\.dll$'
	true
}

rm -rf "$dir/stand-in" && mkdir -p "$dir/stand-in"
for name in jansson yajl crypto; do
	check "the functions of $name" stand_in $name
done
check 'it is linked with these and the system, and with no SQLite' link_all
check 'it shows its entry points and nothing else' exported
check 'it needs no other library' needed
echo "1..$number"
