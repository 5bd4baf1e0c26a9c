#!/usr/bin/env bash
#
# A private PostgreSQL server of PG_CONFIG's version with this checkout's
# clinic_sync in it, without installing anything into the system.
#
#   eval "$(tests/tools/cluster.sh start DIR [< postgresql.conf lines])"
#                                    make and start it; a DIR that holds one already is started
#                                    again. Prints `export NAME='value'` lines, see below.
#   cluster.sh env DIR               the same lines once more
#   cluster.sh stop DIR [mode]       smart, fast (the default) or immediate; keeps the data
#   cluster.sh kill DIR              stop DIR immediate: what a crash leaves behind
#   cluster.sh restart DIR [mode]    stop and start
#   cluster.sh refresh DIR           take over newly built .so, .sql and .control files
#   cluster.sh remove DIR            stop it and delete everything it made
#
# The idea it rests on: a PostgreSQL binary looks for its share and library
# directories relative to where the binary itself really is. So a root of
# copies (postgres, initdb, pg_ctl) and symbolic links, with the paths that
# pg_config names kept below it, is a complete installation that our files
# can be added to.
#
# Prints: PGHOST (directory of the socket), PGPORT, PGUSER (postgres, the
# superuser), PGDATABASE (postgres), PGDATA, PGPASSFILE (the superuser's
# password, for servers that also get listen_addresses), CLUSTER_LOG (the
# server's log). The socket's directory is open to the server's owner only,
# and whoever gets in there is trusted.
#
# Environment: PG_CONFIG (pg_config), CLUSTER_OWNER (as root: the user that
# runs the server, since PostgreSQL refuses root; default postgres, else
# nobody), CLUSTER_START_TIMEOUT_S (60).
#
# Configuration lines come from standard input unless that is a terminal;
# they must arrive within two seconds. Nothing to say: < /dev/null.
#
# Everything lies in DIR. Where the server's owner cannot reach DIR (a clone
# below /root), it lies in a new directory below /var/tmp that DIR/place
# names.

set -euo pipefail

source_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
pg_config=${PG_CONFIG:-pg_config}

die()
{
	echo "cluster.sh: $*" >&2
	exit 1
}

usage()
{
	sed -n '3,/^# The idea/{/^# The idea/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
	exit 2
}

