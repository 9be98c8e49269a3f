# walhouse: two server libraries and a client program, from one make and one make install.
#   make, make install      build and install for the PostgreSQL that PG_CONFIG names
#   make help               every target with a line of help

PG_CONFIG ?= pg_config

# The version stands in walhouse.control alone.
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" walhouse.control)

# src/rooms says which rooms there are and in which order they are linked and their SQL is joined.
ROOMS := $(shell sed -n 's/^\([a-z]*\):.*/\1/p' src/rooms)
OUTPUT_ROOMS := wire base output
MAIN_ROOMS := $(filter-out output client openlineage,$(ROOMS))

room_objs = $(patsubst %.c,%.o,$(wildcard $(foreach r,$(1),src/$(r)/*.c)))
ROOM_SQL := $(wildcard $(foreach r,$(ROOMS),src/$(r)/$(r).sql))
ROOM_HEADERS := $(wildcard src/*/*.h)

MODULE_big = walhouse
OBJS = src/walhouse.o $(call room_objs,$(MAIN_ROOMS))
OUTPUT_OBJS = $(call room_objs,$(OUTPUT_ROOMS))
CLIENT_OBJS = $(call room_objs,client)
POST_OBJS = $(call room_objs,openlineage)

EXTENSION = walhouse
DATA_built = build/walhouse--$(EXTVERSION).sql

# Batches can be compressed where the libraries are there: WITH_LZ4= or WITH_ZSTD= builds without.
has_header = $(shell echo '\#include <$(1)>' | $(or $(CC),cc) $(CPPFLAGS) -E - >/dev/null 2>&1 && echo yes)
WITH_LZ4 := $(call has_header,lz4.h)
WITH_ZSTD := $(call has_header,zstd.h)
# Archives of partitions are compressed where zlib is there, and read and written as they are elsewhere, or with WITH_ZLIB=.
WITH_ZLIB := $(call has_header,zlib.h)
# What posts lineage events needs libcurl; it is left out where that is not there, or with WITH_CURL=.
WITH_CURL := $(call has_header,curl/curl.h)
PROGRAMS_built := walhouse_recv $(if $(WITH_CURL),walhouse_openlineage)
WIRE_LIBS := -lprotobuf-c $(if $(WITH_LZ4),-llz4) $(if $(WITH_ZSTD),-lzstd)

PG_CPPFLAGS = -I$(CURDIR)/src -I$(libpq_srcdir) -DWALHOUSE_VERSION='"$(EXTVERSION)"' \
	$(if $(WITH_LZ4),-DWH_WITH_LZ4) $(if $(WITH_ZSTD),-DWH_WITH_ZSTD) $(if $(WITH_ZLIB),-DWH_WITH_ZLIB)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type
# No other library takes the place of our functions, so the compiler may put one into another.
PG_CFLAGS += -fno-semantic-interposition
# Both libraries meet in one process: each shows only what PostgreSQL looks up, and uses its own code. A list does it, not
# -fvisibility=hidden, because before version 16 that hides the SQL functions and the magic block too.
WALHOUSE_LDFLAGS = -Wl,-Bsymbolic -Wl,--version-script=$(CURDIR)/src/exports.map
SHLIB_LINK = $(WALHOUSE_LDFLAGS) $(libpq) $(WIRE_LIBS) $(if $(WITH_ZLIB),-lz)

EXTRA_CLEAN = build walhouse_output$(DLSUFFIX) walhouse_recv walhouse_openlineage $(OUTPUT_OBJS) $(CLIENT_OBJS) $(POST_OBJS) $(OUTPUT_OBJS:.o=.bc) \
	$(OBJS:.o=.bc)

# Without PostgreSQL's build files there are still the targets that bring them, or do without.
HOUSE_TARGETS = help deps test one accept lint lint-selftest format proto proto-check demo bench stress leak histories matrix mutants perturbation
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifneq ($(PGXS),)
include $(PGXS)
else ifeq ($(filter $(HOUSE_TARGETS),$(MAKECMDGOALS)),)
$(error $(PG_CONFIG) finds no PostgreSQL to build for: try `make deps`, or set PG_CONFIG)
endif

all: walhouse_output$(DLSUFFIX) $(PROGRAMS_built)

# Debian builds PostgreSQL without autodepend: every object depends on every header.
$(OBJS) $(OUTPUT_OBJS) $(CLIENT_OBJS) $(POST_OBJS): $(ROOM_HEADERS)
$(shlib) walhouse_output$(DLSUFFIX): src/exports.map

walhouse_output$(DLSUFFIX): $(OUTPUT_OBJS)
	$(CC) $(CFLAGS) $(OUTPUT_OBJS) $(LDFLAGS) $(LDFLAGS_SL) $(WALHOUSE_LDFLAGS) $(WIRE_LIBS) -shared -o $@

# The generated code's names would pass for SQL functions in src/exports.map.
src/wire/walhouse.pb-c.o: override CFLAGS += -fvisibility=hidden

# The client takes the format and, from libpgcommon, StringInfo; of the server nothing.
walhouse_recv: $(CLIENT_OBJS) $(call room_objs,wire)
	$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDFLAGS_EX) -L$(pkglibdir) -lpgcommon -lpgport $(libpq) $(WIRE_LIBS) -lm -o $@

walhouse_openlineage: $(POST_OBJS) src/client/signals.o
	$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDFLAGS_EX) -L$(pkglibdir) -lpgcommon -lpgport $(libpq) -lcurl -lm -o $@

