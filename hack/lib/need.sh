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

# need_packages WHY PACKAGE...: installs those that are missing.
need_packages() {
    local why=$1 package
    local -a missing=()
    shift
    if can_install; then
        for package; do package_installed "$package" || missing+=("$package"); done
        ((${#missing[@]})) || return 0
        step "Installing ${missing[*]} with apt-get ($why)"
        apt_install "${missing[@]}" || die "apt-get could not install ${missing[*]}. Is the network there? Install them, and run this again."
    else
        die "$why: install $* (or what your system calls them), and run this again. This script installs packages only as root on Debian and Ubuntu."
    fi
}

apt_install() {
    # Package lists may be missing or older than the mirror, so a failed try is followed by one with fresh lists.
    apt_install_once "$@" || { apt-get -qq update >&2 && apt_install_once "$@"; }
}

apt_install_once() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install "$@" </dev/null >&2
}

# need_command COMMAND PACKAGE WHY: as `need_packages`, unless the command is there, wherever it came from.
need_command() {
    has "$1" || need_packages "$3" "$2"
}

# version_at_least HAVE WANT
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1) == "$2" ]]; }

need_c_compiler() {
    # Crates and runc compile C: a compiler without the C library's headers is not enough.
    if ! printf '#include <stdlib.h>\nint main(void){return 0;}\n' | cc -x c -o /dev/null - >/dev/null 2>&1; then
        need_packages 'a C compiler' gcc libc6-dev
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
