# shellcheck shell=bash
# A second engine of a kind: one that a test may stop, kill and start while others use the first.

case $ENGINE in
debian-spare) ENGINE_BRIDGE=pwdeb1 ENGINE_ADDRESS=172.28.1.1/24 ;;
current-spare) ENGINE_BRIDGE=pwcur1 ENGINE_ADDRESS=172.29.1.1/24 ;;
esac
ENGINE_OPTION+=" \"live-restore\": ${PLUGWARD_LIVE_RESTORE:-false},"
