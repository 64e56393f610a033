#!/usr/bin/env bash
# hack/lib/package-check.sh OLD NEW ENGINE: installs the package OLD, upgrades it to NEW, removes and purges it, with a plugin on ENGINE that runs on.
#
# It does so in a copy of this machine: an overlay that only the processes of this script see, and that is gone with them. The service is
# run by a systemd of root's as a user's, which needs no machine that was booted by it. Run by hack/test, as root.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/all.sh"

CLUSTER=package$$
UNITS=/etc/plugward-test-units

main() {
    if [[ ${PACKAGE_CHECK_INSIDE:-} != yes ]]; then
        [[ ! -e /run/plugward ]] || die '/run/plugward exists: plugward runs on this machine, and this would meet it'
        PACKAGE_CHECK_INSIDE=yes exec "$HACK_LIB/in-cgroup.sh" plugward-test-package unshare --mount --propagation private "${BASH_SOURCE[0]}" "$@"
    fi
    ENGINE_HOST=$3
    copy_machine
    trap finish EXIT
    start_manager
    installed_runs "$1"
    installed_is_scraped
    upgraded_keeps_plugins "$2"
    removed_leaves_plugins
    purged_is_gone
}

# The machine's files, with a memory for what is written. What engines and the kernel have is shared.
copy_machine() {
    local copy place
    copy=$(mktemp -d)
    mount -t tmpfs tmpfs "$copy"
    mkdir "$copy"/{written,work,root}
    mount -t overlay -o "lowerdir=/,upperdir=$copy/written,workdir=$copy/work" overlay "$copy/root"
    for place in proc sys dev run; do mount --rbind "/$place" "$copy/root/$place"; done
    mkdir -p "$copy/root/run/systemd" "$copy/root/.before"
    mount -t tmpfs tmpfs "$copy/root/run/systemd"
    cd "$copy/root"
    pivot_root . .before
    cd /
    # What a manager wants to see of a machine.
    mkdir -p /run/systemd/system /run/systemd/inaccessible/dir
    : >/run/systemd/inaccessible/reg
    mkfifo /run/systemd/inaccessible/fifo
    mknod /run/systemd/inaccessible/chr c 0 0
    # Where a machine is only built, nothing is to be started.
    rm -f /usr/sbin/policy-rc.d
}

start_manager() {
    local systemctl=/usr/local/bin/systemctl
    METRICS=127.0.0.1:$(free_port 19760)
    mkdir -p "$UNITS/plugward.service.d"
    ln -s /lib/systemd/system/plugward.service "$UNITS/plugward.service"
    cat >"$UNITS/plugward.service.d/test.conf" <<END
[Service]
Environment=PLUGWARD_MANIFESTS=/etc/plugward/manifests PLUGWARD_CLUSTER_ID=$CLUSTER PLUGWARD_METRICS_ADDRESS=$METRICS
StandardOutput=append:/var/log/plugward-test.log
StandardError=append:/var/log/plugward-test.log
END
    # Maintainer scripts mean the system's manager, which is not there.
    cat >"$systemctl" <<'END'
#!/bin/sh
for argument; do
    shift
    [ "$argument" = --system ] || set -- "$@" "$argument"
done
case " $* " in *' is-enabled '* | *' preset '*) exec /usr/bin/systemctl --root=/ "$@" ;; esac
XDG_RUNTIME_DIR=/run exec /usr/bin/systemctl --user "$@"
END
    chmod +x "$systemctl"
    env -i PATH="$PATH" XDG_RUNTIME_DIR=/run XDG_CONFIG_HOME=/var/lib XDG_STATE_HOME=/var/lib SYSTEMD_UNIT_PATH="$UNITS:/usr/lib/systemd/user" \
        /lib/systemd/systemd --user --unit=basic.target >/var/log/systemd-test.log 2>&1 &
    MANAGER=$!
    wait_until 30 manager_answers || die "systemd does not start: $(cat /var/log/systemd-test.log)"
}

manager_answers() { systemctl --quiet is-active basic.target 2>/dev/null; }

