# The extension clinic_cache.so for systems that no test runs on: does it compile
# without a warning, and what would it need there?
#
# The headers of jansson, yajl, SQLite and OpenSSL are this machine's (the same on
# every system but for sizes that the core does not use). Their libraries are not
# here, so it is linked with stand-ins that have just the functions it may use: what
# else were missing, the linker says.

CROSS := aarch64-linux-gnu x86_64-w64-mingw32
CROSS_DIR := $(BUILD)/cross
CROSS_HEADERS := sqlite3.h sqlite3ext.h jansson.h jansson_config.h yajl openssl
CROSS_CFLAGS := $(CSTD) $(WARN) -O2 -fvisibility=hidden -MMD -MP -I. -Icommon -I$(CROSS_DIR)/include \
	-DCLINIC_SYNC_VERSION='"$(VERSION)"' -DCACHE_LOADABLE -DCLINIC_CACHE_API=
CROSS_CFLAGS_aarch64-linux-gnu := -fPIC
CROSS_CFLAGS_x86_64-w64-mingw32 := -D__USE_MINGW_ANSI_STDIO=1 -D_WIN32_WINNT=0x0601

# Only what is named: with all of /usr/include the other system's headers would not be missed.
$(CROSS_DIR)/include: Makefile tests/tools/cross.mk
	@rm -rf $@ && mkdir -p $@
	@for dir in /usr/include/$$($(CC) -dumpmachine) /usr/include; do \
		for name in $(CROSS_HEADERS); do \
			[ ! -e $$dir/$$name ] || cp -rL $$dir/$$name $@; \
		done; \
	done

cross_obj = $(patsubst %.c,$(CROSS_DIR)/$(1)/%.o,$(LOADABLE_CORE))
define cross_rules
$(CROSS_DIR)/$(1)/%.o: %.c | $(CROSS_DIR)/include
	@mkdir -p $$(@D)
	$$(call say,CC)$(1)-gcc $$(CROSS_CFLAGS) $$(CROSS_CFLAGS_$(1)) -c $$< -o $$@
-include $$(patsubst %.o,%.d,$$(call cross_obj,$(1)))
endef
$(foreach system,$(CROSS),$(eval $(call cross_rules,$(system))))

cross-objects: $(foreach system,$(CROSS),$(call cross_obj,$(system)))
	@:

check-cross: | $(CHECK_DIR)
	@$(MAKE) --no-print-directory -j2 cross-objects
	@$(call run_tap,cross) --exec 'tests/tools/cross.sh $(CROSS_DIR)' $(CROSS)

.PHONY: cross-objects
