# shellcheck shell=bash
# The engine that a person on this machine uses: the one that answers, else the distribution's, installed and started.

# engine_default: sets and exports DOCKER_HOST.
engine_default() {
    need 'to talk to the Docker Engine' curl:curl
    export DOCKER_HOST=${DOCKER_HOST:-$(engine_default_host)}
    api_answers "$DOCKER_HOST" || engine_default_start
    say "Using $DOCKER_HOST: $(api_describe "$DOCKER_HOST")"
}

# As the docker command does: its current context, if it has one, else the default socket.
engine_default_host() {
    local host=unix:///var/run/docker.sock
    if has docker; then host=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || printf '%s' "$host"); fi
    printf '%s\n' "$host"
}

engine_default_start() {
    [[ $DOCKER_HOST == unix:///var/run/docker.sock || $DOCKER_HOST == unix:///run/docker.sock ]] \
        || die "no Docker Engine answers at $DOCKER_HOST. Start it, or unset DOCKER_HOST to use this machine's."
    if ! is_root; then
        die "no Docker Engine answers at $DOCKER_HOST. Install and start one (docs.docker.com/engine/install), let this user reach it, and run this again; or run this as root on Debian or Ubuntu."
    fi
    need 'a Docker Engine' dockerd:docker.io
    # Installing the package may have started it.
    wait_until 3 api_answers "$DOCKER_HOST" && return 0
    if [[ -d /run/systemd/system ]]; then
        step 'Starting the Docker Engine: systemctl start docker'
        systemctl start docker
        wait_until 60 api_answers "$DOCKER_HOST" || die 'the Docker Engine does not answer; see: journalctl -u docker'
    else
        engine_default_start_directly
    fi
}

# No service manager: it is ours to start, and to end.
engine_default_start_directly() {
    ENGINE_DEFAULT=$ENGINES_RUN/default
    mkdir -p "$ENGINE_DEFAULT"
    step "Starting the Docker Engine: dockerd (log: $ENGINE_DEFAULT/dockerd.log)"
    process_detach "$ENGINE_DEFAULT/dockerd" "$ENGINE_DEFAULT/dockerd.log" dockerd
    if wait_until 60 api_answers "$DOCKER_HOST"; then return 0; fi
    tail -n 20 "$ENGINE_DEFAULT/dockerd.log" >&2
    engine_default_stop
    die 'the Docker Engine does not answer; the end of its log is above'
}

# Ends what `engine_default` started; an engine that was there, or that a service manager keeps, is left alone.
engine_default_stop() {
    [[ -n ${ENGINE_DEFAULT:-} ]] || return 0
    step 'Stopping the Docker Engine that was started'
    process_end "$ENGINE_DEFAULT/dockerd" 60
    ENGINE_DEFAULT=
}
