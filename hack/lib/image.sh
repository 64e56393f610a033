# shellcheck shell=bash
# Images that hold one static program and nothing else. They go into an engine as a tar file through its API: no registry, no base
# image, no builder, and the same way on every engine.

# image_put HOST REFERENCE PROGRAM [USER [CAPABILITY]]: makes the image, unless the engine has it with the same content. USER, by number,
# runs the program instead of root; CAPABILITY is one that the program's file has (setcap's cap_ipc_lock=+ep).
image_put() {
    local host=$1 reference=$2 program=$3 user=${4:-} capability=${5:-} name archive digest before
    name=$(basename "$program")
    archive=$(mktemp)
    image_archive "$program" "$archive" "$capability"
    # The digest of the tar file is the digest of the image's only layer.
    digest=sha256:$(sha256sum "$archive" | cut -d' ' -f1)
    if image_has_layer "$host" "$reference" "$digest" "$user"; then
        say "$reference is in $host already."
    else
        step "Importing $reference into $host"
        before=$(image_id "$host" "$reference")
        image_import "$host" "$reference" "$name" "$archive" "$user"
        image_has_layer "$host" "$reference" "$digest" "$user" || die "$host took $reference, but does not have it"
        # What the name meant before would stay without one. The engine keeps it where it is in use.
        [[ -z $before ]] || api "$host" DELETE "/images/$before" >/dev/null 2>&1 || true
    fi
    rm -f "$archive"
}

# image_archive PROGRAM ARCHIVE [CAPABILITY]: the same tar file of the same program, whenever it is made.
image_archive() {
    local program=$1 archive=$2 capability=$3 copy
    local -a options=(--mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0755)
    if [[ -z $capability ]]; then
        tar "${options[@]}" -C "$(dirname "$program")" -cf "$archive" "$(basename "$program")"
        return
    fi
    need_root 'a file with a capability'
    need 'to give a file a capability' setcap:libcap2-bin
    copy=$(mktemp -d)
    cp "$program" "$copy"
    setcap "$capability" "$copy/$(basename "$program")"
    # The times of access and change that this format would hold differ each time.
    tar "${options[@]}" --format=posix --pax-option=delete=atime,delete=ctime --xattrs --xattrs-include=security.capability \
        -C "$copy" -cf "$archive" "$(basename "$program")"
    rm -rf "$copy"
}

# image_has_layer HOST REFERENCE DIGEST USER
image_has_layer() {
    local found
    found=$(api "$1" GET "/images/$2/json" 2>/dev/null) || return 1
    # The last of these is the image's own; engines leave it out, or empty, where there is none.
    [[ $found == *"$3"* && $({ grep -o '"User":"[^"]*"' || true; } <<<"$found" | tail -n1 | cut -d'"' -f4) == "$4" ]]
}

# The id of an image; nothing when there is none.
image_id() {
    { api "$1" GET "/images/$2/json" 2>/dev/null || true; } | { grep -o '"Id":"sha256:[0-9a-f]*"' || true; } | cut -d'"' -f4
}

image_import() {
    local host=$1 repository=${2%:*} tag=${2##*:} name=$3 archive=$4 user=$5 changes
    changes=changes=$(api_encode "ENTRYPOINT [\"/$name\"]")
    [[ -z $user ]] || changes+=\&changes=$(api_encode "USER $user")
    api "$host" POST "/images/create?fromSrc=-&repo=$(api_encode "$repository")&tag=$tag&$changes" \
        -H 'Content-Type: application/x-tar' -T "$archive" >/dev/null
}

# image_build HOST REFERENCE CONTAINERFILE FILE...: builds the image from these files, unless the engine has it from the same ones.
image_build() {
    local host=$1 reference=$2 containerfile=$3 context archive digest
    shift 3
    context=$(mktemp -d)
    archive=$(mktemp)
    cp "$containerfile" "$context/Dockerfile"
    cp "$@" "$context"
    tar --mtime=@0 --owner=0 --group=0 --numeric-owner --sort=name -C "$context" -cf "$archive" .
    digest=$(sha256sum "$archive" | cut -d' ' -f1)
    if [[ $(api "$host" GET "/images/$reference/json" 2>/dev/null) == *"\"$digest\""* ]]; then
        say "$reference is in $host already."
    else
        step "Building $reference in $host"
        api "$host" POST "/build?t=$(api_encode "$reference")&forcerm=1&labels=$(api_encode "{\"dev.plugward.context\":\"$digest\"}")" \
            -H 'Content-Type: application/x-tar' -T "$archive" >&2 || die "$host does not build $reference"
        [[ $(api "$host" GET "/images/$reference/json" 2>/dev/null) == *"\"$digest\""* ]] || die "$host did not build $reference: see above"
    fi
    rm -rf "$context" "$archive"
}

# image_rust_programs [PACKAGE...]: builds plugward, the example plugin and these, static, and says where they are in IMAGE_PROGRAMS. The first
# two always and all in one go: what they share is compiled once, with the features that all of them need, whoever asks. IMAGE_RUSTFLAGS
# adds to the compiler's flags.
image_rust_programs() {
    local -a packages=(--package plugward --package counter-plugin)
    local package host
    need_c_compiler
    need_rust
    host=$(rust_host)
    for package; do packages+=(--package "$package"); done
    step "Building plugward and plugins (static, optimized)"
    (cd "$ROOT" && RUSTFLAGS="-C target-feature=+crt-static ${IMAGE_RUSTFLAGS:-}" cargo build --release --locked --target "$host" "${packages[@]}") >&2 \
        || die 'plugward and the plugins do not build'
    IMAGE_PROGRAMS=$TARGET/$host/release
}

# image_go_program PIN PACKAGE: builds a plugin that a module in tests/plugins has or pins, static, and prints the program.
image_go_program() {
    local program
    program=$TARGET/go/${2##*/}
    step "Building ${2##*/} (Go)"
    go_build "tests/plugins/$1" "$2" "$program"
    printf '%s\n' "$program"
}

# image_go_version PIN MODULE: its version there, without the v.
image_go_version() { (cd "$ROOT/tests/plugins/$1" && GOTOOLCHAIN=local go list -m -f '{{slice .Version 1}}' "$2"); }
