# shellcheck shell=bash
# shellcheck disable=SC2034 # read by the scripts that source this
# Where things lie: the repository, and the cache, which outlives any clone of it.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${PLUGWARD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/plugward}
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