install: install-programs
install-programs: walhouse_output$(DLSUFFIX) $(PROGRAMS_built)
	$(MKDIR_P) '$(DESTDIR)$(pkglibdir)' '$(DESTDIR)$(bindir)'
	$(INSTALL_SHLIB) walhouse_output$(DLSUFFIX) '$(DESTDIR)$(pkglibdir)/'
	$(INSTALL_PROGRAM) $(PROGRAMS_built) '$(DESTDIR)$(bindir)/'

uninstall: uninstall-programs
uninstall-programs:
	rm -f '$(DESTDIR)$(pkglibdir)/walhouse_output$(DLSUFFIX)' '$(DESTDIR)$(bindir)/walhouse_recv' '$(DESTDIR)$(bindir)/walhouse_openlineage'

proto: ## write the C code of src/wire/walhouse.proto again, after a change of it
	cd src/wire && protoc-c --c_out=. walhouse.proto

proto-check: ## fail where src/wire/walhouse.pb-c.[ch] are not what protoc-c writes
	@test/unit/proto-check

# A unit test is named after its room, and is linked with that room's sources (or those that UNIT_SOURCES_<test> names),
# built anew with the sanitizers; without a server, so libpgcommon stands in.
UNIT_TESTS := $(patsubst test/unit/%.c,build/unit/%,$(wildcard test/unit/*.c))
UNIT_SOURCES_partition_plan := src/partition/plan.c
UNIT_SOURCES_client_assemble := src/client/assemble.c $(wildcard src/wire/*.c)
UNIT_SOURCES_client_golden := $(UNIT_SOURCES_client_assemble)
unit_sources = $(or $(UNIT_SOURCES_$(1)),$(wildcard src/$(firstword $(subst _, ,$(1)))/*.c))
UNIT_CFLAGS = -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -U_FORTIFY_SOURCE

.SECONDEXPANSION:
build/unit/%: test/unit/%.c test/unit/tap.h $$(call unit_sources,$$*) $(ROOM_HEADERS)
	@mkdir -p build/unit
	$(CC) $(filter-out -O2 -D_FORTIFY_SOURCE=2,$(CFLAGS) $(CPPFLAGS)) $(UNIT_CFLAGS) $(filter %.c,$^) \
		$(LDFLAGS) -L$(pkglibdir) -lpgcommon -lpgport $(libpq) $(WIRE_LIBS) -lm -o $@

# What the TAP tests of the stream hold batches to.
build/repack: test/tap/lib/repack.c src/wire/walhouse.pb-c.c src/wire/walhouse.pb-c.h
	@mkdir -p build
	$(CC) $(CFLAGS) $(CPPFLAGS) $(filter %.c,$^) $(LDFLAGS) -lprotobuf-c -o $@

# What the parser says of the columns of queries, beside which lineage is held.
build/origins: test/tap/lib/origins.c
	@mkdir -p build
	$(CC) $(CFLAGS) -I$(libpq_srcdir) $< $(LDFLAGS) $(libpq) -o $@

unit: proto-check $(UNIT_TESTS) ## unit tests in C, without a server
	@for t in $(UNIT_TESTS); do echo "# $$t"; ASAN_OPTIONS=detect_leaks=0 $$t || exit 1; done

golden: build/unit/client_golden ## write the golden files of the stream again, after a change of the format
	ASAN_OPTIONS=detect_leaks=0 $< --write test/golden

# A fuzz target is built by clang, of the wire room's sources; SECONDS says how long it runs. What it finds and keeps goes into
# build/fuzz; test/fuzz/corpus and the golden files are what it starts from.
FUZZ_CLANG ?= clang
FUZZ_SECONDS = $(if $(filter command environment,$(origin SECONDS)),$(SECONDS),60)
FUZZ_CFLAGS = -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -DWH_INFLATE_LIMIT=1048576 -Wno-ignored-attributes

build/fuzz/%: test/fuzz/%.c $(wildcard src/wire/*.c) $(ROOM_HEADERS)
	@mkdir -p build/fuzz
	$(FUZZ_CLANG) $(FUZZ_CFLAGS) $(CPPFLAGS) $(filter %.c,$^) -L$(pkglibdir) -lpgcommon -lpgport $(WIRE_LIBS) -lm -o $@

fuzz: $(patsubst test/fuzz/%.c,build/fuzz/%,$(wildcard test/fuzz/*.c)) ## libFuzzer over the reader of the stream: SECONDS=600
	@for t in $^; do \
		mkdir -p $$t.corpus && cp test/golden/*.bin $$t.corpus && \
		nice -n 10 $$t -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -malloc_limit_mb=256 -rss_limit_mb=1024 -timeout=10 \
			-artifact_prefix=build/fuzz/ -print_final_stats=1 $$t.corpus test/fuzz/corpus >$$t.log 2>&1 || \
			{ tail -n 40 $$t.log; echo "$$t has found something"; exit 1; }; \
		echo "# $$t"; grep -E 'cov:' $$t.log | tail -n 1; grep -E '^stat::|^Done' $$t.log; done

.PHONY: install-programs uninstall-programs proto proto-check unit golden fuzz

# A line of a room's SQL that is @file@ alone stands for that file of the room.
build/walhouse--$(EXTVERSION).sql: src/preamble.sql $(ROOM_SQL) $(wildcard src/*/*.html src/*/*.css src/*/*.js) src/rooms walhouse.control
	mkdir -p build
	awk '!/^@[a-z.]+@$$/ {print; next} \
		{f = FILENAME; sub("[^/]*$$", substr($$0, 2, length($$0) - 2), f); while ((r = (getline line < f)) > 0) print line} \
		r < 0 {print f " cannot be read" > "/dev/stderr"; exit 1}' src/preamble.sql $(ROOM_SQL) > $@.new
	mv $@.new $@

# ---- The development house: everything below runs in throw-away sandboxes and leaves the work tree as it was.

.PHONY: $(HOUSE_TARGETS)

help: ## this list
	@echo "make                build the two libraries and the client for PG_CONFIG's PostgreSQL"
	@echo "make install        install them there"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "make %-14s %s\n", $$1, $$2}'

