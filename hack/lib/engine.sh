# shellcheck shell=bash
# A Docker Engine for tests: a containerd and a dockerd with data, sockets, pids and a bridge of their own, so that neither the
# machine's engine nor another test engine notices.
#
# What differs between them is in lib/engine-NAME.sh, which `engine_use NAME` reads:
#   ENGINE_BRIDGE, ENGINE_ADDRESS   the bridge, and the address of the host on it
#   ENGINE_OPTION                   a line of its own in daemon.json, or nothing
#   engine_prepare                  installs or builds what is missing, sets ENGINE_PATH and ENGINE_RUNTIMES (JSON)
# lib/engine-rootless.sh, where all of it runs as another user, has its own of some functions here.

ENGINES_RUN=/run/plugward-engines

engine_use() {
    ENGINE=$1
    # Sockets lie under /run because a Unix socket's path must be short.
    ENGINE_RUN=$ENGINES_RUN/$ENGINE
    ENGINE_DATA=$CACHE/engines/$ENGINE
    ENGINE_HOST=unix://$ENGINE_RUN/docker.sock
    case $ENGINE in
    debian | debian-spare) source "$HACK_LIB/engine-debian.sh" ;;
    current | current-spare) source "$HACK_LIB/engine-current.sh" ;;
    rootless) source "$HACK_LIB/engine-rootless.sh" ;;
    *) die "there is no engine $ENGINE" ;;
    esac
    [[ $ENGINE != *-spare ]] || source "$HACK_LIB/engine-spare.sh"
}

# One `up` or `down` of an engine at a time. The engine's own processes must not inherit the lock: they close descriptor 9.
engine_lock() {
    mkdir -p "$ENGINE_RUN" "$ENGINE_DATA"
    exec 9>"$ENGINE_RUN/lock"
    flock -w 1200 9 || die "another hack/engine $ENGINE is busy"
}

engine_is_up() { process_pid "$ENGINE_RUN/dockerd" >/dev/null && api_answers "$ENGINE_HOST"; }

engine_up() {
    if engine_is_up; then
        say "The engine $ENGINE is up already."
        return 0
    fi
    engine_prepare
    engine_bridge_up
    engine_configure
    step "Starting containerd and dockerd (logs: $ENGINE_RUN/containerd.log, $ENGINE_RUN/dockerd.log)"
    cgroups_favour_containers
    engine_start_containerd
    engine_start_dockerd
}

# A containerd of our own, because dockerd takes the machine's, if there is one, instead of starting its own.
engine_start_containerd() {
    process_pid "$ENGINE_RUN/containerd" >/dev/null && return 0
    # One that was killed leaves its socket, which would pass for an answer.
    rm -f "$ENGINE_RUN/containerd.sock"
    PATH=$ENGINE_PATH process_detach "$ENGINE_RUN/containerd" "$ENGINE_RUN/containerd.log" \
        containerd --config "$ENGINE_RUN/containerd.toml" 9>&-
    engine_await containerd test -S "$ENGINE_RUN/containerd.sock"
}

engine_start_dockerd() {
    # One that was killed leaves it, and refuses to start while a process has that number: its own that nobody has waited for yet.
    process_pid "$ENGINE_RUN/dockerd" >/dev/null || rm -f "$ENGINE_RUN/dockerd.pid"
    PATH=$ENGINE_PATH process_detach "$ENGINE_RUN/dockerd" "$ENGINE_RUN/dockerd.log" \
        dockerd --config-file "$ENGINE_RUN/daemon.json" 9>&-
    engine_await dockerd api_answers "$ENGINE_HOST"
}

# engine_await PROGRAM COMMAND...: until the command succeeds; gives up when the program ended, or after a minute.
engine_await() {
    local program=$1
    shift
    if wait_until 60 engine_settled "$program" "$@" && process_pid "$ENGINE_RUN/$program" >/dev/null; then return 0; fi
    tail -n 20 "$ENGINE_RUN/$program.log" >&2
    engine_down
    die "$program did not start; the end of its log is above"
}

