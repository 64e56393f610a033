# shellcheck shell=bash
# Checks what plugward is installed with: the unit, the package, the composition, and the image's file is checked by who builds it.

# How much a service may do, by systemd's count, from 0 (nothing) to 100 (everything). deploy/README.md says it.
UNIT_EXPOSURE=28

# The unit is understood, and forbids as much as deploy/README.md says. That the program works under it, the tests show.
unit_check() {
    local unit
    unit=$(mktemp -d)/plugward.service
    # Where it is not installed.
    sed 's|^ExecStart=/usr/bin/plugward|ExecStart=/bin/true|' "$ROOT/deploy/systemd/plugward.service" >"$unit"
    [[ -z $(systemd-analyze verify "$unit" 2>&1 | tee /dev/stderr) ]] || die 'systemd does not like the unit'
    systemd-analyze security --offline=true --no-pager --threshold="$UNIT_EXPOSURE" "$unit" \
        || die "the unit allows more than 0.$UNIT_EXPOSURE of all: see above, and change UNIT_EXPOSURE and deploy/README.md if that is meant"
    grep -q "exposure level of ${UNIT_EXPOSURE:0:1}\.${UNIT_EXPOSURE:1}\b" "$ROOT/deploy/README.md" || die 'deploy/README.md has another exposure level'
    rm -r "$(dirname "$unit")"
}

# Compose understands the composition, all files that it mounts are there, and Prometheus understands its part.
composition_check() {
    local config file
    config=$(cd "$ROOT/deploy/compose" && docker-compose config) || die 'deploy/compose/compose.yaml is wrong'
    while read -r file; do
        [[ -e $file ]] || die "deploy/compose/compose.yaml mounts $file, which is not there"
    done < <(grep -o "$ROOT/deploy[^:]*" <<<"$config")
    grep -q "image: plugward:$(rust_workspace_version)\$" <<<"$config" || die 'deploy/compose/compose.yaml has another version of plugward'
    composition_prometheus plugward:9760 15s
    promtool check config "$PROMETHEUS_CONFIG"
    rm -r "$(dirname "$PROMETHEUS_CONFIG")"
}

# composition_prometheus TARGET INTERVAL: the configuration of the composition's Prometheus, beside its rules, for a plugward there.
composition_prometheus() {
    PROMETHEUS_CONFIG=$(mktemp -d)/prometheus.yml
    cp "$ROOT/deploy/prometheus/rules.yml" "$(dirname "$PROMETHEUS_CONFIG")"
    sed "s/plugward:9760/$1/; s/15s/$2/" "$ROOT/deploy/compose/prometheus.yml" >"$PROMETHEUS_CONFIG"
}

# package_has_launcher PACKAGE: byte for byte the one that hack/launcher prints the hash of.
package_has_launcher() {
    local launcher
    launcher=$(launcher_build)
    [[ $(dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/bin/plugward-attach | sha256sum) == $(sha256sum <"$launcher") ]] \
        || die 'the package has another launcher than hack/launcher builds'
}

# package_check ENGINE: Debian's own checks, that it is the same each time, and its life on a copy of this machine.
package_check() {
    local packages=$TARGET/package-check old new
    rm -rf "$packages"
    old=$("$ROOT/hack/package" --output "$packages")
    new=$(PLUGWARD_PACKAGE_VERSION=$(rust_workspace_version)+1 "$ROOT/hack/package" --output "$packages")
    [[ $(sha256sum <"$old") == $(sha256sum <"$("$ROOT/hack/package" --output "$packages/again")") ]] || die 'the package is another one each time'
    package_has_launcher "$old"
    lintian --allow-root --fail-on error,warning "$old" || die 'lintian does not like the package'
    "$HACK_LIB/package-check.sh" "$old" "$new" "$1"
    "$HACK_LIB/in-cgroup.sh" --remove plugward-test-package
}
