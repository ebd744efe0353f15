#!/bin/sh
# Writes ../Generated from the .proto files here with our own protoc plugin.
#   generate.sh           writes
#   generate.sh --check   writes nothing; fails when what is checked in is not what would be written
set -eu
protos=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$protos/../../../.." && pwd)
swift build --package-path "$root" --product protogen >&2
plugin=$(swift build --package-path "$root" --show-bin-path)/protogen
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$protos"
protoc -I. --plugin=protoc-gen-covey="$plugin" --covey_out="$out" $(find . -name '*.proto' | sed 's,^\./,,' | LC_ALL=C sort)
swift format format --configuration "$root/.swift-format" --in-place "$out"/*.swift
if [ "${1:-}" = --check ]; then
    diff -r "$out" ../Generated && echo "Generated is up to date."
else
    rm -rf ../Generated
    mkdir ../Generated
    cp "$out"/*.swift ../Generated/
fi