engine_settled() {
    process_gone "$ENGINE_RUN/$1" || "${@:2}"
}

engine_configure() {
    cat >"$ENGINE_RUN/containerd.toml" <<TOML
version = 2
root = "$ENGINE_DATA/containerd"
state = "$ENGINE_RUN/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$ENGINE_RUN/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$ENGINE_DATA/opt"
TOML
    # An own bridge: `none` would delete docker0, and with it the default network of the machine's engine.
    cat >"$ENGINE_RUN/daemon.json" <<JSON
{
  $ENGINE_OPTION
  "hosts": ["$ENGINE_HOST"],
  "data-root": "$ENGINE_DATA/docker",
  "exec-root": "$ENGINE_RUN/exec",
  "pidfile": "$ENGINE_RUN/dockerd.pid",
  "containerd": "$ENGINE_RUN/containerd.sock",
  "bridge": "$ENGINE_BRIDGE",
  "iptables": false,
  "ip6tables": false,
  "userland-proxy": false,
  "runtimes": $ENGINE_RUNTIMES
}
JSON
}

engine_bridge_up() {
    if ! ip link show dev "$ENGINE_BRIDGE" >/dev/null 2>&1; then
        step "Making the bridge $ENGINE_BRIDGE ($ENGINE_ADDRESS)"
        ip link add "$ENGINE_BRIDGE" type bridge
    fi
    [[ $(ip -o addr show dev "$ENGINE_BRIDGE") == *" $ENGINE_ADDRESS "* ]] || ip addr add "$ENGINE_ADDRESS" dev "$ENGINE_BRIDGE"
    ip link set "$ENGINE_BRIDGE" up
}

# Ends what `engine_up` started, and nothing else. Images and built programs stay in the cache.
engine_down() {
    engine_stop_dockerd
    process_end "$ENGINE_RUN/containerd"
    engine_end_leftovers
    engine_unmount
    if ip link show dev "$ENGINE_BRIDGE" >/dev/null 2>&1; then ip link del "$ENGINE_BRIDGE"; fi
    rm -f "$ENGINE_RUN"/*.sock "$ENGINE_RUN"/*.sock.ttrpc "$ENGINE_RUN/dockerd.pid"
}

# dockerd gives each container 10 s to end, then some.
engine_stop_dockerd() { process_end "$ENGINE_RUN/dockerd" 60; }

# A container that was running when its containerd was killed, or the sandbox of a start that failed, can be left over.
engine_end_leftovers() {
    local pid
    for pid in $(engine_container_pids) $(engine_shim_pids); do
        warn "ending process $pid, left over by the engine $ENGINE"
        kill -KILL "$pid" 2>/dev/null || true
    done
}

# containerd notes the first process of each container. Its cgroup, named for the container, tells that it is still that process.
engine_container_pids() {
    local file container
    for file in "$ENGINE_RUN"/containerd-state/io.containerd.runtime.v2.task/moby/*/init.pid; do
        [[ -e $file ]] || continue
        container=$(basename "$(dirname "$file")")
        if grep -qs "$container" "/proc/$(<"$file")/cgroup"; then printf '%s\n' "$(<"$file")"; fi
    done
}

# Shims and gVisor's processes name the run directory of their engine in their arguments.
engine_shim_pids() {
    local directory
    for directory in /proc/[0-9]*; do
        if tr '\0' ' ' 2>/dev/null <"$directory/cmdline" | grep -qE "(containerd-shim|runsc).* [^ ]*$ENGINE_RUN/"; then
            printf '%s\n' "${directory#/proc/}"
        fi
    done
}

engine_unmount() {
    local point
    awk -v run="$ENGINE_RUN/" -v data="$ENGINE_DATA/" 'index($5, run) == 1 || index($5, data) == 1 { print $5 }' /proc/self/mountinfo \
        | sort -r | while read -r point; do umount -l "$point" || warn "$point stays mounted"; done
}
