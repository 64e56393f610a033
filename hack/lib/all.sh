# shellcheck shell=bash
# What every script under hack/ starts with.

HACK_LIB=$(dirname "${BASH_SOURCE[0]}")
for part in say repo versions need rust process api go-tools cgroups gvisor engine engine-default image; do
    # shellcheck source=/dev/null
    source "$HACK_LIB/$part.sh"
done
unset part
