# shellcheck shell=bash
# Draws what a Prometheus has seen, as the dashboards show it.

PICTURES=$TARGET/pictures

# Installs what draws, and makes the program that the measurement calls with Prometheus' address and a number of seconds.
pictures_prepare() {
    local python=$PICTURES/venv/bin/python
    mkdir -p "$PICTURES"
    python3 -m venv "$PICTURES/venv"
    "$python" -m pip install --quiet --requirement "$ROOT/hack/lib/pictures/requirements.txt" >&2
    cat >"$PICTURES/draw" <<EOF
#!/bin/sh
set -eu
cd "$PICTURES"
draw() { "$python" "$ROOT/hack/lib/pictures/draw.py" "\$@"; }
draw "\$1" "\$2" "$ROOT/deploy/grafana/dashboards/overview.json" overview.svg
draw "\$1" "\$2" "$ROOT/deploy/grafana/dashboards/controller.json" soak.svg \\
    Memory 'Files and sockets' Processors Reconciles Calls Events
EOF
    chmod +x "$PICTURES/draw"
    export PLUGWARD_SOAK_DRAW=$PICTURES/draw
}
