# Every habit of this project by name; `make help` lists them. Called by people and by .ci/run.
# Rule: a target needs nothing but a fresh Debian 12 as root; what is missing it installs (runtime-tools-tests/deps.sh).

PREFIX ?= /usr/local
DESTDIR ?=
TESTS := runtime-tools-tests
# The target is named because the binary is linked statically (.cargo/config.toml); it is always the host's.
host = $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# (The shell asks, not make: a recipe's lines are expanded before its first one has installed rustc.)
# --workspace, where it is said: with the features that all members ask for together, a crate is built once for all of them.
use_host = export CARGO_TERM_QUIET=true CARGO_BUILD_TARGET=$$(rustc -vV | sed -n 's/^host: //p')
BINARY = target/$(host)/release/nucleus
# The runtime under test; any other (RUNTIME=runc) shows whether a test judges rightly.
RUNTIME ?= $(CURDIR)/$(BINARY)

.PHONY: help build run prepared test compare bench bench-smoke fuzz conformance test-engines stress guard test-bare lint manual install layout clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

build: ## the release binary, target/TRIPLE/release/nucleus
	@$(TESTS)/deps.sh build
	@$(use_host); cargo build --release --locked \
		&& nucleus=target/$$CARGO_BUILD_TARGET/release/nucleus && $(TESTS)/bench/copy.sh $$nucleus $$nucleus

run: build ## makes a busybox bundle under .cache/ and runs a container in it
	@rm -rf .cache/bundle
	@RUNTIME=$(RUNTIME) $(TESTS)/bundle.sh .cache/bundle
	@$(RUNTIME) run --bundle .cache/bundle hello-$$$$

# The build, and beside it what else the tests need. (Not in `test` itself: RUNTIME's name needs an installed rustc.)
prepared:
	@$(TESTS)/deps.sh build
	@nice $(TESTS)/prepare.sh & prepare=$$!; make --no-print-directory build; built=$$?; wait $$prepare && exit $$built

test: prepared ## everything that CI runs; ends with the counts
	@$(use_host); RUNTIME=$(RUNTIME) $(TESTS)/all.sh

# The benchmark and the floor that it measures against, beside the release binary.
use_bench = cargo build --release --locked --workspace --bin nucleus-bench --example floor \
	&& export RUNTIME=$(RUNTIME) BENCH=$(CURDIR)/target/$(host)/release/nucleus-bench \
		FLOOR=$(CURDIR)/target/$(host)/release/examples/floor

bench: build ## beside runc, crun and the kernel's floor: tables, docs/benchmarks (ROUNDS=50 CASES=a,b BINARIES="name=path")
	@$(TESTS)/deps.sh bench || echo 'bench: what is missing is reported as absent'
	@$(use_host); $(use_bench) && $(TESTS)/bench/bench.sh

bench-smoke: build ## whether the benchmark itself works, without peers
	@$(use_host); $(use_bench) && $(TESTS)/bench/smoke.sh

fuzz: ## damaged config.json and other inputs, SECONDS=60 for each target
	@$(TESTS)/deps.sh build fuzz
	@$(TESTS)/fuzz.sh $(or $(SECONDS),60)

conformance: build ## the validation programs of the OCI's runtime-tools (RUNTIME=... for another runtime)
	@$(TESTS)/deps.sh conformance
	@RUNTIME=$(RUNTIME) $(TESTS)/conformance/run.sh

compare: build ## the differential judge: what a container sees with this runtime, runc and crun (PATTERN="name/*" for some)
	@$(TESTS)/deps.sh compare
	@RUNTIME=$(RUNTIME) $(TESTS)/compare/run.sh $(PATTERN)

test-engines: build ## podman, buildah, containerd and Docker drive the runtime (RUNTIME=... for another one)
	@$(TESTS)/deps.sh engines
	@RUNTIME=$(RUNTIME) $(TESTS)/engines/run.sh

stress: build ## 200 containers, 16 at a time (RUNTIME=... for another runtime)
	@$(TESTS)/deps.sh engines
	@RUNTIME=$(RUNTIME) $(TESTS)/stress.sh

guard: build ## what each verb costs, in system calls and instructions, is no more than recorded (RECORD=1 records it)
	@$(TESTS)/deps.sh guard vm
	@$(use_host); NUCLEUS_TEST_RUNTIME=$(RUNTIME) $(if $(RECORD),NUCLEUS_TEST_RECORD=1) \
		cargo test --quiet --locked --workspace --test cost -- --show-output
	@RUNTIME=$(RUNTIME) $(TESTS)/vm/icount.sh $(if $(RECORD),record)

test-bare: ## the README's commands in a fresh Debian 12 with git, make and ca-certificates alone
	@$(TESTS)/deps.sh bare
	@$(TESTS)/bare.sh

lint: build ## formatting, clippy, licences, shell scripts
	@$(TESTS)/deps.sh lint
	@$(use_host); $(TESTS)/all.sh lint

manual: ## man pages and shell completions, in target/share (from the flags that the binary parses with)
	@$(TESTS)/deps.sh build
	@$(use_host); rm -rf target/share && cargo build --locked --workspace --bin nucleus-manual \
		&& target/$$CARGO_BUILD_TARGET/debug/nucleus-manual target/share

install: build manual ## binary, man pages, shell completions to PREFIX (/usr/local), below DESTDIR
	@install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/nucleus
	@cd target/share && find . -type f -exec install -D -m 644 {} $(DESTDIR)$(PREFIX)/share/{} \;

layout: ## which functions are hot: writes crates/oci-runtime/hot-text.ld, by which the linker keeps them together
	@$(TESTS)/deps.sh build
	@$(TESTS)/layout.sh

include $(TESTS)/vm/vm.mk

clean: ## removes target/ and .cache/
	@rm -rf target .cache
