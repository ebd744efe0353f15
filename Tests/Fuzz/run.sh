#!/bin/sh
# Builds a fuzz target with libFuzzer and the address sanitizer and runs it.
#   Tests/Fuzz/run.sh [wire|peers|all, default all] [seconds for each, default 60] [more libFuzzer options]
# A finding is left in fuzz-corpus/ as crash-*; run the binary with that file to see it again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${1:-all}
[ $# -gt 0 ] && shift
if [ "$target" = all ]; then
    "$0" wire "$@"
    exec "$0" peers "$@"
fi
seconds=${1:-60}
[ $# -gt 0 ] && shift
case $target in
wire) file=FuzzWire.swift modules='Foundations Wire JSON GRPC System/HTTP2Engine' ;;
peers) file=FuzzPeers.swift modules='Foundations Wire HTTP1 Raft PeerWire FileFormats' ;;
*)
    echo "run.sh: there is no target '$target': wire, peers, all" >&2
    exit 2
    ;;
esac
build=$root/.build/fuzz
corpus=$root/fuzz-corpus
mkdir -p "$build/$target" "$corpus/$target"
export SWIFT_BACKTRACE=enable=no
# Module by module, as the product has them, so that names may be the same in two of them.
compile() {
    name=$1
    shift
    swiftc -O -g -swift-version 6 -enable-experimental-feature Lifetimes -parse-as-library -wmo -enable-testing -suppress-warnings \
        -package-name covey -module-name "$name" -sanitize=fuzzer,address -I "$build/$target" "$@"
}
objects=
for module in $modules; do
    case $module in */*) folder=$root/Sources/$module ;; *) folder=$root/Sources/Core/$module ;; esac
    name=$(basename "$module")
    # The client's side of HTTP/2 is nghttp2's. (What grep's exit says of -L differs between its versions.)
    grep -rL --include='*.swift' '^import CNghttp2' "$folder" > "$build/$target/sources" || [ -s "$build/$target/sources" ]
    # shellcheck disable=SC2046
    compile "$name" -emit-module -emit-module-path "$build/$target/$name.swiftmodule" -c -o "$build/$target/$name.o" \
        $(cat "$build/$target/sources")
    objects="$objects $build/$target/$name.o"
done
# shellcheck disable=SC2086
compile Fuzz -o "$build/fuzz-$target" "$here/$file" $objects 2>&1 | grep -v 'Cannot export local symbol' || true
python3 "$here/seed.py" "$target" "$root" "$corpus/$target"
exec "$build/fuzz-$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -artifact_prefix="$corpus/" "$@" "$corpus/$target"
