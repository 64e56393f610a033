#!/usr/bin/env bash
# hack/lib/in-cgroup.sh NAME COMMAND...: runs a command in control groups of its own, below ours. A systemd that is started so takes
# these for its root: it moves all processes of its root elsewhere, and that must not be those of the machine.
# hack/lib/in-cgroup.sh --remove NAME: removes what is left of these groups. Nothing runs in them any more.

set -euo pipefail

# our_groups: the directory of our control group in each hierarchy.
our_groups() {
    local controller path directory
    while IFS=: read -r _ controller path; do
        directory=/sys/fs/cgroup/${controller#name=}
        if [[ -z $controller ]]; then
            directory=/sys/fs/cgroup
            [[ ! -d $directory/unified ]] || directory+=/unified
        fi
        [[ ! -d $directory ]] || printf '%s\n' "${directory%/}${path%/}"
    done <<<"$(cat /proc/self/cgroup)"
}

if [[ $1 == --remove ]]; then
    while read -r directory; do
        [[ ! -d $directory/$2 ]] || find "$directory/$2" -depth -type d -exec rmdir {} + || true
    done < <(our_groups)
    exit
fi

name=$1
shift
while read -r directory; do
    # Some hierarchies take no processes before they are set up: they are no matter.
    if mkdir -p "$directory/$name"; then echo $$ 2>/dev/null >"$directory/$name/cgroup.procs" || true; fi
done < <(our_groups)
# The hierarchy that systemd goes by.
own=$(grep -E '^[0-9]+:name=systemd:' /proc/self/cgroup || grep '^0::' /proc/self/cgroup)
[[ $own == */"$name" ]] || { echo "in-cgroup.sh: there is no control group $name to be had ($own)" >&2 && exit 1; }
exec "$@"
