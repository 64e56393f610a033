# shellcheck shell=bash
# The Rust toolchain: the one that is there if it is new enough, else one from the official installer.

rust_minimum() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

# The version of what the workspace builds.
rust_workspace_version() { sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n1; }

# The launcher's, which changes less often.
rust_launcher_version() { sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/controller/attach/Cargo.toml" | head -n1; }

# The version of the `cargo` in PATH; nothing when there is none that runs.
rust_version() { cargo --version 2>/dev/null | cut -d' ' -f2; }

# The triple of this machine, as rustc calls it.
rust_host() { rustc -vV | sed -n 's/^host: //p'; }

# What this compiler was built from.
rust_commit() { rustc -vV | sed -n 's/^commit-hash: //p'; }

need_rust() {
    local want have
    want=$(rust_minimum)
    [[ ! -d ${CARGO_HOME:-${HOME:-/root}/.cargo}/bin ]] || PATH=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH
    have=$(rust_version || true)
    if version_at_least "${have:-0}" "$want"; then return 0; fi
    rust_install "$want" "${have:-none}"
    have=$(rust_version || true)
    version_at_least "${have:-0}" "$want" || die "after the installation cargo is still ${have:-missing}; $want is needed."
}

rust_install() {
    local want=$1 have=$2 installer
    need 'to fetch the Rust installer' curl:curl
    installer=$(mktemp)
    step "Installing Rust (found: $have, needed: $want or newer) with the official installer, sh.rustup.rs"
    curl -fsS --proto '=https' --tlsv1.2 -o "$installer" https://sh.rustup.rs \
        || die "the Rust installer cannot be fetched. Install Rust $want or newer from rustup.rs, and run this again."
    sh "$installer" -y --no-modify-path --profile minimal --default-toolchain stable -c clippy -c rustfmt >&2 \
        || die "the Rust installer failed. Install Rust $want or newer from rustup.rs, and run this again."
    rm -f "$installer"
    PATH=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH
}
