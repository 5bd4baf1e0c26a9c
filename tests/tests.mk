# Tests: one part of `make check`, or some of its tests.
#
#   make check-sql      also: lint, isolation, unit, cross, fuzz, e2e, consistency
#   make check-sql SQL_TESTS=tests/sql/publish.sql      also: ISOLATION_TESTS, UNIT_TESTS ...
#   make soak           the consistency test: MINUTES=10, SEED=, NOTIFY_MODE=worker, commit, off or random
#   make mutants        do the tests see the mistakes they exist for?
#
# Programs exist in three builds: build (as users get them), build/asan
# (AddressSanitizer and UndefinedBehaviorSanitizer, for unit and end-to-end
# tests) and build/fuzz (clang's libFuzzer). What is slow or weighs memory
# under a sanitizer (consistency, sizes, times) uses the first.

include tests/tools/tools.mk
include tests/tools/cross.mk

CHECK_PARTS := lint sql isolation unit cross fuzz e2e consistency
CHECK_DIR = $(BUILD)/check
FUZZ_SECONDS ?= 60
MINUTES ?= 10

SQL_TESTS ?= $(sort $(wildcard tests/sql/*.sql))
ISOLATION_TESTS ?= $(patsubst tests/isolation/specs/%.spec,%,$(sort $(wildcard tests/isolation/specs/*.spec)))
UNIT_TESTS ?= $(sort $(wildcard tests/unit/*.c))
FUZZ_TESTS ?= $(sort $(wildcard tests/fuzz/*.c))
E2E_TESTS ?= $(filter-out tests/e2e/consistency.t,$(sort $(wildcard tests/e2e/*.t)))

ASAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZ := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

run_tap = tests/tools/run_tap.pl --result $(CHECK_DIR)/$(1).result
with_cluster = PG_CONFIG=$(PG_CONFIG) tests/tools/with_cluster.sh $(CHECK_DIR)/$(1).cluster

# Each part in a make of its own: one that fails does not keep the others
# from running, and the summary counts what each left behind.
check:
	@rm -rf $(CHECK_DIR) && mkdir -p $(CHECK_DIR)
	-@$(MAKE) --no-print-directory -j2 all tools asan
	@for part in $(CHECK_PARTS); do \
		echo; echo "== check-$$part"; \
		$(MAKE) --no-print-directory check-$$part || true; \
	done
	@tests/tools/summary.sh $(CHECK_DIR) $(CHECK_PARTS)

$(CHECK_DIR):
	@mkdir -p $@

lint: check-lint
check-lint: programs | $(CHECK_DIR)
	@PG_CONFIG=$(PG_CONFIG) $(call run_tap,lint) --exec 'tests/tools/lint.sh' $(BUILD)

check-sql: extension | $(CHECK_DIR)
	@$(call with_cluster,sql) $(call run_tap,sql) --exec tests/tools/pgtap_file.sh $(SQL_TESTS)

check-isolation: extension | $(CHECK_DIR)
	@PG_CONFIG=$(PG_CONFIG) $(call with_cluster,isolation) $(call run_tap,isolation) \
		--exec "tests/tools/isolation.sh $(CHECK_DIR)/isolation" $(ISOLATION_TESTS)

# ---- sanitized programs and unit tests ----------------------------------------

asan:
	@$(MAKE) --no-print-directory -s programs tools bench-generators BUILD=$(BUILD)/asan SANITIZE='$(ASAN)' OPT='-O1 -g'

check-unit: | $(CHECK_DIR)
	@$(MAKE) --no-print-directory -j2 unit-programs BUILD=$(BUILD)/asan SANITIZE='$(ASAN)' OPT='-O1 -g' \
		UNIT_TESTS='$(UNIT_TESTS)'
	@CMOCKA_MESSAGE_OUTPUT=TAP $(call run_tap,unit) --exec 'timeout 120' \
		$(patsubst tests/unit/%.c,$(BUILD)/asan/unit/%,$(UNIT_TESTS))

# The first word of a test's name says which objects it is linked with.
objects_of = $(if $(filter relay_%,$(1)),$(filter-out %/main.o,$(RELAY_OBJ)) $(COMMON_OBJ)) \
	$(if $(filter client_%,$(1)),$(filter-out %/main.o,$(CLI_OBJ)) $(CACHE_OBJ) $(COMMON_OBJ)) \
	$(if $(filter common_%,$(1)),$(COMMON_OBJ))
# What a test puts its own function in the place of: between two objects, so not within one file.
comma := ,
WRAPPED_relay_feed := feed_entry_of_changes
WRAPPED_relay_catch_up := upstream_catch_up upstream_catch_up_cancel upstream_catch_up_pause upstream_catch_up_resume
WRAPPED_relay_pq_round := pq_link_new pq_link_open pq_link_query pq_link_is_up pq_link_good
TEST_LIBS = $(PQ_LIBS) $(WS_LIBS) $(JSON_LIBS) $(YAJL_LIBS) $(SQLITE_LIBS) -lm

.SECONDEXPANSION:

unit-programs: $(LOADABLE) $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_TESTS))
$(BUILD)/unit/%: tests/unit/%.c $$(call objects_of,$$*)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_OWN) $(CPPFLAGS_OWN) -Irelay -Iclient $(PQ_CFLAGS) $(CFLAGS) $(LDFLAGS) \
		-MF $@.d $(filter %.c %.o,$^) $(TEST_LIBS) -lcmocka \
		$(addprefix -Wl$(comma)--wrap=,$(WRAPPED_$*)) -o $@

# ---- fuzzing ------------------------------------------------------------------

fuzz-programs: $(patsubst tests/fuzz/%.c,$(BUILD)/bin/%,$(FUZZ_TESTS))
$(BUILD)/bin/%: tests/fuzz/%.c $$(call objects_of,$$*)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_OWN) $(CPPFLAGS_OWN) -Irelay -Iclient $(PQ_CFLAGS) $(CFLAGS) $(LDFLAGS) \
		-fsanitize=fuzzer -MF $@.d $(filter %.c %.o,$^) $(TEST_LIBS) -o $@

check-fuzz: | $(CHECK_DIR)
	@$(MAKE) --no-print-directory -j2 fuzz-programs BUILD=$(BUILD)/fuzz CC=clang SANITIZE='$(FUZZ)' \
		OPT='-O1 -g' FUZZ_TESTS='$(FUZZ_TESTS)'
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(call run_tap,fuzz) --jobs 2 --exec tests/tools/fuzz_one.sh \
		$(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/bin/%,$(FUZZ_TESTS))

# ---- end to end ---------------------------------------------------------------

check-e2e: all tools asan bench-programs | $(CHECK_DIR)
	@CLINIC_BUILD=$(BUILD)/asan CLINIC_PLAIN_BUILD=$(BUILD) PG_CONFIG=$(PG_CONFIG) \
		$(call run_tap,e2e) --jobs 2 $(E2E_TESTS)

check-consistency: all tools | $(CHECK_DIR)
	@CLINIC_BUILD=$(BUILD) CLINIC_PLAIN_BUILD=$(BUILD) PG_CONFIG=$(PG_CONFIG) \
		$(call run_tap,consistency) --verbose $(wildcard tests/e2e/consistency.t)

soak: all tools | $(CHECK_DIR)
	@CLINIC_BUILD=$(BUILD) PG_CONFIG=$(PG_CONFIG) MINUTES=$(MINUTES) $(if $(SEED),SEED=$(SEED)) \
		$(call run_tap,soak) --verbose tests/e2e/consistency.t

mutants: all tools
	@PG_CONFIG=$(PG_CONFIG) tests/mutants/run.sh

.PHONY: soak mutants check lint asan unit-programs fuzz-programs $(addprefix check-,$(CHECK_PARTS))
