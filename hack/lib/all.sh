# shellcheck shell=bash
# What every script under hack/ starts with.

HACK_LIB=$(dirname "${BASH_SOURCE[0]}")
source "$HACK_LIB/say.sh"
source "$HACK_LIB/repo.sh"
source "$HACK_LIB/versions.sh"
source "$HACK_LIB/need.sh"
source "$HACK_LIB/rust.sh"
source "$HACK_LIB/process.sh"
source "$HACK_LIB/port.sh"
source "$HACK_LIB/api.sh"
source "$HACK_LIB/go-tools.sh"
source "$HACK_LIB/cgroups.sh"
source "$HACK_LIB/gvisor.sh"
source "$HACK_LIB/engine.sh"
source "$HACK_LIB/engine-default.sh"
source "$HACK_LIB/borrow.sh"
source "$HACK_LIB/image.sh"
source "$HACK_LIB/package.sh"
source "$HACK_LIB/stages.sh"
source "$HACK_LIB/watched.sh"
source "$HACK_LIB/installed.sh"
