# clinic_sync: the PostgreSQL extension (PGXS), the relay and the cache client.
#
#   make                build all; make programs: without the extension
#   make demo           a clinic's morning, end to end, on a private server (ONCE=1: then end)
#   make check          everything that is tested
#   make lint           what a machine can say about the source
#   make clean          remove what was built
#   make help           this list and the goals of tests, benches and packaging; V=1 shows commands

VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" clinic_sync.control)
PG_CONFIG ?= pg_config
BUILD := build

# `make demo`, `make check` and `make bench` must work on a machine that has only
# git and make: what is missing is installed before anything below looks for it. A
# make inside of make has its packages already.
ifeq ($(MAKELEVEL),0)
ifneq ($(filter demo check bench bench-%,$(MAKECMDGOALS)),)
PACKAGE_GROUPS := run $(if $(filter check,$(MAKECMDGOALS)),check lint)
DEPS := $(shell PG_CONFIG='$(PG_CONFIG)' tests/tools/install_packages.sh $(PACKAGE_GROUPS) >&2 || echo failed)
ifneq ($(DEPS),)
$(error packages are missing, see above)
endif
endif
endif

ifeq ($(origin CC),default)
CC := gcc
endif
CSTD := -std=c11 -D_GNU_SOURCE
WARN := -Wall -Wextra -Werror
OPT ?= -O2 -g
SANITIZE ?=
CPPFLAGS_OWN := -I. -Icommon -DCLINIC_SYNC_VERSION='"$(VERSION)"'
CFLAGS_OWN := $(CSTD) $(WARN) $(OPT) $(SANITIZE) -fPIC -fvisibility=hidden -MMD -MP

PQ_CFLAGS = $(shell pkg-config --cflags libpq)
PQ_LIBS = $(shell pkg-config --libs libpq)
WS_CFLAGS = $(shell pkg-config --cflags libwebsockets)
WS_LIBS = -lwebsockets -lssl -lcrypto
JSON_LIBS = -ljansson
YAJL_LIBS = -lyajl
SQLITE_LIBS = -lsqlite3

COMMON_SRC := $(wildcard common/*.c)
RELAY_SRC := $(wildcard relay/*.c)
CACHE_SRC := $(wildcard client/cache_*.c client/platform_*.c)
LOADABLE_SRC := $(wildcard client/loadable_*.c) client/event_json.c
CLI_SRC := $(filter-out $(CACHE_SRC) client/loadable_%.c,$(wildcard client/*.c))

# One short line a step; V=1 shows the commands.
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $@;)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
COMMON_OBJ := $(call obj,$(COMMON_SRC))
RELAY_OBJ := $(call obj,$(RELAY_SRC))
CACHE_OBJ := $(call obj,$(CACHE_SRC))
CLI_OBJ := $(call obj,$(CLI_SRC))

RELAY := $(BUILD)/bin/clinic-relay
CACHE := $(BUILD)/bin/clinic-cache
LIB_A := $(BUILD)/lib/libclinic_cache.a
LIB_SO := $(BUILD)/lib/libclinic_cache.so.1
LOADABLE := $(BUILD)/lib/clinic_cache.so

.DEFAULT_GOAL := all
all: extension programs

# ---- the extension, by PGXS -------------------------------------------------

PGXS_MAKE = +@$(MAKE) --no-print-directory $(if $(V),,-s) -f extension/pgxs.mk PG_CONFIG=$(PG_CONFIG)

extension:
	$(PGXS_MAKE)

# ---- the programs -----------------------------------------------------------

programs: $(RELAY) $(CACHE) $(LIB_A) $(LIB_SO) $(LOADABLE)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_OWN) $(CPPFLAGS_OWN) $(PQ_CFLAGS) $(WS_CFLAGS) $(CFLAGS) -c $< -o $@

-include $(patsubst %.o,%.d,$(COMMON_OBJ) $(RELAY_OBJ) $(CACHE_OBJ) $(CLI_OBJ))

$(RELAY): $(RELAY_OBJ) $(COMMON_OBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(SANITIZE) $(LDFLAGS) $^ $(PQ_LIBS) $(WS_LIBS) $(JSON_LIBS) $(SQLITE_LIBS) -lm -o $@

$(CACHE): $(CLI_OBJ) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(SANITIZE) $(LDFLAGS) $(CLI_OBJ) $(LIB_A) $(WS_LIBS) $(JSON_LIBS) $(YAJL_LIBS) $(SQLITE_LIBS) -lm -o $@

$(LIB_A): $(CACHE_OBJ) $(COMMON_OBJ)
	@mkdir -p $(@D)
	$(call say,AR)rm -f $@ && $(AR) rcs $@ $^

$(LIB_SO): $(CACHE_OBJ) $(COMMON_OBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(SANITIZE) $(LDFLAGS) -shared -Wl,-soname,$(@F) $^ $(JSON_LIBS) $(YAJL_LIBS) $(SQLITE_LIBS) -lcrypto -lm -o $@
	@ln -sf $(@F) $(BUILD)/lib/libclinic_cache.so

# The core once more, for an app's own SQLite: its functions come from the loader's
# table, and nothing but the entry points is seen from outside.
LOADABLE_CFLAGS = $(CFLAGS_OWN) $(CPPFLAGS_OWN) -DCACHE_LOADABLE -DCLINIC_CACHE_API=
LOADABLE_CORE := $(LOADABLE_SRC) $(CACHE_SRC) $(COMMON_SRC)
LOADABLE_OBJ := $(patsubst %.c,$(BUILD)/loadable/%.o,$(LOADABLE_CORE))

$(BUILD)/loadable/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(LOADABLE_CFLAGS) $(CFLAGS) -c $< -o $@

-include $(LOADABLE_OBJ:.o=.d)

$(LOADABLE): $(LOADABLE_OBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(SANITIZE) $(LDFLAGS) -shared $(if $(SANITIZE),,-Wl,-z,defs) -Wl,-Bsymbolic $^ \
		$(JSON_LIBS) $(YAJL_LIBS) -lcrypto -lm -o $@

# ---- the rest, one file per subject -----------------------------------------

include tests/tests.mk
-include bench/bench.mk
include packaging/install.mk

demo: all
	@CLINIC_BUILD=$(BUILD) PG_CONFIG=$(PG_CONFIG) ONCE=$(ONCE) tests/e2e/demo.pl

clean:
	$(PGXS_MAKE) clean
	rm -rf $(BUILD)

help:
	@sed -n 's/^#   make/make/p' $(filter %Makefile %.mk,$(MAKEFILE_LIST))

.PHONY: all extension programs demo clean help
