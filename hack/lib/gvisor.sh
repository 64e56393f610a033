# shellcheck shell=bash
# gVisor as an OCI runtime of a test engine.

# engine_gvisor: builds it if need be, and prints its entry in the "runtimes" of a daemon.json.
# --host-uds=all: a socket that a plugin makes in a bind mount is made on the host. --network=none: gVisor's own network stack does
# not start in every sandbox that tests run in, and plugins are spoken to by Unix sockets.
engine_gvisor() {
    local directory wrapper=$ENGINE_RUN/runsc
    directory=$(CGO_ENABLED=0 go_tool "gvisor.dev/gvisor/runsc@$GVISOR_VERSION")
    # A wrapper rather than "runtimeArgs": with it the engine shows one path, and a person can run the same command.
    printf '#!/bin/sh\nexec %s/runsc --network=none --host-uds=all "$@"\n' "$directory" >"$wrapper"
    chmod 755 "$wrapper"
    printf '"runsc": { "path": "%s" }' "$wrapper"
}
