# shellcheck shell=bash

# free_port FROM: a port that nobody listens on now, one of the hundred from there on.
free_port() {
    local port
    for ((port = $1; port <= $1 + 100; port++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { printf '%s\n' "$port" && return; }
    done
    die "no port from $1 to $(($1 + 100)) is free"
}
