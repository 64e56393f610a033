#!/usr/bin/env bash
# hack/lib/stage.sh STAGE: the stages of hack/test, one function each. Run by it, in a shell of its own.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/all.sh"
cd "$ROOT"

# === what the code looks like ===

stage_scripts() {
    local -a scripts parts
    need 'to check the scripts' shellcheck:shellcheck
    mapfile -t scripts < <(git ls-files hack .ci deploy/debian | xargs grep -lE '^#!(/usr/bin/env bash|/bin/sh)$')
    mapfile -t parts < <(git ls-files hack | xargs grep -l '^# shellcheck shell=bash')
    printf '%s\n' "${scripts[@]}" "${parts[@]}"
    shellcheck -x "${scripts[@]}"
    # Of a part alone it cannot be known which variables are assigned and used elsewhere.
    shellcheck -x -e SC2034,SC2153 "${parts[@]}"
}

stage_fmt() { cargo fmt --all --check; }

stage_clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }

stage_docs() { RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked; }

# === what it depends on ===

stage_deny() {
    local directory
    directory=$(cargo_deny)
    PATH=$directory:$PATH
    cargo deny --locked check bans licenses sources
    # The advisory database is a git repository elsewhere: without the way to it, that is said, not passed over.
    if cargo deny --locked fetch db; then
        cargo deny --locked check advisories
    else
        echo 'SKIPPED: cargo deny check advisories: their database cannot be reached from here'
    fi
}

# The one in PATH, else one of our own, built once into the cache. Prints its directory.
cargo_deny() {
    local root=$CACHE/cargo/cargo-deny-$CARGO_DENY_VERSION
    if has cargo-deny; then dirname "$(command -v cargo-deny)" && return; fi
    if [[ ! -x $root/bin/cargo-deny ]]; then
        step "Building cargo-deny $CARGO_DENY_VERSION (kept in $root)"
        # In a target directory of its own, which cargo makes and removes. Unoptimized: it checks in seconds all the same.
        env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=false cargo install --locked --debug --root "$root" "cargo-deny@$CARGO_DENY_VERSION" >&2
    fi
    printf '%s\n' "$root/bin"
}

# === what it is watched with ===

stage_watched() {
    need 'to check rules for Prometheus' promtool:prometheus
    need 'to check dashboards against the types of Grafana' npm:npm
    rules_check
    metrics_asked_for_exist
    dashboards_check
}

# === what it is written with ===

stage_editors() {
    need 'to check what editors make of manifests' npm:npm node:nodejs
    editors_check
}

# === what it does ===
# Always the whole workspace with a filter, never one package: the features of dependencies, and so what is compiled, stay the same.
# Which stage an integration test belongs to is told by its name: real*, simulation*, or neither.

stage_unit() {
    local -a others
    mapfile -t others < <(integration_tests | grep -vE '^(real|simulation)')
    test_workspace --lib --bins "${others[@]/#/--test=}"
    test_workspace --doc
}

# Optimized: a thousand seeds compute for minutes otherwise. Static, for so are plugward and the plugins in the images, which are then built from the
# same dependencies.
stage_simulation() {
    RUSTFLAGS='-C target-feature=+crt-static' cargo test --release --locked --target "$(rust_host)" -p plugward-tests --test 'simulation*'
}

stage_engines() {
    sockets_in_memory
    hack/engine debian up
    hack/engine current up
    hack/engine rootless up
    hack/image --engine "$(engine_host debian)" --engine "$(engine_host current)" --engine "$(engine_host rootless)" all
}

# Where tests have sockets: in memory, as /run is. While a disk is busy, every new socket on it waits, longer than hosts and plugins wait for each
# other. Below /tmp, which some hosts have for themselves; short, for so are paths of sockets; there before the engines, of which one has
# mounts of its own. It stays, as what is installed does.
IN_MEMORY=/tmp/pw

sockets_in_memory() {
    if ((EUID)) || mountpoint --quiet "$IN_MEMORY"; then return; fi
    mkdir -p "$IN_MEMORY"
    mount -t tmpfs -o mode=1777 tmpfs "$IN_MEMORY" || warn "Tests have their sockets in /tmp: nothing can be mounted at $IN_MEMORY"
}

stage_real() {
    need 'to test a plugin that manages its users' redis-server:redis-server
    need 'to test that images are pulled' docker-registry:docker-registry
    need 'to test what is seen in Prometheus' prometheus:prometheus
    hosts_build
    # Part of their time these tests wait for engines. More of them at once take the processors from plugins that hosts give seconds.
    export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 1))}
    # What was built is on the disk before: who writes a file waits for it else.
    test_workspace --test 'real*' --no-run
    sync
    if mountpoint --quiet "$IN_MEMORY"; then export TMPDIR=$IN_MEMORY; fi
    PLUGWARD_TEST_ENGINES="debian=$(engine_host debian) current=$(engine_host current) rootless=$(engine_host rootless)" \
        test_workspace --test 'real*'
}

# The hosts, before the tests: built beside tests that run, they took the processors from plugins and hosts that give each other seconds.
hosts_build() {
    local module package
    need_go 'hosts for the tests'
    for module in hosts hosts/openbao; do
        mkdir -p "$TARGET/go-tests/$module"
        for package in "tests/$module"/*/main.go; do
            package=$(basename "$(dirname "$package")")
            go_build "tests/$module" "./$package" "$TARGET/go-tests/$module/$package"
        done
    done
    export PLUGWARD_GO_BUILT=yes
}

# What a person installs, and that it works so.
stage_installed() {
    need 'to check the unit' systemd-analyze:systemd
    need 'to check the composition' docker-compose:docker-compose prometheus:prometheus
    need 'to check the package' lintian:lintian
    unit_check
    composition_check
    launcher_check
    package_check "$(engine_host debian)"
}

# As a person runs it: on the machine's own engine.
stage_quickstart() { env -u DOCKER_HOST hack/quickstart --exit; }

test_workspace() { cargo test --workspace --locked --no-fail-fast "$@"; }

# The names of all integration tests, by cargo's own word.
integration_tests() {
    cargo metadata --no-deps --locked --format-version 1 | grep -o '"kind":\["test"\],"crate_types":\["bin"\],"name":"[^"]*"' | cut -d'"' -f12
}

engine_host() { (engine_use "$1" && printf '%s\n' "$ENGINE_HOST"); }

[[ $(type -t "stage_${1:-}") == function ]] || wrong_usage 'the name of a stage is needed'
"stage_$1"
