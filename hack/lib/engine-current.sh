# shellcheck shell=bash
# A current Docker Engine (containerd image store) with containerd 2, runc and gVisor, all from their Go modules.
# No crun: that of Debian 12 (1.8.1) refuses what this engine writes ("unknown version specified").

ENGINE_BRIDGE=pwcur0
ENGINE_ADDRESS=172.29.0.1/24
ENGINE_OPTION=

engine_prepare() {
    local moby containerd shim runc gvisor
    need "the engine $ENGINE" gcc:gcc pkg-config:pkg-config libc6-dev libseccomp-dev ip:iproute2 curl:curl ca-certificates
    need_go "the engine $ENGINE"
    # Without the flag it calls its version "library-import".
    moby=$(CGO_ENABLED=0 go_tool "github.com/moby/moby/v2/cmd/dockerd@$MOBY_VERSION" \
        -ldflags "-X github.com/moby/moby/v2/dockerversion.Version=${MOBY_VERSION#v}")
    containerd=$(CGO_ENABLED=0 go_tool "github.com/containerd/containerd/v2/cmd/containerd@$CONTAINERD_VERSION")
    shim=$(CGO_ENABLED=0 go_tool "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@$CONTAINERD_VERSION")
    # Without the tag it starts nothing that has a seccomp profile, which is every container by default.
    runc=$(CGO_ENABLED=1 go_tool "github.com/opencontainers/runc@$RUNC_VERSION" -tags seccomp)
    gvisor=$(engine_gvisor "$(gvisor_program)")
    ENGINE_PATH=$moby:$containerd:$shim:$runc:/usr/sbin:/usr/bin:/sbin:/bin
    ENGINE_RUNTIMES="{ $gvisor }"
}
