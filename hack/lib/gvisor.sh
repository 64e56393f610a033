# shellcheck shell=bash
# gVisor as OCI runtimes of a test engine.

# gvisor_program: builds it if need be, and prints where it is.
gvisor_program() {
    local directory
    directory=$(CGO_ENABLED=0 go_tool "gvisor.dev/gvisor/runsc@$GVISOR_VERSION")
    printf '%s\n' "$directory/runsc"
}

# engine_gvisor PROGRAM: prints its entries in the "runtimes" of a daemon.json: `runsc`, as most users have it, lets
# a plugin make a socket on the host (--host-uds=create), `runsc-all` lets it connect to ours too (--host-uds=all), and `runsc-none` has not
# been told of sockets.
# --network=none: gVisor's own network stack does not start in every sandbox that tests run in, and plugins are spoken to by Unix
# sockets.
engine_gvisor() {
    engine_gvisor_entry runsc "$1 --host-uds=create"
    printf ', '
    engine_gvisor_entry runsc-all "$1 --host-uds=all"
    printf ', '
    engine_gvisor_entry runsc-none "$1"
}

# A wrapper rather than "runtimeArgs": with it the engine shows one path, and a person can run the same command.
engine_gvisor_entry() {
    local wrapper=$ENGINE_RUN/$1
    printf '#!/bin/sh\nexec %s --network=none "$@"\n' "$2" >"$wrapper"
    chmod 755 "$wrapper"
    printf '"%s": { "path": "%s" }' "$1" "$wrapper"
}
