#!/usr/bin/env bash
# Plants each bug of sim/plants into a copy of the tree, and counts in how many seeds the simulation catches it.
#
#   sim/plants.sh              # all of them
#   sim/plants.sh a-watch-with-a-gap refusals-are-not-remembered
#
# Each is played until it is caught, in at most SEEDS (2000) seeds. Ends with 1 if one is not, or does not build.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
seeds=${SEEDS:-2000}
# The first seeds are few: most bugs need no more.
batches=(10 40 150 300)

command -v patch >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq patch; }

place=$root/target/plants
tree=$place/tree
export CARGO_TARGET_DIR=$place/build CARGO_PROFILE_DEV_DEBUG=false
rm -rf "$tree"
mkdir -p "$tree"
(cd "$root" && tar -c --exclude=tests/corpus .cargo Cargo.toml Cargo.lock ./*.toml store node client sim tests deploy) | tar -x -m -C "$tree"

# Prints in how many of how many seeds a build fails, and what the first failure was.
play() {
    local program=$1 from=1 caught=0 batch=0 out first=
    while ((caught == 0 && from <= seeds)); do
        local to=$((from + ${batches[batch]:-500}))
        ((to <= seeds + 1)) || to=$((seeds + 1))
        out=$("$program" run --seeds "$from..$to" 2>&1 || true)
        caught=$(grep -c '^FAIL' <<<"$out" || true)
        first=$(grep -m1 '^FAIL' <<<"$out" || true)
        from=$to
        batch=$((batch + 1))
    done
    printf '%s of %s  %.150s\n' "$caught" "$((from - 1))" "$first"
    ((caught > 0))
}

if (($# == 0)); then
    names=("$root"/sim/plants/*.patch)
    names=("${names[@]##*/}")
    set -- "${names[@]%.patch}"
fi
missed=0
for name; do
    patch=$root/sim/plants/$name.patch
    [[ -f $patch ]] || { echo "there is no plant $name" >&2; exit 2; }
    patch -s -p1 -d "$tree" <"$patch"
    # Files that were planted before are as new: what is built is this plant alone.
    (cd "$tree" && cargo build -q --locked -p cairn-sim) 2>"$place/build.log" || { cat "$place/build.log"; exit 2; }
    printf '%-45s %-6s ' "$name" "$(head -n1 "$patch" | cut -d: -f1)"
    play "$CARGO_TARGET_DIR/debug/cairn-sim" || missed=$((missed + 1))
    patch -s -R -p1 -d "$tree" <"$patch"
done
if ((missed > 0)); then
    echo "$missed were not caught in $seeds seeds" >&2
    exit 1
fi
