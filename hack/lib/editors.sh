# shellcheck shell=bash
# Checks that editors help people who write manifests.

# The examples name their schemas, and the language server of editors finds mistakes and offers fields by them.
editors_check() {
    local work
    work=$(mktemp -d)
    cp "$HACK_LIB"/editors/* "$work"
    # Schemas are where the examples look for them: beside them, two directories up.
    mkdir -p "$work/deploy/examples"
    cp "$ROOT"/deploy/examples/*.yaml "$work/deploy/examples/"
    cp -r "$ROOT/crd-schemas" "$work/"
    (cd "$work" && npm install --silent --no-audit --no-fund --no-package-lock >&2)
    (cd "$work" && node check.mjs deploy/examples/*.yaml)
    rm -r "$work"
}
