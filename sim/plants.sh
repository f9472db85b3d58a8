#!/usr/bin/env bash
# Plants each bug of sim/plants into a copy of the tree, and counts in how many seeds the simulation catches it.
#
#   sim/plants.sh              # all of them
#   sim/plants.sh a-watch-with-a-gap refusals-are-not-remembered
#
# Each is played until it is caught, in at most SEEDS (2000) seeds: of random lives, or of the story that its patch names in a
# line `Scenario: …`. A seed counts if it fails with the bug and does not without it. Ends with 1 if a bug is not caught,
# with 2 if it does not fit or does not build.
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
(cd "$root" && tar -c --exclude=tests/corpus .cargo Cargo.toml Cargo.lock ./*.toml store node client sim tests deploy) |
    tar -x -m -C "$tree"

build() {
    (cd "$tree" && cargo build -q --locked -p cairn-sim) 2>"$place/build.log" || { cat "$place/build.log" >&2; exit 2; }
}

# Prints the seeds of a batch that fail with the bug and not without it, each with what it said.
caught_in() {
    "$CARGO_TARGET_DIR/debug/cairn-sim" run --seeds "$1" "${story[@]}" 2>&1 | grep '^FAIL' | grep -v 'it hung for' |
        while read -r line; do
            seed=$(sed -E 's/^FAIL .*seed ([0-9]+) trace.*/\1/' <<<"$line")
            if "$place/sound" replay "$seed" "${story[@]}" >/dev/null 2>&1; then echo "$line"; fi
        done || true
}

# Prints in how many of how many seeds the bug is caught, and how it was found first.
play() {
    local from=1 batch=0 caught=
    while [[ -z $caught ]] && ((from <= seeds)); do
        local to=$((from + ${batches[batch]:-500}))
        ((to <= seeds + 1)) || to=$((seeds + 1))
        caught=$(caught_in "$from..$to")
        from=$to
        batch=$((batch + 1))
    done
    printf '%s of %s  %.150s\n' "$(grep -c . <<<"$caught" || true)" "$((from - 1))" "$(head -n1 <<<"$caught")"
    [[ -n $caught ]]
}

build
cp "$CARGO_TARGET_DIR/debug/cairn-sim" "$place/sound"
if (($# == 0)); then
    names=("$root"/sim/plants/*.patch)
    names=("${names[@]##*/}")
    set -- "${names[@]%.patch}"
fi
missed=0
for name; do
    patch=$root/sim/plants/$name.patch
    [[ -f $patch ]] || { echo "there is no plant $name" >&2; exit 2; }
    story=()
    scenario=$(sed -n 's/^Scenario: //p' "$patch")
    [[ -z $scenario ]] || story=(--scenario "$scenario")
    patch -s -p1 -d "$tree" <"$patch" || exit 2
    build
    printf '%-45s %-6s ' "$name" "$(head -n1 "$patch" | cut -d: -f1)"
    play || missed=$((missed + 1))
    # Its files are written anew, so that the next build is of the next bug alone.
    patch -s -R -p1 -d "$tree" <"$patch"
done
if ((missed > 0)); then
    echo "$missed were not caught in $seeds seeds" >&2
    exit 1
fi
