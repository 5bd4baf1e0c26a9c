# The server module, by PostgreSQL's own build system (PGXS). Read by the root
# Makefile in a make of its own, since PGXS brings compiler flags and goals
# that the programs must not inherit. Run in the root directory:
#
#   make -f extension/pgxs.mk [install] [PG_CONFIG=...]

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(wildcard $(PGXS)),)
$(error $(PG_CONFIG) knows no PGXS: install postgresql-server-dev for your server, or set PG_CONFIG)
endif

EXTENSION := clinic_sync
VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)
SQL_FULL := sql/$(EXTENSION)--$(VERSION).sql

MODULE_big := $(EXTENSION)
OBJS := $(patsubst %.c,%.o,$(sort $(wildcard extension/*.c)))
DATA_built := $(SQL_FULL)
DATA := $(wildcard sql/$(EXTENSION)--*--*.sql)
PG_CPPFLAGS := -Iextension -DCLINIC_SYNC_VERSION='"$(VERSION)"'
# Without what PostgreSQL's own headers set off, PG_TRY above all (clobbered).
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-declaration-after-statement \
	$(if $(findstring gcc,$(CC)),-Wno-clobbered) -MMD -MP
EXTRA_CLEAN := $(SQL_FULL) $(OBJS:.o=.d)

# PGXS takes the folder of this file for that of the sources.
VPATH := .
# Bitcode for the JIT would make clang a build dependency for nothing: no
# function here is ever inlined into a query.
override with_llvm := no
include $(PGXS)

$(SQL_FULL): $(sort $(wildcard sql/parts/*.sql)) $(EXTENSION).control
	cat $(sort $(wildcard sql/parts/*.sql)) > $@

-include $(OBJS:.o=.d)
