#!/usr/bin/env bash
# Runs one soak, or each of them for a while, on a clean Debian: `tests/soak.sh`, `tests/soak.sh kill --kills 1000`.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq util-linux mount e2fsprogs xfsprogs strace iproute2 >/dev/null
fi

soak() { cargo run --quiet --release --locked -p cairn-tests --bin soak -- "$@"; }

if [ $# -gt 0 ]; then
    soak "$@"
    exit
fi
failed=()
for what in "kill --kills 100" "power --rounds 20" "full" "eio" "slow" "stall" "partition" "failover" "crash --hits 2"; do
    printf '\n== soak %s\n' "$what"
    code=0
    # shellcheck disable=SC2086
    soak $what || code=$?
    case $code in
        0 | 77) ;;
        *) failed+=("$what") ;;
    esac
done
[ ${#failed[@]} = 0 ] || { printf 'failed: %s\n' "${failed[@]}"; exit 1; }
