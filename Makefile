# Thin front: everything is built by meson in build/. "make help" lists the targets.

# Debian's own programs, whatever else is first in the caller's PATH.
export PATH := /usr/sbin:/usr/bin:/sbin:/bin:$(PATH)
PYTHON := /usr/bin/python3
BUILD := build
DEMO_FLAGS := $(if $(KEEP),--keep)

T := 60

.PHONY: sim fuzz bench-codec bench-stream bench-failover bench-quick bench help build demo test test-unit test-cluster test-asan test-valgrind test-arch deps deps-build deps-test deps-arch clean install
.DEFAULT_GOAL := build

help:
	@echo "make build          compile into $(BUILD)/ (programs: $(BUILD)/bin)"
	@echo "make demo           a three-node cluster on this machine, shown step by step (KEEP=1: leave it up)"
	@echo "make test           all tests (as root: also those that need network namespaces and Samba)"
	@echo "make test-unit      unit tests and simulations only"
	@echo "make test-cluster   tests with several processes only: local, netns, samba"
	@echo "make test-asan      unit and loopback tests with the address and undefined behaviour sanitizers"
	@echo "make sim            100,000 simulated clusters of 3 to 64 nodes that fail in all ways, and some of 128 and 256"
	@echo "make fuzz T=60      every fuzz target for T seconds, with clang and libFuzzer (two at a time)"
	@echo "make bench-codec    what encoding and decoding of the messages about records costs"
	@echo "make bench-stream   bulk data between two nodes, against GnuTLS alone"
	@echo "make bench-failover how long a cluster needs after faults, and false alarms (root, half an hour)"
	@echo "make bench-quick    all workloads, this project's daemons and Debian's by turns (root, five minutes)"
	@echo "make bench          the same with more rounds, and all the other benchmarks (root, an hour)"
	@echo "make test-valgrind  unit tests and a loopback cluster under valgrind"
	@echo "make test-arch      i386 and s390x: unit tests, and a cluster of x86-64, i386 and s390x nodes (root, half an hour)"
	@echo "make deps           install the Debian packages that building and testing need (root)"
	@echo "make install        install below DESTDIR"
	@echo "make clean          remove the build directories"

build: deps-build
# What a setup that was broken off has left would be taken for a directory that is set up.
	@[ -f $(BUILD)/build.ninja ] || rm -rf $(BUILD)/meson-private
	@[ -f $(BUILD)/build.ninja ] || meson setup $(BUILD) >$(BUILD)-setup.log 2>&1 || { cat $(BUILD)-setup.log; exit 1; }
	@rm -f $(BUILD)-setup.log
	@echo "Building in $(BUILD)/ (some minutes the first time)"; ninja -C $(BUILD) --quiet

demo: build
	@$(PYTHON) autocluster/autocluster demo --bindir $(BUILD)/bin $(DEMO_FLAGS)

test: deps-test build
	@$(PYTHON) test/run --build $(BUILD) all

test-unit: build
	@$(PYTHON) test/run --build $(BUILD) unit

test-cluster: deps-test build
	@$(PYTHON) test/run --build $(BUILD) cluster

test-asan: deps-test
	@$(PYTHON) test/run --build $(BUILD) asan

test-valgrind: deps-test build
	@$(PYTHON) test/run --build $(BUILD) valgrind

sim: build
	@$(BUILD)/bin/ctdb-sim --runs 100000
	@$(BUILD)/bin/ctdb-sim --runs 100 --nodes 128
	@$(BUILD)/bin/ctdb-sim --runs 20 --nodes 256

fuzz: deps-test
	@$(PYTHON) test/fuzz/run --time $(T)

bench-codec: build
	@$(BUILD)/bin/ctdb-bench codec

bench-stream: build
	@$(BUILD)/bin/ctdb-bench stream

bench-failover: deps-test build
	@bench/failover --build $(BUILD)

bench-quick: deps-test build
	@$(PYTHON) bench/quick --build $(BUILD)

bench: bench-codec bench-stream deps-test build
	@$(PYTHON) bench/quick --build $(BUILD) --rounds 7 --ms 5000
	@bench/failover --build $(BUILD)

test-arch: deps-arch build
	@$(PYTHON) test/arch/run --build $(BUILD)

deps: deps-test

deps-build:
	@packaging/deps.sh build

deps-test:
	@packaging/deps.sh test

deps-arch: deps-test
	@packaging/deps.sh arch

install: build
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

clean:
	@rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-arch $(BUILD)-i386 $(BUILD)-s390x build-fuzz $(BUILD)-setup.log
