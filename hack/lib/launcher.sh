# shellcheck shell=bash
# The launcher, built so that the same sources make the same file: hosts pin its hash.

# launcher_build [SOURCES [TARGET]]: builds it, static, and prints its path.
launcher_build() {
    local sources=${1:-$ROOT} target=${2:-$TARGET/launcher} cargo=${CARGO_HOME:-${HOME:-/root}/.cargo} host flags name
    need_c_compiler
    need_rust
    host=$(rust_host)
    # Where sources lie is in messages of panics: those of the workspace, of libraries, and of Rust's own where they are installed.
    flags="-C target-feature=+crt-static -C link-arg=-Wl,--build-id=none --remap-path-prefix=$sources=/plugward"
    flags+=" --remap-path-prefix=$cargo=/cargo --remap-path-prefix=$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(rust_commit)"
    step 'Building the launcher (static, small)'
    # Nothing but what is said here: settings of whoever builds would make it another file.
    (
        while IFS= read -r name; do
            case $name in CARGO_HOME | CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTR*) ;; *) unset "$name" ;; esac
        done < <(compgen -e CARGO_ || true; compgen -e RUSTC_ || true)
        cd "$sources"
        RUSTFLAGS=$flags CARGO_TARGET_DIR=$target CARGO_INCREMENTAL=0 \
            cargo build --profile launcher --locked --target "$host" --package plugward-attach >&2
    ) || die 'the launcher does not build'
    printf '%s\n' "$target/$host/launcher/plugward-attach"
}

# launcher_check: builds it here and from nothing in another directory, compares, and prints the path of the one here.
launcher_check() {
    local here elsewhere scratch
    here=$(launcher_build)
    scratch=$(mktemp -d)
    mkdir -p "$scratch/a/longer/place"
    # The sources as they are now, committed or not.
    tar -C "$ROOT" --exclude=./.git --exclude=./target -cf - . | tar -C "$scratch/a/longer/place" -xf -
    elsewhere=$(launcher_build "$scratch/a/longer/place" "$scratch/target")
    cmp "$here" "$elsewhere" >&2 || die "the launcher is another one when it is built elsewhere: compare $here and $elsewhere"
    ! grep -qaF -e "$ROOT/" -e "${CARGO_HOME:-${HOME:-/root}/.cargo}/" "$here" || die "the launcher knows where it was built: $here"
    rm -rf "$scratch"
    printf '%s\n' "$here"
}
