# shellcheck shell=bash
# Engines that a script needs for a while: those that were down before are stopped when it ends.

OURS=()

# engines_borrow NAME...: notes which of these are down now: they are ours to stop.
engines_borrow() {
    local name
    for name; do
        "$ROOT/hack/engine" "$name" status >/dev/null || OURS+=("$name")
    done
}

# Stops what is ours, however the script ends.
engines_return() {
    local name
    for name in "${OURS[@]}"; do
        "$ROOT/hack/engine" "$name" down || warn "the engine $name may still be up"
    done
    OURS=()
}

# To be called once, before anything is borrowed.
engines_return_at_exit() {
    trap engines_return EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}
