# shellcheck shell=bash
# Checks what people watch plugward with: alert rules and dashboards.

RULES=$ROOT/deploy/prometheus
DASHBOARDS=$ROOT/deploy/grafana/dashboards

# Each alert has a case in which it is silent, one in which it fires, and a place in the runbook.
rules_check() {
    local alert section cases
    promtool check rules "$RULES/rules.yml"
    promtool test rules "$RULES/rules_test.yml"
    while read -r alert; do
        cases=$(grep -c "alertname: $alert\b" "$RULES/rules_test.yml") || true
        ((cases >= 2)) || die "the alert $alert needs a silent and a firing case in $RULES/rules_test.yml"
        section=$(printf '%s' "$alert" | tr '[:upper:]' '[:lower:]')
        grep -q "^## $alert\$" "$ROOT/deploy/runbook.md" || die "deploy/runbook.md has no section $alert"
        grep -q "runbook: deploy/runbook.md#$section\$" "$RULES/rules.yml" || die "the alert $alert does not lead to its section of deploy/runbook.md"
    done < <(sed -n 's/^ *- alert: //p' "$RULES/rules.yml")
}

# Whatever a rule or a panel asks for is in the catalogue.
metrics_asked_for_exist() {
    local metric known
    # Names with a colon before or after are recorded by rules.
    while read -r metric; do
        for known in "$metric" "${metric%_bucket}" "${metric%_sum}" "${metric%_count}"; do
            if grep -q "^| \`$known\` |" "$ROOT/deploy/metrics.md"; then continue 2; fi
        done
        die "a rule or a dashboard asks for $metric, which deploy/metrics.md does not have"
    done < <(grep -ohP '(?<![\w:])(plugward|process)_[a-z0-9_]+(?![\w:])' "$RULES/rules.yml" "$DASHBOARDS"/*.json | sort -u)
}

# Each dashboard is what Grafana's own types say, and each panel says what it shows.
dashboards_check() {
    local work name
    work=$(mktemp -d)
    cp "$HACK_LIB"/dashboards/* "$work"
    (cd "$work" && npm install --silent --no-audit --no-fund --no-package-lock >&2)
    for name in "$DASHBOARDS"/*.json; do
        {
            echo "import type { Checked } from './types';"
            echo 'export const dashboard: Checked ='
            cat "$name"
        } >"$work/$(basename "$name" .json).ts"
    done
    (cd "$work" && npx --no-install tsc --noEmit --skipLibCheck --strict --target es2022 --module esnext --moduleResolution bundler ./*.ts)
    rm -r "$work"
}
