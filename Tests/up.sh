#!/usr/bin/env bash
# A cluster of three on this machine, with TLS, until Ctrl-C. `make up` runs this; it also works alone.
#     Tests/up.sh [INVENTORY] [options of covey up]
set -euo pipefail
cd "$(dirname "$0")/.."
export SWIFT_BACKTRACE=enable=no

program=.build/release/covey
[ -x "$program" ] || make release
[ $# -gt 0 ] || set -- Inventory/local.yaml
exec "$program" up "$@"
