#!/bin/sh
# Builds the fuzz target with libFuzzer and the address sanitizer and runs it.
#   Tests/Fuzz/run.sh [seconds, default 60] [more libFuzzer options]
# A finding is left in fuzz-corpus/ as crash-*; run the binary with that file to see it again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
seconds=${1:-60}
[ $# -gt 0 ] && shift
build=$root/.build/fuzz
corpus=$root/fuzz-corpus
mkdir -p "$build/sources" "$corpus/wire"
# One module: imports of our own modules are dropped, everything else is as the product has it.
rm -f "$build/sources"/*.swift
for module in Core/Foundations Core/Wire Core/JSON Core/GRPC System/HTTP2Engine; do
    # (The client's side of HTTP/2 is nghttp2's.)
    find "$root/Sources/$module" -name '*.swift' | xargs grep -L '^import CNghttp2' | while read -r file; do
        sed -E '/^import (Foundations|Wire|JSON|GRPC)$/d' "$file" > "$build/sources/$(basename "$module").$(basename "$file")"
    done
done
export SWIFT_BACKTRACE=enable=no
swiftc -O -g -swift-version 6 -enable-experimental-feature Lifetimes -parse-as-library -module-name Fuzz -package-name covey \
    -suppress-warnings -sanitize=fuzzer,address -o "$build/fuzz-wire" "$build"/sources/*.swift "$here/FuzzWire.swift" 2>&1 |
    grep -v 'Cannot export local symbol' || true
python3 "$here/seed.py" "$root/Tests/WireTests/Data" "$root/Sources/Core/Wire/Generated/AllMessages.swift" "$corpus/wire"
exec "$build/fuzz-wire" -max_total_time="$seconds" -max_len=4096 -timeout=10 -artifact_prefix="$corpus/" "$@" "$corpus/wire"
