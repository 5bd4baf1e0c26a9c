# clinic_sync: the PostgreSQL extension (PGXS), the relay and the cache client.
#
#   make demo           a clinic's morning, end to end, on a private server
#   make check          everything that is tested
#   sudo make install   the extension for PG_CONFIG's server, programs under $(prefix)
#
# `make help` lists the rest.

VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" clinic_sync.control)
PG_CONFIG ?= pg_config
BUILD := build

# The first goal decides whether missing packages are installed: `make demo`
# and `make check` must work on a machine that has only git and make.
ifneq ($(filter demo check,$(MAKECMDGOALS)),)
DEPS := $(shell tests/tools/install_packages.sh >&2 || echo failed)
ifneq ($(DEPS),)
$(error packages are missing, see above)
endif
endif

CC ?= gcc
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
SQLITE_LIBS = -lsqlite3

COMMON_SRC := $(wildcard common/*.c)
RELAY_SRC := $(wildcard relay/*.c)
CACHE_SRC := $(wildcard client/cache_*.c)
CLI_SRC := $(filter-out $(CACHE_SRC),$(wildcard client/*.c))

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
COMMON_OBJ := $(call obj,$(COMMON_SRC))
RELAY_OBJ := $(call obj,$(RELAY_SRC))
CACHE_OBJ := $(call obj,$(CACHE_SRC))
CLI_OBJ := $(call obj,$(CLI_SRC))

RELAY := $(BUILD)/bin/clinic-relay
CACHE := $(BUILD)/bin/clinic-cache
LIB_A := $(BUILD)/lib/libclinic_cache.a
LIB_SO := $(BUILD)/lib/libclinic_cache.so.1

# ---- the extension, by PGXS -------------------------------------------------

EXTENSION := clinic_sync
MODULE_big := clinic_sync
OBJS := $(patsubst %.c,%.o,$(wildcard extension/*.c))
SQL_FULL := sql/$(EXTENSION)--$(VERSION).sql
DATA_built := $(SQL_FULL)
DATA := $(wildcard sql/*--*--*.sql)
PG_CPPFLAGS := -I$(CURDIR)/extension -DCLINIC_SYNC_VERSION='"$(VERSION)"'
PG_CFLAGS := -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-declaration-after-statement
EXTRA_CLEAN := $(BUILD) $(SQL_FULL)

.DEFAULT_GOAL := all
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(PGXS),)
# JIT bitcode would make clang a build dependency for nothing: no function here is inlined.
override with_llvm := no
include $(PGXS)
endif

$(SQL_FULL): $(sort $(wildcard sql/parts/*.sql))
	cat $^ > $@

# ---- the programs -----------------------------------------------------------

programs: $(RELAY) $(CACHE) $(LIB_A) $(LIB_SO)
all: programs

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_OWN) $(CPPFLAGS_OWN) $(PQ_CFLAGS) $(WS_CFLAGS) $(CFLAGS) -c $< -o $@

-include $(patsubst %.o,%.d,$(COMMON_OBJ) $(RELAY_OBJ) $(CACHE_OBJ) $(CLI_OBJ))

$(RELAY): $(RELAY_OBJ) $(COMMON_OBJ)
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) $(LDFLAGS) $^ $(PQ_LIBS) $(WS_LIBS) $(JSON_LIBS) $(SQLITE_LIBS) -lm -o $@

$(CACHE): $(CLI_OBJ) $(LIB_A)
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) $(LDFLAGS) $(CLI_OBJ) $(LIB_A) $(WS_LIBS) $(JSON_LIBS) $(SQLITE_LIBS) -lm -o $@

$(LIB_A): $(CACHE_OBJ) $(COMMON_OBJ)
	@mkdir -p $(@D)
	rm -f $@ && $(AR) rcs $@ $^

$(LIB_SO): $(CACHE_OBJ) $(COMMON_OBJ)
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) $(LDFLAGS) -shared -Wl,-soname,$(@F) $^ $(JSON_LIBS) $(SQLITE_LIBS) -lcrypto -lm -o $@
	ln -sf $(@F) $(BUILD)/lib/libclinic_cache.so

# ---- the rest, one file per subject -----------------------------------------

-include tests/tests.mk
-include bench/bench.mk
-include packaging/install.mk

.PHONY: programs