[ $# -ge 2 ] || usage
command=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
mode=${3:-fast}

# The server inherits neither our client settings nor a sanitizer's runtime, and its owner reads
# what we copy whatever our own umask is. Connections that a backend itself makes (dblink) are the
# superuser's, whoever runs the server.
export PGUSER=postgres
unset PGDATA PGHOST PGPORT PGDATABASE PGOPTIONS PGSERVICE PGPASSFILE
umask 022
unset LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS

owner=$(id -un)
if [ "$(id -u)" = 0 ]; then
	owner=${CLUSTER_OWNER:-postgres}
	getent passwd "$owner" > /dev/null || owner=nobody
fi

# Run a command as the server's owner. Its own directory may be out of reach
# for that user, so from the root directory.
as_owner()
{
	if [ "$(id -un)" = "$owner" ]; then
		(cd / && "$@")
	else
		(cd / && runuser -u "$owner" -- "$@")
	fi
}

# Where the cluster lies: found once, then remembered in DIR/place.
find_place()
{
	if [ -f "$dir/place" ]; then
		place=$(cat "$dir/place")
		[ -d "$place" ] || die "$place is gone; remove $dir"
		return
	fi
	if as_owner test -x "$dir"; then
		place=$dir/cluster
		mkdir -p "$place"
		[ "$(id -un)" = "$owner" ] || chown "$owner": "$place"
	else
		place=$(as_owner mktemp -d /var/tmp/clinic_sync.XXXXXX)
	fi
	chmod 755 "$place"
	echo "$place" > "$dir/place"
}

need_place()
{
	[ -f "$dir/place" ] || die "there is no cluster in $dir"
	find_place
}

# The private root. Links go to the installed files one by one, because the
# directories themselves must take our own beside them.
build_root()
{
	local bindir sharedir pkglibdir root program
	bindir=$("$pg_config" --bindir) || die "cannot run $pg_config"
	sharedir=$("$pg_config" --sharedir)
	pkglibdir=$("$pg_config" --pkglibdir)
	root=$place/root

	[ -x "$bindir/postgres" ] || die "no PostgreSQL server in $bindir"
	mkdir -p "$root$bindir" "$root$sharedir/extension" "$root$pkglibdir"
	for program in postgres initdb pg_ctl; do
		cp "$bindir/$program" "$root$bindir/$program"
	done
	find "$sharedir" -mindepth 1 -maxdepth 1 ! -name extension \
		-exec ln -sfn -t "$root$sharedir" {} +
	find "$sharedir/extension" -mindepth 1 -maxdepth 1 ! -name 'clinic_sync*' \
		-exec ln -sfn -t "$root$sharedir/extension" {} +
	find "$pkglibdir" -mindepth 1 -maxdepth 1 ! -name 'clinic_sync*' \
		-exec ln -sfn -t "$root$pkglibdir" {} +
	printf '%s\n' "$bindir" "$sharedir" "$pkglibdir" > "$place/layout"
}

read_layout()
{
	{
		read -r bindir
		read -r sharedir
		read -r pkglibdir
	} < "$place/layout"
}

# A running server has the old library mapped, so a new file takes its name
# instead of new bytes taking its place.
put_file()
{
	[ -f "$1" ] || return 0
	cp "$1" "$2.new"
	chmod 644 "$2.new"
	mv -f "$2.new" "$2"
}

refresh()
{
	local file
	read_layout
	put_file "$source_root/clinic_sync.so" "$place/root$pkglibdir/clinic_sync.so"
	put_file "$source_root/clinic_sync.control" \
		"$place/root$sharedir/extension/clinic_sync.control"
	for file in "$source_root"/sql/clinic_sync--*.sql; do
		put_file "$file" "$place/root$sharedir/extension/${file##*/}"
	done
}

# A port nobody listens on, neither by TCP nor in /tmp: the number also names
# the socket file. Two of us at once are told apart by the server's own check.
free_port()
{
	local port
	for _ in $(seq 100); do
		port=$((20000 + RANDOM % 12000))
		if ! (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null &&
			[ ! -e "/tmp/.s.PGSQL.$port" ]; then
			echo "$port"
			return
		fi
	done
	die "no free port found"
}

make_cluster()
{
	local line
	read_layout
	od -An -N16 -tx1 /dev/urandom | tr -d ' \n' > "$place/password"
	chmod 600 "$place/password"
	[ "$(id -un)" = "$owner" ] || chown "$owner": "$place/password"
	as_owner "$place/root$bindir/initdb" -D "$place/data" -U postgres -E UTF8 \
		--locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 \
		--pwfile="$place/password" --no-sync > "$dir/initdb.log" 2>&1 ||
		{ cat "$dir/initdb.log" >&2; die "initdb failed"; }
	sed 's/^/*:*:*:postgres:/' "$place/password" > "$dir/pgpass"
	chmod 600 "$dir/pgpass"
	rm "$place/password"

	{
		echo "listen_addresses = ''"
		echo "wal_level = logical"
		echo "max_prepared_transactions = 20"
		echo "log_line_prefix = '%m [%p] %q%u@%d '"
		if [ ! -t 0 ]; then
			while IFS= read -r -t 2 line; do
				printf '%s\n' "$line"
			done
		fi
	} | as_owner tee -a "$place/data/postgresql.conf" > /dev/null
}

is_running()
{
	as_owner "$place/root$bindir/pg_ctl" -D "$place/data" status > /dev/null 2>&1
}

# The socket lies in a short directory below /tmp: a path to a socket may
# have 107 bytes only. It is made anew when somebody has cleaned /tmp.
start()
{
	local attempt
	read_layout
	is_running && return
	socket_dir=$(cat "$place/socket_dir" 2> /dev/null || true)
	if [ ! -d "${socket_dir:-/nonexistent}" ]; then
		socket_dir=$(as_owner mktemp -d /tmp/cs.XXXXXX)
		echo "$socket_dir" > "$place/socket_dir"
	fi
	for attempt in 1 2 3 4 5; do
		[ -f "$place/port" ] || free_port > "$place/port"
		as_owner "$place/root$bindir/pg_ctl" -D "$place/data" -l "$place/log" -s -w \
			-t "${CLUSTER_START_TIMEOUT_S:-60}" \
			-o "-p $(cat "$place/port") -k $socket_dir" start < /dev/null >&2 && return
		grep -q 'could not bind\|lock file .* already exists' "$place/log" || break
		[ "$attempt" = 5 ] || rm "$place/port"
	done
	tail -20 "$place/log" >&2
	die "the server in $dir did not start"
}

stop()
{
	[ -f "$place/layout" ] || return 0
	read_layout
	is_running || return 0
	as_owner "$place/root$bindir/pg_ctl" -D "$place/data" -s -w -t 120 -m "$1" stop >&2
}

print_env()
{
	cat <<-END
	export PGHOST='$(cat "$place/socket_dir")'
	export PGPORT='$(cat "$place/port")'
	export PGUSER='postgres'
	export PGDATABASE='postgres'
	export PGDATA='$place/data'
	export PGPASSFILE='$dir/pgpass'
	export CLUSTER_LOG='$place/log'
	END
}

remove()
{
	stop immediate
	[ ! -f "$place/socket_dir" ] || rm -rf "$(cat "$place/socket_dir")"
	rm -rf "$place" "$dir/place" "$dir/pgpass" "$dir/initdb.log"
	rmdir "$dir" 2> /dev/null || true
}

case $command in
start)
	find_place
	if [ ! -f "$place/data/PG_VERSION" ]; then
		build_root
		make_cluster
	fi
	refresh
	start
	print_env
	;;
env)
	need_place
	print_env
	;;
stop)
	need_place
	stop "$mode"
	;;
kill)
	need_place
	stop immediate
	;;
restart)
	need_place
	stop "$mode"
	start
	;;
refresh)
	need_place
	refresh
	;;
remove)
	[ -f "$dir/place" ] || { rmdir "$dir" 2> /dev/null || true; exit 0; }
	find_place
	remove
	;;
*)
	usage
	;;
esac
