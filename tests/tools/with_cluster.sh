#!/usr/bin/env bash
#
# Runs a command with a private server, and removes the server afterwards.
#
#	tests/tools/with_cluster.sh DIR COMMAND...

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$1
shift

"$here/cluster.sh" remove "$dir"
trap '"$here/cluster.sh" remove "$dir"' EXIT
environment=$("$here/cluster.sh" start "$dir" < /dev/null)
eval "$environment"
"$@"
