#!/usr/bin/env bash
# Every test, in the order in which a failure is cheapest to learn of. `make test` runs this.
set -euo pipefail
cd "$(dirname "$0")/.."
export SWIFT_BACKTRACE=enable=no

step() { printf '== %s\n' "$*"; }

step "layout of the source"
make --no-print-directory lint

step "generated messages match their .proto files"
swift build --product protogen
Sources/Core/Wire/Protos/generate.sh --check

step "build, warnings are errors"
swift build --build-tests

step "the program as it ships"
make --no-print-directory release

# A test that waits for another program holds one of the few threads that tests share, and one that measures memory sees
# its neighbours': those run by themselves.
apart='BlackBoxTests|ClientTests|ClusterTests|ControlTests|OperationsTests|PeerTests'

step "tests"
swift test --skip-build --parallel --skip "$apart"

step "the client library beside real servers"
swift test --skip-build --filter '^ClientTests'

step "whole programs: recordings, random operations beside a real server, kills, clusters"
swift test --skip-build --no-parallel \
    --filter '^(PeerTests|ControlTests|OperationsTests|ClusterTests)|BlackBoxTests'

step "simulated clusters under seeded faults"
make --no-print-directory simulate SEEDS="${SEEDS:-1..2000}"

step "the package, on real systemd hosts"
make --no-print-directory package
code=0
Tests/Lab/drill || code=$?
# 77: it says itself what this machine lacks.
[ "$code" = 0 ] || [ "$code" = 77 ] || exit "$code"
