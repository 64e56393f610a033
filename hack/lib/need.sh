# shellcheck shell=bash
# Finds what a script needs, and installs what is missing where it can: packages as root on Debian and Ubuntu.
# Elsewhere it says what to install, and stops.

has() { command -v "$1" >/dev/null 2>&1; }

is_root() { [[ $(id -u) == 0 ]]; }

need_root() { is_root || die "$1 needs root. Run this script as root."; }

# Debian, Ubuntu, and systems that say they are like them.
can_install() {
    is_root && has apt-get && grep -qsE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release
}

package_installed() { [[ $(dpkg-query -W -f='${Status}' "$1" 2>/dev/null) == 'install ok installed' ]]; }

# need WHY WHAT...: installs what is missing. WHAT is COMMAND:PACKAGE, satisfied by the command wherever it comes from, or only
# PACKAGE, which is looked for where we can install it.
need() {
    local why=$1 what
    local -a missing=()
    shift
    for what; do
        if [[ $what == *:* ]]; then
            has "${what%%:*}" || missing+=("${what#*:}")
        elif can_install; then
            package_installed "$what" || missing+=("$what")
        fi
    done
    ((${#missing[@]})) || return 0
    can_install || die "$why: install ${missing[*]} (or what your system calls them), and run this again. This script installs packages only as root on Debian and Ubuntu."
    step "Installing ${missing[*]} with apt-get ($why)"
    apt_install "${missing[@]}" || die "apt-get could not install ${missing[*]}. Is the network there? Install them, and run this again."
}

apt_install() {
    # Package lists may be missing or older than the mirror, so a failed try is followed by one with fresh lists.
    apt_install_once "$@" || { step "Once more, with fresh package lists" && apt-get -qq update >&2 && apt_install_once "$@"; }
}

# --no-remove: another Docker than the distribution's, for example, is not to be replaced by it.
apt_install_once() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -qq -y --no-install-recommends --no-remove -o Dpkg::Use-Pty=0 install "$@" </dev/null >&2
}

# version_at_least HAVE WANT
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1) == "$2" ]]; }

need_c_compiler() {
    # Crates and runc compile C: a compiler without the C library's headers is not enough.
    if ! printf '#include <stdlib.h>\nint main(void){return 0;}\n' | cc -x c -o /dev/null - >/dev/null 2>&1; then
        need 'a C compiler' cc:gcc libc6-dev
    fi
}

# Go is not installed by us: distributions' packages are mostly too old.
need_go() {
    local have how="Install Go $GO_MINIMUM or newer, from go.dev/dl or (where it is new enough) with: apt-get install golang"
    [[ ! -x /usr/local/go/bin/go ]] || PATH=$PATH:/usr/local/go/bin
    has go || die "$1 is built with Go, and there is no \`go\`. $how"
    have=$(GOTOOLCHAIN=local go env GOVERSION)
    have=${have#go}
    version_at_least "$have" "$GO_MINIMUM" || die "$1 needs Go $GO_MINIMUM, and \`go\` is $have. $how"
}
