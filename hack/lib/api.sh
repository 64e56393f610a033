# shellcheck shell=bash
# The Docker Engine API by curl: it needs no client, and the answers differ less between engines than the clients do.

# api HOST METHOD PATH [CURL ARGUMENT...]: prints the answer; fails, with the engine's message, on an HTTP error.
api() {
    local host=$1 method=$2 path=$3
    shift 3
    case $host in
    unix://*) curl -sS --fail-with-body --unix-socket "${host#unix://}" -X "$method" "$@" "http://localhost$path" ;;
    tcp://*) curl -sS --fail-with-body -X "$method" "$@" "http://${host#tcp://}$path" ;;
    *) die "the engine's address $host is neither unix:// nor tcp://" ;;
    esac
}

api_answers() { [[ $(api "$1" GET /_ping --max-time 5 2>/dev/null) == OK ]]; }

# api_field FIELD: the first string of that name in the JSON on stdin. Enough for the flat answers read here.
api_field() { grep -o "\"$1\": *\"[^\"]*\"" | head -n1 | cut -d'"' -f4; }

# api_encode TEXT: for a query.
api_encode() {
    local text=$1 out='' i char
    for ((i = 0; i < ${#text}; i++)); do
        char=${text:i:1}
        case $char in
        [A-Za-z0-9._~-]) out+=$char ;;
        *) printf -v char '%%%02X' "'$char" && out+=$char ;;
        esac
    done
    printf '%s\n' "$out"
}

# api_containers HOST LABEL: the ids of all containers with the label (key or key=value), running or not.
api_containers() {
    api "$1" GET "/containers/json?all=true&filters=$(api_encode "{\"label\":[\"$2\"]}")" | grep -o '"Id":"[0-9a-f]*"' | cut -d'"' -f4
}

# api_describe HOST: the engine's version and OCI runtimes on one line.
api_describe() {
    local version
    version=$(api "$1" GET /version)
    printf 'Docker Engine %s (API %s), OCI runtimes: %s\n' \
        "$(api_field Version <<<"${version##*\"Name\":\"Engine\"}")" "$(api_field ApiVersion <<<"$version")" "$(api_runtimes "$1")"
}

# The names dockerd gives the shims themselves (io.containerd…) are left out.
api_runtimes() {
    api "$1" GET /info | grep -o '"[^"]*":{"path":' | cut -d'"' -f2 | grep -v '^io\.containerd' | sort | paste -sd' '
}
