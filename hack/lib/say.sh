# shellcheck shell=bash
# What the scripts tell the person who runs them. It goes to stderr: stdout is for results that other programs read.

say() { printf '%s\n' "$*" >&2; }
step() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The comment at the head of a script, up to its first empty line, is its help.
usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

# wrong_usage WHAT: as every command line program, exit code 2.
wrong_usage() {
    printf 'error: %s\n\n' "$*" >&2
    usage >&2
    exit 2
}