deps: ## install the packages that building and testing need (Debian; as root)
	@test/deps

test: ## all tests, in private servers; SUITES="lint unit regress isolation tap pgtap" chooses
	@test/sandbox test/suites

one: ## one test by its name: make one T=output_types
	@test -n "$(T)" || { echo "usage: make one T=name" >&2; exit 2; }
	@T=$(T) test/sandbox test/suites

accept: ## take the result of a regress or isolation test as expected, showing the difference: T=name
	@test -n "$(T)" || { echo "usage: make accept T=name" >&2; exit 2; }
	@test/accept $(T)

lint: ## the rules that need no server
	@test/lint/run

lint-selftest: ## prove that each rule of lint can fail
	@test/lint/selftest/run

format: ## clang-format 14 over all C files, and long lines broken; ROOM=feed: one room alone
	@test/lint/format $(if $(ROOM),src/$(ROOM))

demo: ## two throw-away servers, a shop, and a star that fills while you watch; KEEP=1 keeps them
	@test/sandbox test/demo/run

bench: ## figures beside PostgreSQL's own replication and other plugins; PART=decode: one part (stream, load, decode, partition, explain, copy, resync)
	@test/deps bench
	@NO_DEPS=1 test/sandbox test/bench/run

stress: ## PostgreSQL's own regression suite through the plugin, in several ways; ASSERT=1: a server with assertions
	@test/stress/start

mutants: ## each of many deliberate mistakes must make its test fail (slow); MISTAKE=text: some of them; DRY=1: only look
	@$(if $(DRY),DRY=1 test/mutants/run,test/sandbox test/mutants/run)

leak: ## does memory stay flat over ten million changes in one session? CHANGES=10000000
	@test/sandbox test/stress/leak

histories: ## random histories against an oracle: HISTORIES=10000 JOBS=2; SEED=17: one of them, made smaller if it differs
	@test/sandbox bash -c 'test/build && exec test/histories/run'

year: ## a feed through a longer year of DDL, lost slots, failovers and restores: ROUNDS=50 (of four statements) SEED=1
	@ROUNDS=$(or $(ROUNDS),50) SEED=$(or $(SEED),1) T=480_year TEST_LIMIT=7200 test/sandbox test/suites

perturbation: ## column lineage beside what happens to random queries when a column changes: QUERIES=5000 SEED=1
	@QUERIES=$(or $(QUERIES),5000) SEED=$(or $(SEED),1) T=320_lineage_perturbation TEST_LIMIT=7200 test/sandbox test/suites

matrix: ## build with -Werror and test on other PostgreSQL versions (slow; as root): VERSIONS="17 18"
	@test/matrix $(VERSIONS)
