# shellcheck shell=bash
# crun refuses to run where cgroup v1 hierarchies are in use while the v2 hierarchy owns a controller ("cgroups in hybrid mode not
# supported, drop all controllers from cgroupv2"). Such a controller is mounted as a v1 hierarchy, which takes it out of v2.

cgroups_let_crun_run() {
    local controller directory
    # Only there where v1 and v2 are mounted side by side.
    [[ -r /sys/fs/cgroup/unified/cgroup.controllers ]] || return 0
    for controller in $(</sys/fs/cgroup/unified/cgroup.controllers); do
        directory=/sys/fs/cgroup/$controller
        step "Mounting the cgroup controller $controller as v1, for crun (it stays mounted: unmounting it breaks the statistics of running containers)"
        mkdir -p "$directory"
        mount -t cgroup -o "$controller" cgroup "$directory" || {
            warn "the controller $controller stays with cgroup v2; crun will not run here"
            rmdir "$directory" 2>/dev/null || true
        }
    done
}

# All containers together are one cgroup, beside which each process of the root cgroup counts as much: where everything else is there, as it
# is in a container, a plugin that has to answer within seconds waits behind twenty processes of tests. As much as eight, it has its turn, and
# one that never rests still leaves the engine its own.
cgroups_favour_containers() {
    if [[ -w /sys/fs/cgroup/cpu/cpu.shares ]]; then
        mkdir -p /sys/fs/cgroup/cpu/docker
        echo 8192 >/sys/fs/cgroup/cpu/docker/cpu.shares
    elif [[ -w /sys/fs/cgroup/cgroup.subtree_control ]]; then
        mkdir -p /sys/fs/cgroup/docker
        { echo +cpu >/sys/fs/cgroup/cgroup.subtree_control && echo 800 >/sys/fs/cgroup/docker/cpu.weight; } 2>/dev/null \
            || warn 'containers have no more of the processors than any process: plugins may be slow under load'
    fi
}
