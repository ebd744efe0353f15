#!/usr/bin/env bash
# The tests under a sanitizer, each in a build folder of its own:  Tests/sanitize.sh [address|thread ...]
set -euo pipefail
cd "$(dirname "$0")/.."
export SWIFT_BACKTRACE=enable=no
# LMDB keeps its map and thread-local reader slots for the life of the process; that is no leak.
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
export TSAN_OPTIONS="halt_on_error=1:${TSAN_OPTIONS:-}"
[ $# -gt 0 ] || set -- address thread
for kind in "$@"; do
    printf '== %s sanitizer\n' "$kind"
    # The thread sanitizer gets locks that it can see: Sources/System/Linux/Mutex.swift.
    flags=()
    [ "$kind" = thread ] && flags=(-Xswiftc -DTHREAD_SANITIZER)
    # What measures memory would measure the sanitizer's.
    swift test --sanitize="$kind" --scratch-path ".build/$kind" "${flags[@]}" \
        --skip '^(ClientTests|ClusterTests|ControlTests|OperationsTests|TidyTests)\.|BlackBoxTests|bounded memory'
done
