# shellcheck shell=bash
# Images that hold one static program and nothing else. They go into an engine as a tar file through its API: no registry, no base
# image, no builder, and the same way on every engine.

# image_put HOST REFERENCE PROGRAM: makes the image, unless the engine has it with the same content.
image_put() {
    local host=$1 reference=$2 program=$3 name archive digest before
    name=$(basename "$program")
    archive=$(mktemp)
    tar --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0755 -C "$(dirname "$program")" -cf "$archive" "$name"
    # The digest of the tar file is the digest of the image's only layer.
    digest=sha256:$(sha256sum "$archive" | cut -d' ' -f1)
    if image_has_layer "$host" "$reference" "$digest"; then
        say "$reference is in $host already."
    else
        step "Importing $reference into $host"
        before=$(image_id "$host" "$reference")
        image_import "$host" "$reference" "$name" "$archive"
        image_has_layer "$host" "$reference" "$digest" || die "$host took $reference, but does not have it"
        # What the name meant before would stay without one. The engine keeps it where it is in use.
        [[ -z $before ]] || api "$host" DELETE "/images/$before" >/dev/null 2>&1 || true
    fi
    rm -f "$archive"
}

image_has_layer() {
    api "$1" GET "/images/$2/json" 2>/dev/null | grep -q "$3"
}

# The id of an image; nothing when there is none.
image_id() {
    { api "$1" GET "/images/$2/json" 2>/dev/null || true; } | { grep -o '"Id":"sha256:[0-9a-f]*"' || true; } | cut -d'"' -f4
}

image_import() {
    local host=$1 repository=${2%:*} tag=${2##*:} name=$3 archive=$4 changes
    changes=$(api_encode "ENTRYPOINT [\"/$name\"]")
    api "$host" POST "/images/create?fromSrc=-&repo=$(api_encode "$repository")&tag=$tag&changes=$changes" \
        -H 'Content-Type: application/x-tar' -T "$archive" >/dev/null
}

# image_rust_programs PACKAGE...: builds them static, in one go so that what they share is compiled once.
image_rust_programs() {
    local -a packages=()
    local package host
    need_c_compiler
    need_rust
    host=$(rust_host)
    for package; do packages+=(--package "$package"); done
    step "Building $* (static)"
    (cd "$ROOT" && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target "$host" "${packages[@]}") >&2 \
        || die 'the plugins do not build'
    IMAGE_PROGRAMS=$TARGET/$host/release
}

# image_go_program PIN PACKAGE: builds a plugin that a module in tests/plugins has or pins, static, and prints the program.
image_go_program() {
    local program
    program=$TARGET/go/${2##*/}
    step "Building ${2##*/} (Go)"
    (cd "$ROOT/tests/plugins/$1" && CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -o "$program" "$2") >&2 || die "$2 does not build"
    printf '%s\n' "$program"
}

# image_go_version PIN MODULE: its version there, without the v.
image_go_version() { (cd "$ROOT/tests/plugins/$1" && GOTOOLCHAIN=local go list -m -f '{{slice .Version 1}}' "$2"); }
