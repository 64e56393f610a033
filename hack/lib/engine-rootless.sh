# shellcheck shell=bash
# The distribution's Docker Engine as an unprivileged user runs it: in a user namespace, without cgroups, under its user's runtime
# directory; with runc, crun, and gVisor from its Go module.
#
# It is one tree of processes: rootlesskit, which makes the namespaces, in them dockerd, and below that a containerd of its own. Its
# networks are in its own namespace and lead out through slirp4netns, so that there is no bridge to make.

# The user is ours, and so is all that it has: its home holds the images.
ROOTLESS_USER=plugward-rootless
ROOTLESS_HOME=/var/lib/$ROOTLESS_USER
ROOTLESS_SCRIPT=/usr/share/docker.io/contrib/dockerd-rootless.sh
ENGINE_OPTION=

# rootless_place: where the engine is, once there is the user.
rootless_place() {
    ROOTLESS_UID=$(id -u "$ROOTLESS_USER" 2>/dev/null || printf 'nobody-yet')
    ROOTLESS_RUNTIME=/run/user/$ROOTLESS_UID
    ENGINE_HOST=unix://$ROOTLESS_RUNTIME/docker.sock
}

rootless_place

engine_up() {
    if engine_is_up; then
        say "The engine $ENGINE is up already."
        return 0
    fi
    engine_prepare
    engine_start_dockerd
}

engine_prepare() {
    local gvisor
    need "the engine $ENGINE" dockerd:docker.io runc:runc crun:crun rootlesskit:rootlesskit slirp4netns:slirp4netns newuidmap:uidmap \
        iptables:iptables ip:iproute2 useradd:passwd setpriv:util-linux curl:curl ca-certificates
    [[ -e $ROOTLESS_SCRIPT ]] || die "there is no $ROOTLESS_SCRIPT, which Debian's docker.io has. Install docker.io from the distribution."
    need_go gVisor
    rootless_user
    rootless_tun
    cgroups_let_crun_run
    # A copy, for the cache is not the user's to read.
    install -D -m 755 "$(gvisor_program)" "$ROOTLESS_HOME/bin/runsc"
    # There are no cgroups to put a sandbox into.
    gvisor=$(engine_gvisor "$ROOTLESS_HOME/bin/runsc --ignore-cgroups")
    ENGINE_PATH=/usr/sbin:/usr/bin:/sbin:/bin
    ENGINE_RUNTIMES=$(printf '{ "crun": { "path": "%s" }, %s }' "$(PATH=$ENGINE_PATH command -v crun)" "$gvisor")
    rootless_configure
}

# Makes the user with its subordinate users and groups, and its runtime directory, as a login would.
rootless_user() {
    if ! id "$ROOTLESS_USER" >/dev/null 2>&1; then
        step "Making the user $ROOTLESS_USER (home: $ROOTLESS_HOME)"
        useradd --create-home --home-dir "$ROOTLESS_HOME" --shell /usr/sbin/nologin "$ROOTLESS_USER"
    fi
    [[ $(grep -ls "^$ROOTLESS_USER:" /etc/subuid /etc/subgid | wc -l) == 2 ]] \
        || die "the user $ROOTLESS_USER has no subordinate users and groups: usermod --add-subuids and --add-subgids give it some"
    rootless_place
    # Sandboxes run the program in it as users of their own.
    chmod 711 "$ROOTLESS_HOME"
    install -d -m 755 /run/user
    install -d -m 700 -o "$ROOTLESS_USER" -g "$ROOTLESS_USER" "$ROOTLESS_RUNTIME"
}

# slirp4netns makes its network interface with it. Where there is udev it is open to all.
rootless_tun() {
    if ! setpriv --reuid "$ROOTLESS_USER" --regid "$ROOTLESS_USER" --init-groups test -w /dev/net/tun; then
        step 'Opening /dev/net/tun to all users, as udev does'
        chmod 666 /dev/net/tun
    fi
}

rootless_configure() {
    cat >"$ENGINE_RUN/daemon.json" <<JSON
{
  "hosts": ["$ENGINE_HOST"],
  "data-root": "$ROOTLESS_HOME/docker",
  "deprecated-key-path": "$ROOTLESS_HOME/key.json",
  "exec-root": "$ROOTLESS_RUNTIME/docker",
  "pidfile": "$ROOTLESS_RUNTIME/docker.pid",
  "userland-proxy": false,
  "runtimes": $ENGINE_RUNTIMES
}
JSON
}

engine_start_dockerd() {
    local -a as_user
    step "Starting dockerd as $ROOTLESS_USER (log: $ENGINE_RUN/dockerd.log)"
    as_user=(setpriv --reuid "$ROOTLESS_USER" --regid "$ROOTLESS_USER" --init-groups
        env -i "HOME=$ROOTLESS_HOME" "USER=$ROOTLESS_USER" "PATH=$ENGINE_PATH" "XDG_RUNTIME_DIR=$ROOTLESS_RUNTIME")
    # Each of these is replaced by the next, so that what is recorded is rootlesskit.
    (cd / && process_detach "$ENGINE_RUN/dockerd" "$ENGINE_RUN/dockerd.log" \
        "${as_user[@]}" sh "$ROOTLESS_SCRIPT" --config-file "$ENGINE_RUN/daemon.json" 9>&-)
    engine_await dockerd api_answers "$ENGINE_HOST"
}

engine_down() {
    engine_stop_dockerd
    engine_end_leftovers
    rm -f "$ROOTLESS_RUNTIME"/docker.sock "$ROOTLESS_RUNTIME"/docker.pid
    rm -rf "$ROOTLESS_RUNTIME"/docker
}

# What is left of a tree whose root was killed: processes of the user, or of one subordinate to it, in another user namespace than
# ours; and slirp4netns, which is beside it.
engine_container_pids() {
    local first count owner directory ours
    ours=$(readlink /proc/self/ns/user)
    IFS=: read -r _ first count < <(grep "^$ROOTLESS_USER:" /etc/subuid) || return 0
    while read -r owner directory; do
        if [[ $owner == "$ROOTLESS_UID" ]] || ((owner >= first && owner < first + count)); then
            [[ $(readlink "$directory/ns/user") != "$ours" || $(cat "$directory/comm" 2>/dev/null) == slirp4netns ]] || continue
            printf '%s\n' "${directory#/proc/}"
        fi
    done < <(stat -c '%u %n' /proc/[0-9]* 2>/dev/null)
}

engine_shim_pids() { :; }
