#!/usr/bin/env bash
# What a copy in the global tier costs, beside rclone on the same S3 server (s3d, of this repository) and the same disk, in turns.
#
#   tests/global-bench.sh [ROUNDS] [SIZE]        # 5 rounds of 1G unless given
#
# Prints a line of JSON a round, and the medians: seconds of an upload (a save with --ack global less one with --ack local) and of a
# download (a load with --from global), the same of rclone, their ratios, and the most memory that the node took. Installs rclone on
# Debian if it is missing.
set -euo pipefail
rounds=${1:-5} size=${2:-1G}
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
command -v rclone >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq rclone; }
command -v jq >/dev/null 2>&1 || apt-get install -y -qq jq
cargo build --release -q -p cairn-client -p cairn-node --bins
cargo build --release -q -p cairn-tests --bin s3d
target=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/release
dir=$(mktemp -d)
trap 'kill $server $dev 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
mkdir -p "$dir/s3/bench"
export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secretsecret
"$target/s3d" --dir "$dir/s3" --port 0 --key key --secret secretsecret --faults "$dir/faults" > "$dir/s3.out" & server=$!
until grep -q listening "$dir/s3.out"; do sleep 0.05; done
address=$(awk '/listening/ { print $2 }' "$dir/s3.out")
port=$((20000 + $$ % 20000))
"$target/cairnd" dev --nodes 1 --storage-nodes 0 --dir "$dir/n" --base-port "$port" --set global.archive=never \
    --set "global.url=s3://bench/tier?endpoint=http://$address&region=us-east-1&allow_http=true" > "$dir/dev.out" 2> "$dir/dev.err" & dev=$!
until grep -q ^ready "$dir/dev.out"; do sleep 0.1; done
export CAIRN_ENDPOINTS=127.0.0.1:$port
until "$target/cairn" global status | grep -q '^n1  *yes'; do sleep 0.2; done
pid=$(awk '$1 == "n1" { print $4 }' "$dir/dev.out")
remote=":s3,provider=Other,env_auth=true,region=us-east-1,endpoint='http://$address':bench"
seconds() { local start=$EPOCHREALTIME; "$@" > /dev/null; echo "$start $EPOCHREALTIME" | awk '{ printf "%.3f", $2 - $1 }'; }
for round in $(seq "$rounds"); do
    head -c "$size" /dev/urandom > "$dir/file"
    sync
    alone=$(seconds "$target/cairn" save "alone/$round" "$dir/file" --replicas 0 --ack local --timeout 10m)
    both=$(seconds "$target/cairn" save "big/$round" "$dir/file" --replicas 0 --ack global --timeout 10m)
    up=$(seconds rclone copyto "$dir/file" "$remote/rclone-$round")
    sync
    from=$(seconds "$target/cairn" load "big/$round" --from global --timeout 10m)
    down=$(seconds sh -c "rclone copyto \"$remote/rclone-$round\" '$dir/back' && sync '$dir/back'")
    cmp "$dir/file" "$dir/back"
    bytes=$(stat -c %s "$dir/file")
    jq -nc "{round: $round, bytes: $bytes, upload_s: ($both - $alone), rclone_upload_s: $up, upload_ratio: ($up / ($both - $alone)),
        download_s: $from, rclone_download_s: $down, download_ratio: ($down / $from)}" | tee -a "$dir/rounds"
    "$target/cairn" rm "alone/$round" --yes > /dev/null
    rm -rf "$dir/back" "$dir/s3/bench/rclone-$round"
done
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$pid/status")
jq -sc --argjson peak "$peak" 'def median: sort | .[length / 2 | floor];
    {rounds: length, upload_s: (map(.upload_s) | median), rclone_upload_s: (map(.rclone_upload_s) | median),
     upload_ratio: (map(.upload_ratio) | median), download_s: (map(.download_s) | median),
     rclone_download_s: (map(.rclone_download_s) | median), download_ratio: (map(.download_ratio) | median),
     node_peak_kib: $peak}' "$dir/rounds"
