#!/usr/bin/env bash
# Every test, in the order in which a failure is cheapest to learn of. `make test` runs this. What cannot be built ends the
# run; a part that fails does not keep the others from being heard. With THOROUGH=true, as CI has it, everything that takes long
# as well, and one thing after the other: nothing is to fail there for want of a processor.
set -euo pipefail
cd "$(dirname "$0")/.."
export SWIFT_BACKTRACE=enable=no
# Whole programs are tested as they ship.
export TEST_PROGRAM=$PWD/.build/release/covey

failed=()
began=$SECONDS
said=$(mktemp -d)
memory= beside=
clean_up() {
    [ -z "$beside" ] || kill "$beside" || true
    rm -rf "$said" ${memory:+"$memory"}
}
trap clean_up EXIT

thorough() { [ "${THOROUGH:-}" = true ]; }

# part NAME COMMAND...: says how long it took and whether it failed. What it says is kept too; not through a pipe that is
# waited for, which a program left behind would hold open.
part() {
    local name=$1 start=$SECONDS code=0
    shift
    printf '== %s\n' "$name"
    "$@" > >(exec tee "$said/${#failed[@]}") 2>&1 || code=$?
    [ "$code" = 0 ] || failed+=("$name")
    printf '== %s: %s, %s s\n' "$name" "$([ "$code" = 0 ] && echo ok || echo "FAILED ($code)")" "$((SECONDS - start))"
}

# Often only the end of a long log is kept: what failed, and how, is said once more there.
finish() {
    printf '== all of it: %s s\n' "$((SECONDS - began))"
    [ ${#failed[@]} != 0 ] || exit 0
    local index
    for index in "${!failed[@]}"; do
        printf 'FAILED: %s\n' "${failed[index]}"
        grep -E -A 2 'recorded an issue|: error: |^FAILED|^failed |unexpected signal|Sanitizer' "$said/$index" | head -n 12 | cut -c 1-240 || true
    done
    exit 1
}

must() {
    local before=${#failed[@]}
    part "$@"
    [ ${#failed[@]} = "$before" ] || finish
}

messages_are_fresh() {
    swift build --product protogen && Sources/Core/Wire/Protos/generate.sh --check
}

drills() {
    make --no-print-directory package || return
    local code=0
    if thorough; then Tests/Lab/drill || code=$?; else Tests/Lab/drill --brief || code=$?; fi
    # 77: it says itself what this machine lacks.
    [ "$code" = 77 ] || return "$code"
}

# Servers under test sync every write, and there is little to learn from waiting for a disk that others use too: they keep
# their data in memory where there is room for it. What a disk does to data is the matter of the parts before.
if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] && [ "$(df --output=avail -k /dev/shm | tail -n 1)" -gt 4000000 ]; then
    memory=$(mktemp -d /dev/shm/covey-tests.XXXXXX)
fi
in_memory() { TMPDIR=${memory:-${TMPDIR:-/tmp}} "$@"; }

# A test that waits for another program holds one of the few threads that tests share, and one that measures memory sees
# its neighbours': those run by themselves.
apart='^(ClientTests|ClusterTests|ControlTests|OperationsTests|PeerTests)\.|BlackBoxTests'

# lane FILTER: those tests, without the lock that lets only one `swift test` at a time run.
lane() {
    in_memory "$(swift build --show-bin-path)/coveyPackageTests.xctest" --testing-library swift-testing --no-parallel --filter "$1"
}

members='^(PeerTests|ControlTests)\.|BlackBoxTests'
clusters='^(OperationsTests|ClusterTests)\.'
whole_programs() {
    if thorough; then
        in_memory swift test --skip-build --no-parallel --filter "$members|$clusters"
        return
    fi
    # Most of them wait most of the time.
    local code=0
    lane "$members" >"$said/lane" 2>&1 &
    beside=$!
    lane "$clusters" || code=$?
    wait "$beside" || code=$?
    beside=
    cat "$said/lane"
    return "$code"
}

part "layout of the source" make --no-print-directory lint
must "generated messages match their .proto files" messages_are_fresh
must "build, warnings are errors" swift build --build-tests
must "the program as it ships" make --no-print-directory release
part "tests" swift test --skip-build --parallel --skip "$apart"
part "the client library beside real servers" in_memory swift test --skip-build --no-parallel --filter '^ClientTests\.'
part "whole programs: recordings, random operations beside a real server, kills, clusters" whole_programs
part "simulated clusters under seeded faults" make --no-print-directory simulate SEEDS="${SEEDS:-1..$(thorough && echo 2000 || echo 500)}"
part "the package, on real systemd hosts" drills

finish
