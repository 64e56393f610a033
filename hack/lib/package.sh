# shellcheck shell=bash
# The Debian package: files in their places, and dpkg-deb.

# package_build PROGRAM LAUNCHER VERSION OUTPUT: prints the package's path.
package_build() {
    local program=$1 launcher=$2 version=$3 output=$4 root architecture package
    architecture=$(dpkg --print-architecture)
    package=$output/plugward_${version}_$architecture.deb
    root=$(mktemp -d)
    SOURCE_DATE_EPOCH=$(package_epoch)
    export SOURCE_DATE_EPOCH
    # What this user would keep from others is not kept from them there.
    (umask 022 && package_files "$root" "$program" "$launcher" "$version" && package_control "$root" "$version" "$architecture")
    find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    mkdir -p "$output"
    chmod 0755 "$root"
    dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >&2 || die "the package $package cannot be built"
    rm -rf "$root"
    printf '%s\n' "$package"
}

# When the sources were committed; without a repository, an arbitrary time that is always the same.
package_epoch() {
    if [[ -n ${SOURCE_DATE_EPOCH:-} ]]; then printf '%s\n' "$SOURCE_DATE_EPOCH" && return; fi
    git -C "$ROOT" log -1 --format=%ct 2>/dev/null || echo 1767225600
}

package_files() {
    local root=$1 program=$2 launcher=$3 version=$4 doc=$1/usr/share/doc/plugward
    install -D -m 0755 "$program" "$root/usr/bin/plugward"
    strip "$root/usr/bin/plugward"
    # As it is: hosts pin its hash.
    install -m 0755 "$launcher" "$root/usr/bin/plugward-attach"
    install -D -m 0644 "$ROOT/deploy/systemd/plugward.service" "$root/lib/systemd/system/plugward.service"
    install -D -m 0644 "$ROOT/deploy/systemd/plugward.sysusers" "$root/usr/lib/sysusers.d/plugward.conf"
    install -D -m 0644 "$ROOT/deploy/systemd/plugward.tmpfiles" "$root/usr/lib/tmpfiles.d/plugward.conf"
    install -D -m 0644 "$ROOT/deploy/systemd/plugward.default" "$root/etc/default/plugward"
    install -d "$root/etc/plugward/manifests" "$doc/examples"
    package_completions "$root" "$program"
    install -m 0644 "$ROOT/README.md" "$ROOT/deploy/metrics.md" "$ROOT/deploy/runbook.md" "$ROOT/deploy/compatibility.md" "$doc"
    install -m 0644 "$ROOT/deploy/README.md" "$doc/deploy.md"
    install -m 0644 "$ROOT/deploy/attach.md" "$doc/attach.md"
    install -m 0644 "$ROOT/deploy/debian/copyright" "$doc/copyright"
    cp -r "$ROOT/deploy/prometheus" "$ROOT/deploy/grafana" "$ROOT/deploy/compose" "$doc/examples"
    cp -r "$ROOT/deploy/examples" "$doc/examples/manifests"
    chmod -R u=rwX,go=rX "$doc"
    gzip -9n <"$ROOT/CHANGELOG.md" >"$doc/changelog.gz"
    # A package of a version of its own: its changes are those of the program.
    gzip -9n >"$doc/changelog.Debian.gz" <<END
plugward ($version) unstable; urgency=medium

  * See changelog.gz.

 -- The authors of plugward <authors@plugward.dev>  $(date --utc --date="@$SOURCE_DATE_EPOCH" --rfc-email)
END
    install -D -m 0644 "$ROOT/deploy/debian/lintian-overrides" "$root/usr/share/lintian/overrides/plugward"
}

package_completions() {
    local root=$1 program=$2 line shell place
    for line in bash=bash-completion/completions/plugward zsh=zsh/vendor-completions/_plugward fish=fish/vendor_completions.d/plugward.fish; do
        shell=${line%%=*} place=$root/usr/share/${line#*=}
        install -d "$(dirname "$place")"
        "$program" completions "$shell" >"$place"
    done
}

package_control() {
    local root=$1 version=$2 architecture=$3 control=$1/DEBIAN script
    install -d "$control"
    for script in postinst prerm postrm; do install -m 0755 "$ROOT/deploy/debian/$script" "$control/$script"; done
    echo /etc/default/plugward >"$control/conffiles"
    cat >"$control/control" <<END
Package: plugward
Version: $version
Architecture: $architecture
Maintainer: The authors of plugward <authors@plugward.dev>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: init-system-helpers (>= 1.52), passwd
Recommends: docker.io | docker-ce
Suggests: prometheus, runsc
Section: admin
Priority: optional
Description: runs go-plugin plugins in containers, and keeps them running
 plugward runs plugins of Vault, OpenBao and every other host built on
 HashiCorp's go-plugin in containers on a Docker Engine. Plugins are declared
 as YAML manifests in a watched directory; a controller in the manner of
 Kubernetes brings the engine in line with them, heals what dies, and shows
 what happens in Prometheus' format.
END
    (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$control/md5sums"
}
