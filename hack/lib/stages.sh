# shellcheck shell=bash
# Runs named stages one after the other: each timed, each with a log of its own, ended by the first that fails, summed up in a table.

# stages_run VERBOSE STAGE...: runs the function `stage_NAME` of each. With VERBOSE=yes their output is shown as it comes, else only
# that of a stage which fails. Logs are kept in $LOGS.
stages_run() {
    local verbose=$1 name status=0 began
    shift
    SUMMARY=()
    mkdir -p "$LOGS"
    for name; do
        began=$SECONDS
        stage_run "$verbose" "$name" && status=0 || status=$?
        SUMMARY+=("$(printf '%-12s %-7s %6s s' "$name" "$( ((status)) && echo failed || echo ok)" $((SECONDS - began)))")
        ((!status)) || break
    done
    stages_summary "$@"
    return "$status"
}

stage_run() {
    local verbose=$1 name=$2 log=$LOGS/$2.log
    step "$name"
    # A shell of its own: in one that is part of a condition, as here, `set -e` would not hold.
    if [[ $verbose == yes ]]; then
        stage_shell "$name" 2>&1 | tee "$log" >&2
        return "${PIPESTATUS[0]}"
    fi
    stage_shell "$name" >"$log" 2>&1 && return 0
    say "--- $name failed; its log ($log):"
    tail -n 200 "$log" >&2
    return 1
}

stage_shell() { bash "$ROOT/hack/lib/stage.sh" "$1"; }

stages_summary() {
    local line
    say ''
    for line in "${SUMMARY[@]}"; do say "$line"; done
    ((${#SUMMARY[@]} == $#)) || say "not run:     ${*:${#SUMMARY[@]}+1}"
    stages_logs '^SKIPPED' "${@:1:${#SUMMARY[@]}}" >&2
    say ''
}

# stages_logs PATTERN STAGE...: the lines in the logs of these stages that match.
stages_logs() {
    local pattern=$1
    local -a logs
    shift
    logs=("${@/#/$LOGS/}")
    grep -hs "$pattern" "${logs[@]/%/.log}" || true
}

# stages_test_counts STAGE...: adds up the result lines of `cargo test`, and says it as cargo does.
stages_test_counts() {
    stages_logs '^test result:' "$@" | awk '
        { for (i = 1; i < NF; i++) { if ($(i + 1) ~ /^passed/) p += $i; if ($(i + 1) ~ /^failed/) f += $i; if ($(i + 1) ~ /^ignored/) g += $i } }
        END { if (NR) printf "test result: %s. %d passed; %d failed; %d ignored\n", f ? "FAILED" : "ok", p, f, g }'
}
