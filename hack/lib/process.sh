# shellcheck shell=bash
# Processes that outlive the script which started them. One is known by a file holding its pid and its start time, so that
# a pid which was given to somebody else since is never taken for ours.

# process_start_time PID: clock ticks since boot (field 22 of /proc/PID/stat; the name before it may hold spaces).
process_start_time() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -r -a stat <<<"${stat##*) }"
    [[ ${stat[0]} != Z ]] && printf '%s\n' "${stat[19]}"
}

# process_detach FILE LOG COMMAND...: starts it in a session of its own, away from our terminal, and records it.
process_detach() {
    local file=$1 log=$2 pid
    shift 2
    setsid "$@" </dev/null >>"$log" 2>&1 &
    pid=$!
    printf '%s %s\n' "$pid" "$(process_start_time "$pid" || true)" >"$file"
}

# process_pid FILE: the recorded process, if it still runs.
process_pid() {
    local pid started
    read -r pid started 2>/dev/null <"$1" || return 1
    [[ -n $started && $(process_start_time "$pid") == "$started" ]] && printf '%s\n' "$pid"
}

# process_end FILE [SECONDS]: asks it to end, and kills it when it does not within that time.
process_end() {
    local file=$1 patience=${2:-30} pid
    if pid=$(process_pid "$file"); then
        kill -TERM "$pid" 2>/dev/null || true
        if ! wait_until "$patience" process_gone "$file"; then
            warn "process $pid does not end; killing it"
            kill -KILL "$pid" 2>/dev/null || true
            wait_until 10 process_gone "$file" || die "process $pid cannot be killed"
        fi
    fi
    rm -f "$file"
}

process_gone() { ! process_pid "$1" >/dev/null; }

# wait_until SECONDS COMMAND...: polls until it succeeds; fails when that takes too long.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}
