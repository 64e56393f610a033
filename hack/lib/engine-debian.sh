# shellcheck shell=bash
# The distribution's Docker Engine (20.10 on Debian 12) with its runc and crun, and gVisor from its Go module.

ENGINE_BRIDGE=pwdeb0
ENGINE_ADDRESS=172.28.0.1/24
# An engine is known by its ID, and this one's would be kept in /etc, where the machine's own engine keeps the same.
ENGINE_OPTION="\"deprecated-key-path\": \"$ENGINE_DATA/key.json\","

engine_prepare() {
    local gvisor
    need "the engine $ENGINE" dockerd:docker.io containerd:containerd runc:runc crun:crun ip:iproute2 curl:curl ca-certificates
    need_go gVisor
    gvisor=$(engine_gvisor "$(gvisor_program)")
    cgroups_let_crun_run
    # No directory of ours in it: the distribution's programs, as its users run them.
    ENGINE_PATH=/usr/sbin:/usr/bin:/sbin:/bin
    ENGINE_RUNTIMES=$(printf '{ "crun": { "path": "%s" }, %s }' "$(PATH=$ENGINE_PATH command -v crun)" "$gvisor")
}
