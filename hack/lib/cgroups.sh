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