installed_runs() {
    dpkg -i "$1" >&2 || die "$1 cannot be installed"
    getent group plugward >/dev/null || die 'there is no group plugward'
    systemctl --quiet is-enabled plugward.service || die 'the service is not enabled'
    systemctl --quiet is-active plugward.service || die 'the service does not run'
    [[ $(stat -c %G "/run/plugward/$CLUSTER/control.sock") == plugward ]] || die 'the control socket is not of the group plugward'
    sed "s|ociRuntime: runc.*|&\n  engine: { host: \"$ENGINE_HOST\" }|" "$ROOT/deploy/examples/runtime.yaml" >/etc/plugward/manifests/runtime.yaml
    cp "$ROOT/deploy/examples/counter.yaml" /etc/plugward/manifests
    wait_until 90 plugin_is_ready || die "the plugin is not ready: $(plugward describe instance counter 2>&1)"
    CONTAINER=$(api_containers "$ENGINE_HOST" "dev.plugward.cluster-id=$CLUSTER")
    # A host that is to attach is told what is missing, not that the program does not run.
    [[ $(plugward-attach --cluster-id none counter 2>&1) == 'plugward-attach: no controller runs here'* ]] || die 'the launcher does not run'
    say "Installed: the plugin runs in ${CONTAINER::12}."
}

plugin_is_ready() { [[ $(plugward get instance counter 2>/dev/null) == *' Ready '* ]]; }

# By a Prometheus with the configuration of the composition.
installed_is_scraped() {
    local address
    address=127.0.0.1:$(free_port 19960)
    composition_prometheus "$METRICS" 1s
    prometheus --config.file="$PROMETHEUS_CONFIG" --storage.tsdb.path="$(mktemp -d)" --web.listen-address="$address" --log.level=warn >&2 &
    PROMETHEUS=$!
    wait_until 60 prometheus_knows "$address" 'up{job="plugward"} == 1' || die 'Prometheus does not scrape the service'
    wait_until 60 prometheus_knows "$address" 'plugward_plugin_phase{plugin_instance="counter",phase="Ready"} == 1' || die 'Prometheus does not see the plugin'
    say 'Prometheus, configured as in the composition, sees the plugin.'
    kill "$PROMETHEUS"
    wait "$PROMETHEUS" || true
}

# prometheus_knows ADDRESS EXPRESSION
prometheus_knows() { [[ $(api "tcp://$1" GET "/api/v1/query?query=$(api_encode "$2")" 2>/dev/null) == *'"value":'* ]]; }

upgraded_keeps_plugins() {
    local before
    before=$(main_pid)
    dpkg -i "$1" >&2 || die "$1 cannot be installed over the older one"
    systemctl --quiet is-active plugward.service || die 'the service does not run after the upgrade'
    [[ $(main_pid) != "$before" ]] || die 'the upgrade did not restart the service'
    wait_until 90 plugin_is_ready || die 'the plugin is not ready after the upgrade'
    still_runs 'the upgrade'
}

main_pid() { systemctl show --property MainPID --value plugward.service; }

# still_runs AFTER
still_runs() {
    local now
    now=$(api "$ENGINE_HOST" GET "/containers/$CONTAINER/json") || die "$1 lost the plugin's container"
    [[ $now == *'"Running":true'* && $(api_containers "$ENGINE_HOST" "dev.plugward.cluster-id=$CLUSTER") == "$CONTAINER" ]] \
        || die "$1 did not leave the plugin as it was"
    say "The plugin runs on after $1."
}

removed_leaves_plugins() {
    local said
    said=$(dpkg -r plugward)
    [[ $said == *'docker rm --force'* ]] || die "the removal does not say how plugins are ended: $said"
    ! systemctl --quiet is-active plugward.service || die 'the service runs after the removal'
    [[ -d /var/lib/plugward && -f /etc/default/plugward ]] || die 'the removal took more than the program'
    still_runs 'the removal'
}

purged_is_gone() {
    local said
    said=$(dpkg -P plugward)
    [[ $said == *'removing /var/lib/plugward'* && $said == *'manifests in /etc/plugward stay'* ]] || die "the purge does not say what it does: $said"
    [[ ! -e /var/lib/plugward && ! -e /run/plugward && ! -e /etc/default/plugward ]] || die 'the purge left something'
    [[ -f /etc/plugward/manifests/counter.yaml ]] || die "the purge took somebody's manifests"
    still_runs 'the purge'
}

finish() {
    local status=$? id
    set +e
    if ((status)); then tail -n 40 /var/log/plugward-test.log /var/log/systemd-test.log >&2; fi
    systemctl stop plugward.service 2>/dev/null
    systemctl exit 2>/dev/null
    wait "$MANAGER"
    for id in $(api_containers "$ENGINE_HOST" "dev.plugward.cluster-id=$CLUSTER"); do
        api "$ENGINE_HOST" DELETE "/containers/$id?force=1&v=1" >/dev/null
    done
    rm -rf /run/plugward
    exit "$status"
}

main "$@"
