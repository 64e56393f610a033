# shellcheck shell=bash
# Programs built from pinned Go modules into the cache, one directory per version and set of flags: after
# a changed pin it is not there yet.

# go_tool MODULE/PATH@VERSION [BUILD FLAG...]: builds it if need be, and prints the directory that holds the program.
go_tool() {
    local package=$1 build directory
    shift
    directory=$CACHE/go/${package//\//_}${*:+-$(cksum <<<"$*" | cut -d' ' -f1)}
    if [[ ! -d $directory ]]; then
        step "Building ${package%@*} ${package##*@} (kept in $directory)"
        mkdir -p "$CACHE/go"
        build=$(mktemp -d "$CACHE/go/.build.XXXXXX")
        # From / because flags of a module around us must not count; GOTOOLCHAIN so that nobody's toolchain is fetched unasked.
        (cd / && GOBIN=$build GOTOOLCHAIN=local GOFLAGS=-trimpath go install "$@" "$package") >&2 \
            || { rm -rf "$build" && die "$package does not build (the lines above say why)"; }
        chmod 755 "$build"
        mv -T "$build" "$directory"
    fi
    printf '%s\n' "$directory"
}

# go_build DIRECTORY PACKAGE PROGRAM: builds a package of the module in that directory of the repository, or one that it pins, static.
go_build() {
    (cd "$ROOT/$1" && CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -o "$3" "$2") >&2 || die "$2 does not build"
}
