# SPDX-License-Identifier: MIT
#
# make         build/wgxdp
# make deps    install the Debian packages that building needs; deps-run: what running needs, too;
#              deps-test: what testing needs, too
# make demo    two namespaces, a tunnel, its figures; make check: all tests
# make check-long  the same tests at their full length: over an hour longer
# make vmtest  tests in QEMU, with the kernel's WireGuard; make vmtest-all: on every kernel
# make bench   compares with wireguard-go: build/bench/performance.md
# make bench-flood  what floods of the WireGuard port cost: build/bench/flood.md
# make fuzz T=60  libFuzzer, for 60 s per target, with sanitizers
# make soak T=600  a tunnel over a bad link for 600 s; accounts for every byte and ping
# make SANITIZE=address,undefined all tests, or =thread: for sanitizers, below build/;
#              tests/run with the same SANITIZE=... runs what is there; make check-sanitized
#              runs the quick ones; make check-san runs make check with each, for hours
# make check-syscalls  traces the daemons of some tests; fails if a thread calls what is not on its
#              list (daemon/kernel/syscall_list.h), or if nobody calls what is on it; 20 minutes
# make layers  who includes whom in daemon/; fails on an upward arrow or a circle
# make lint    clang-tidy and shellcheck; make format, format-check: clang-format
# make coverage  the lines that the unit and BPF tests run, per file
# make compile_commands.json  for editors
# make DEBUG=1 all tests: asserts in each function which thread may call it, as SANITIZE does
# make install PREFIX=/usr/local DESTDIR=, make uninstall with the same

CC	?= gcc
CLANG	?= clang
BPFTOOL	?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PKGCONF	?= pkgconf
PREFIX	?= /usr/local
COMMA	:= ,
B	:= build$(if $(SANITIZE),/$(subst $(COMMA),-,$(SANITIZE)))
VERSION	:= 0.1

LIBS	:= libbpf libxdp libsodium libmnl libnetfilter_conntrack liburcu-qsbr liburcu-cds liburing json-c libcap libseccomp
# Not on every architecture.
HASH	:= \#
IPSEC_MB := $(shell echo '$(HASH)include <intel-ipsec-mb.h>' | $(CC) -E - >/dev/null 2>&1 && echo y)
# Debian installs it in other directories than OpenSSL, because file names are the same.
BORINGSSL_INCLUDE ?= /usr/include/android
BORINGSSL_LIB	?= /usr/lib/$(shell $(CC) -print-multiarch)/android
BORINGSSL := $(if $(wildcard $(BORINGSSL_INCLUDE)/openssl/aead.h),$(wildcard $(BORINGSSL_LIB)/libcrypto.so.0))
ENGINES	:= $(if $(IPSEC_MB),IPSEC_MB) $(if $(BORINGSSL),BORINGSSL)
WARN	:= -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	   -Wpointer-arith -Wwrite-strings -Wno-unused-parameter $(if $(WERROR),-Werror)
CFLAGS	?= -O2 -g
# Undefined behaviour ends a program, as an address error does: a test does not read logs. For
# threads, what liburcu does is told by a header; GCC warns that fences alone tell TSan nothing.
SAN_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer) \
	   $(if $(findstring thread,$(SANITIZE)),-Wno-tsan -include tests/tools/tsan.h)
