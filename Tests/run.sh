#!/usr/bin/env bash
# Every test, in the order in which a failure is cheapest to learn of. `make test` runs this.
set -euo pipefail
cd "$(dirname "$0")/.."
export SWIFT_BACKTRACE=enable=no

step() { printf '== %s\n' "$*"; }

step "generated messages match their .proto files"
swift build --product protogen
Sources/Core/Wire/Protos/generate.sh --check

step "build, warnings are errors"
swift build --build-tests

step "the program as it ships"
swift build -c release --static-swift-stdlib --product covey

step "tests"
swift test --skip-build --parallel

step "simulated clusters under seeded faults"
swift build -c release --product covey-sim
.build/release/covey-sim --seeds "${SEEDS:-1..2000}"
