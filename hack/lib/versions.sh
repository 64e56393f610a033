# shellcheck shell=bash
# Every version that the scripts pin. What is built from a pin is built again when the pin changes.

# The oldest Go that builds all of the modules below.
GO_MINIMUM=1.26.1

# The engine `current`, and gVisor for both engines (Debian's is too old: it ignores file capabilities).
MOBY_VERSION=v2.0.0-beta.24
CONTAINERD_VERSION=v2.4.2
RUNC_VERSION=v1.5.2
GVISOR_VERSION=v0.0.0-20260905035102-160fafc42237

CARGO_DENY_VERSION=0.20.2