# Sanitizers see more than these, and _FORTIFY_SOURCE would hide calls from them.
HARDEN	:= -fstack-protector-strong -fstack-clash-protection -fPIE \
	   $(if $(SANITIZE),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
HARDEN_LINK := -pie -Wl$(COMMA)-z$(COMMA)relro$(COMMA)-z$(COMMA)now
# See daemon/base/thread.h.
CHECKS	:= $(if $(SANITIZE)$(DEBUG),-DTHREAD_CHECKS)
# As the kernel does: packets and counters are looked at as more than one type.
ALL_CFLAGS = -std=gnu11 -fno-strict-aliasing -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -Iinclude -I$(B)/bpf $(WARN) \
	   -pthread $(shell $(PKGCONF) --cflags $(LIBS)) $(ENGINES:%=-DHAVE_%) $(CHECKS) $(HARDEN) $(CFLAGS) $(SAN_FLAGS)
LDLIBS	= -pthread $(shell $(PKGCONF) --libs $(LIBS)) $(if $(IPSEC_MB),-lIPSec_MB) \
	   $(if $(BORINGSSL),$(BORINGSSL) -Wl$(COMMA)-rpath$(COMMA)$(BORINGSSL_LIB)) $(SAN_FLAGS)
BPF_CFLAGS = -O2 -g -target bpf -mcpu=v3 -Iinclude -Wall -Wextra -Wno-unused-parameter \
	   $(if $(WERROR),-Werror) -I/usr/include/$(shell $(CC) -print-multiarch)

SRC	:= $(filter-out $(if $(IPSEC_MB),,daemon/aead/ipsec_mb.c) \
	   $(if $(BORINGSSL),,daemon/aead/boringssl.c),$(wildcard daemon/*/*.c))
OBJ	:= $(SRC:%.c=$(B)/%.o)
SKEL	:= $(B)/bpf/nic.skel.h $(B)/bpf/wgif.skel.h
# What each folder of daemon/ may include, besides itself and include/: nothing else is on its
# path, so an include against the direction does not compile. Only main.c has all folders on its
# path, because headers of control include those of each; layers.py holds its row.
MAY_base	:=
MAY_packet	:= base
MAY_protocol	:= base
MAY_aead	:=
MAY_kernel	:= base
MAY_wire	:= kernel packet base
MAY_wg0		:= kernel protocol packet base
MAY_peer	:= wire kernel protocol base
MAY_workers	:= peer wire wg0 kernel aead protocol packet base
MAY_uapi	:= base
MAY_control	:= workers peer uapi wire wg0 kernel aead protocol packet base
MAY_main	:= control uapi wg0 kernel base
FOLDERS		:= control workers peer uapi wire wg0 kernel aead protocol packet base
folder_of = $(word 2,$(subst /, ,$(1:daemon/main.c=daemon/main/)))
TABLE		= $(foreach f,main $(FOLDERS),'$f: $(MAY_$f)')
may_of = $(if $(filter-out daemon/main.c,$(filter daemon/%,$1)),$(call folder_of,$1) $(MAY_$(call folder_of,$1)),$(FOLDERS))
# The command that compiles a file. Tests may include everything. Two of them include BPF programs,
# which read headers that are not aligned.
compile = $(if $(filter %.bpf.c,$1),$(CLANG) $(BPF_CFLAGS),$(CC) $(ALL_CFLAGS) $(addprefix -iquote daemon/,$(may_of)) \
	  $(if $(filter %/boringssl.c,$1),-isystem $(BORINGSSL_INCLUDE)) \
	  $(if $(filter %/fuzz_nic.c %/fuzz_wgif.c,$1),-fno-sanitize=alignment)) -c $1
TESTS	:= $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_*.c tests/bpf/test_*.c))
TOOLS	:= $(patsubst %.c,$(B)/%,$(filter-out %.bpf.c,$(wildcard tests/tools/*.c)))
BPF_TOOLS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/tools/*.bpf.c))
BENCHES	:= $(patsubst %.c,$(B)/%,$(wildcard tests/bench/*.c))
FUZZERS	:= $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZING	:= $(findstring fuzzer,$(SANITIZE))

DEPS	:= deps deps-run deps-test deps-vm deps-bench deps-fresh deps-format deps-lint deps-coverage deps-fuzz

.PHONY: all tests check check-long check-syscalls check-sanitized check-san layers lint coverage coverage-tests \
	fuzz fuzzers soak vmtest vmtest-all demo bench bench-flood $(DEPS) install uninstall clean \
	format format-check print-compile print-table FORCE
.SECONDARY:

all: $(B)/wgxdp

$(B)/wgxdp: $(B)/daemon/main.o $(B)/libwgxdp.a
	$(CC) -o $@ $^ $(HARDEN_LINK) $(LDFLAGS) $(LDLIBS)

$(B)/libwgxdp.a: $(OBJ)
	rm -f $@
	$(AR) rcs $@ $^

# The flags are part of what an object depends on: WERROR, SANITIZE or a change of the table
# rebuild it.
FLAGS	= $(CC) $(ALL_CFLAGS) $(foreach f,$(FOLDERS),$f: $(MAY_$f))
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

# A static rule, because as an implicit one it would also make build/bpf/nic.bpf.o of
# bpf/nic.bpf.c, and so make the skeletons depend on themselves.
C_OBJ	:= $(OBJ) $(B)/daemon/main.o $(addsuffix .o,$(TESTS) $(TOOLS) $(BENCHES) $(FUZZERS) $(B)/tests/fuzz/replay)
$(C_OBJ): $(B)/%.o: %.c $(B)/flags | $(SKEL)
	@mkdir -p $(@D)
	$(call compile,$<) -MMD -MP -o $@

$(B)/bpf/%.tmp.o: bpf/%.bpf.c $(B)/flags
	@mkdir -p $(@D)
	$(call compile,$<) -MMD -MP -MT $@ -MF $(@:.o=.d) -o $@

$(BPF_TOOLS): $(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call compile,$<) -MMD -MP -o $@

$(B)/bpf/%.bpf.o: $(B)/bpf/%.tmp.o
	$(BPFTOOL) gen object $@ $<

$(B)/bpf/%.skel.h: $(B)/bpf/%.bpf.o
	{ echo '/* NOLINTBEGIN: bpftool wrote this */' && $(BPFTOOL) gen skeleton $< name $*_bpf && \
		echo '/* NOLINTEND */'; } > $@.new && mv $@.new $@

$(B)/tests/%: $(B)/tests/%.o $(B)/libwgxdp.a
	$(CC) -o $@ $^ $(LDFLAGS) -lcmocka -lb2 $(LDLIBS)

# Their allocations can be made to fail.
$(B)/tests/unit/test_tunnel: LDFLAGS += $(addprefix -Wl$(COMMA)--wrap=,malloc calloc aligned_alloc reallocarray)

# A fuzz target has libFuzzer's main(), or in other builds the one that replays its corpus.
$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(if $(FUZZING),,$(B)/tests/fuzz/replay.o) $(B)/libwgxdp.a
	$(CC) -o $@ $^ $(LDFLAGS) $(if $(FUZZING),-fsanitize=fuzzer) $(LDLIBS)

tests: $(TESTS) $(TOOLS) $(BPF_TOOLS) $(BENCHES) $(FUZZERS)
fuzzers: $(FUZZERS)

layers: $(OBJ) $(B)/daemon/main.o
	@tests/tools/layers.py daemon $(B)/daemon $(TABLE)

print-table:
	@printf '%s\n' $(TABLE)

# The commands that compile FILES: make -s print-compile FILES=daemon/wire/nic.c
print-compile:
	@:$(foreach f,$(FILES),$(info $(call compile,$f)))

# For editors and clang-tidy, which shall not look into the skeletons that bpftool writes.
C_FILES	:= daemon/main.c $(SRC) $(wildcard bpf/*.bpf.c tests/*/*.c)
define NEWLINE


endef
compile_commands.json: $(SKEL) FORCE
	$(file >$@,[$(subst }$() {,}$(COMMA)$(NEWLINE){,$(foreach f,$(C_FILES),{"directory": "$(CURDIR)", \
		"file": "$f", "command": "$(subst ",\",$(subst -I$(B),-isystem $(B),$(call compile,$f)))"}))])

# C and shell. The checks of C are in .clang-tidy.
SCRIPTS	= .ci/run daemon/wgxdp-setconf daemon/wgxdp-down tests/run vmtest/init $(wildcard tests/*.sh tests/*.bash \
	  tests/*/*.sh tests/*/*.bash tests/*/*.bats vmtest/*.sh)

# Of the daemon's lines: BPF programs run in the kernel.
coverage: deps-coverage
	$(MAKE) B=build/coverage CFLAGS='-O0 -g --coverage' LDFLAGS=--coverage coverage-tests
	find build/coverage -name '*.gcda' -delete
	B=build/coverage tests/run unit bpf
	gcovr --root . --filter daemon/ build/coverage | cut -c 1-66

coverage-tests: $(TESTS)

# sed removes the numbers of warnings in the headers of libraries.
lint: SHELL := /bin/bash
lint: .SHELLFLAGS := -o pipefail -c
lint: deps-lint compile_commands.json
	@printf '%s\n' $(C_FILES) | xargs -P $(shell nproc) -n 1 clang-tidy --quiet -p . 2>&1 | \
		sed '/^[0-9]* warnings* generated\.$$/d'
	@shellcheck $(SCRIPTS)

# Everything, warnings as errors; the closing line counts. TESTS of a kind or
# file: tests/run unit, tests/run tests/netns/roaming.bats.
check: deps-test
	$(MAKE) WERROR=1 all tests
	tests/run

# A test that is worth hours takes its length from LONG, and a share of it without.
check-long: export LONG := 1
check-long: export TEST_TIMEOUT ?= 7200
check-long: check

# Not clock, whose library reads files in all threads. Under strace some tests of times fail, which does
# not matter here.
TRACED_TESTS ?= life uapi interfaces tools routing tunnel dispatcher stack

check-syscalls: deps-test
	$(MAKE) WERROR=1 all tests
	rm -rf $(B)/traces && mkdir -p $(B)/traces
	-TRACED=$(CURDIR)/$(B)/wgxdp TRACES=$(CURDIR)/$(B)/traces WGXDP=$(CURDIR)/tests/syscalls/wgxdp.sh \
		PATIENCE=3 TEST_TIMEOUT=1800 tests/run $(TRACED_TESTS:%=tests/netns/%.bats)
	tests/syscalls/compare.py --all $(B)/traces

# With gcc's sanitizers and the asserts of DEBUG=1: units, and the daemon in its namespaces.
check-sanitized: deps-test
	$(MAKE) SANITIZE=address,undefined WERROR=1 all tests
	SANITIZE=address,undefined PATIENCE=2 tests/run unit bpf fuzz tests/netns/malformed.bats

# Runs all tests with each build in turn.
SANITIZERS ?= address,undefined thread

check-san: deps-test
	$(foreach s,$(SANITIZERS),$(MAKE) SANITIZE=$s WERROR=1 all tests &&) true
	code=0; for s in $(SANITIZERS); do \
		SANITIZE=$$s PATIENCE=$${PATIENCE:-3} TEST_TIMEOUT=3600 tests/run || code=1; \
	done; exit $$code

# Seconds per target. libFuzzer is clang's.
T	?= 60

fuzz: deps-fuzz
	$(MAKE) CC=$(CLANG) B=build/fuzz SANITIZE=fuzzer-no-link,address,undefined WERROR=1 fuzzers
	tests/fuzz/run.sh build/fuzz/tests/fuzz $(T)

SEED	?= 1

soak: deps-test
	$(MAKE) WERROR=1 all tests
	tests/soak/run.sh $(T) $(SEED)

# CELLS of vmtest/matrix, as KERNEL/COMMAND. What is built here runs in the guest.
CELLS	?= 6.1/interop

vmtest: deps-vm
	$(MAKE) WERROR=1 all tests
	vmtest/all.sh $(CELLS)

vmtest-all: deps-vm
	$(MAKE) WERROR=1 all tests
	vmtest/all.sh

# Takes half an hour, on a machine with nothing else to do. To publish it:
# make bench PAGE=docs/performance.md
PAGE	?= $(B)/bench/performance.md

bench: deps-bench
	$(MAKE) WERROR=1 all tests
	tests/bench/bench.sh
	$(B)/tests/bench/micro >$(B)/bench/micro
	$(B)/tests/bench/threads >>$(B)/bench/micro
	$(B)/tests/bench/micro_bpf >>$(B)/bench/micro
	tests/bench/profile.sh >$(B)/bench/profile
	tests/bench/scale.sh >$(B)/bench/scale
	tests/bench/report.py $(addprefix $(B)/bench/,figures micro scale profile) $(PAGE)

# Takes three quarters of an hour on an idle machine. RATES, FLOODS, KINDS and ROUNDS select a part
# of it. To publish the figures: make bench-flood FLOOD_PAGE=docs/performance.md
FLOOD_PAGE ?= $(B)/bench/flood.md

bench-flood: deps-bench
	$(MAKE) WERROR=1 all tests
	tests/bench/flood.sh
	tests/bench/flood_report.py $(B)/bench/flood $(FLOOD_PAGE)

demo: deps-run
	$(MAKE) all
	tests/demo.sh

# Installs the packages of these sections of debian-packages: only what is missing, and asks for
# root only then.
deps: SECTIONS := build
deps-run: SECTIONS := build run
deps-test: SECTIONS := build run test
deps-vm: SECTIONS := build run test suites vm
deps-bench: SECTIONS := build run test suites bench
deps-fresh: SECTIONS := suites fresh
deps-format: SECTIONS := format
deps-lint: SECTIONS := build test format lint
deps-coverage: SECTIONS := build run test coverage
deps-fuzz: SECTIONS := build test fuzz
$(DEPS):
	@want="$$(awk -v sections=' $(SECTIONS) ' -v arch="[$$(dpkg --print-architecture)]" \
		'/^#/ { sub(/:/, "", $$2); on = index(sections, " " $$2 " "); next } \
		on && ($$2 == "" || $$2 == arch) { print $$1 }' debian-packages)"; missing=""; \
	for p in $$want; do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || \
		missing="$$missing $$p"; \
	done; \
	[ -z "$$missing" ] || { echo "installing:$$missing"; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends $$missing; }

# Laid out as here, so that their links work.
INSTALLED_DOCS = $(DESTDIR)$(PREFIX)/share/doc/wgxdp

install: all
	install -D -m 755 $(B)/wgxdp $(DESTDIR)$(PREFIX)/bin/wgxdp
	install -D -m 644 daemon/wgxdp.8 $(DESTDIR)$(PREFIX)/share/man/man8/wgxdp.8
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -d $(DESTDIR)$(PREFIX)/lib/wgxdp
	install -m 755 daemon/wgxdp-setconf daemon/wgxdp-down $(DESTDIR)$(PREFIX)/lib/wgxdp
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|; s|/usr/local/lib/|$(PREFIX)/lib/|' \
		daemon/wgxdp@.service \
		>$(DESTDIR)$(PREFIX)/lib/systemd/system/wgxdp@.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/wgxdp@.service
	install -d $(INSTALLED_DOCS)/docs/performance
	install -m 644 README.md CHANGELOG.md LICENSE $(INSTALLED_DOCS)
	install -m 644 docs/*.md $(INSTALLED_DOCS)/docs
	install -m 644 docs/performance/*.svg $(INSTALLED_DOCS)/docs/performance

# Removes what install puts there. An interface that runs goes on until it is stopped.
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/wgxdp $(DESTDIR)$(PREFIX)/share/man/man8/wgxdp.8 \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/wgxdp@.service
	rm -rf $(DESTDIR)$(PREFIX)/lib/wgxdp $(INSTALLED_DOCS)

FORMATTED = $(wildcard daemon/*.[ch] daemon/*/*.[ch] include/*.h bpf/*.[ch] tests/*/*.[ch])

format: deps-format
	clang-format -i $(FORMATTED)

format-check: deps-format
	clang-format --dry-run -Werror $(FORMATTED)

clean:
	rm -rf $(B)

-include $(C_OBJ:.o=.d) $(BPF_TOOLS:.o=.d) $(wildcard $(B)/bpf/*.d)
