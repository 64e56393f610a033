# shellcheck shell=bash
# Where things lie: the repository, and the cache, which outlives any clone of it.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${PLUGWARD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/plugward}
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
