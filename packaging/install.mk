# Installation. The extension goes where PG_CONFIG's server looks for it, all
# else below prefix. DESTDIR stages, as usual.
#
#   make install        PG_CONFIG=pg_config prefix=/usr/local DESTDIR=
#   make uninstall      the same files away; configuration stays

prefix ?= /usr/local
bindir ?= $(prefix)/bin
includedir ?= $(prefix)/include
libdir ?= $(prefix)/lib
mandir ?= $(prefix)/share/man
unitdir ?= $(prefix)/lib/systemd/system
sysconfdir ?= /etc

CONFIG = $(DESTDIR)$(sysconfdir)/clinic-relay/clinic-relay.conf
MAN_SOURCES := $(wildcard docs/*.[1-8].md)
MAN_PAGES := $(patsubst docs/%.md,$(BUILD)/man/%,$(MAN_SOURCES))
section = $(patsubst .%,%,$(suffix $(1)))

PLACES = -e 's|@bindir@|$(bindir)|' -e 's|@sysconfdir@|$(sysconfdir)|' -e 's|@prefix@|$(prefix)|' \
	-e 's|@libdir@|$(libdir)|' -e 's|@includedir@|$(includedir)|' -e 's|@version@|$(VERSION)|'

man: $(MAN_PAGES)
$(BUILD)/man/%: docs/%.md
	@mkdir -p $(@D)
	lowdown -s -Tman -o $@ $<

install: all $(if $(shell command -v lowdown),man)
	$(PGXS_MAKE) install DESTDIR=$(DESTDIR)
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(includedir) $(DESTDIR)$(libdir)/pkgconfig \
		$(DESTDIR)$(unitdir) $(dir $(CONFIG))
	install -m 755 $(RELAY) $(CACHE) $(DESTDIR)$(bindir)
	install -m 644 client/clinic_cache.h $(DESTDIR)$(includedir)
	install -m 644 $(LIB_A) $(DESTDIR)$(libdir)
	install -m 755 $(LIB_SO) $(LOADABLE) $(DESTDIR)$(libdir)
	ln -sf $(notdir $(LIB_SO)) $(DESTDIR)$(libdir)/libclinic_cache.so
	sed $(PLACES) packaging/clinic_cache.pc.in > $(DESTDIR)$(libdir)/pkgconfig/clinic_cache.pc
	sed $(PLACES) packaging/systemd/clinic-relay.service > $(DESTDIR)$(unitdir)/clinic-relay.service
	test -e $(CONFIG) || install -m 644 packaging/clinic-relay.conf $(CONFIG)
	@for page in $(if $(shell command -v lowdown),$(MAN_PAGES)); do \
		install -D -m 644 $$page $(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/} || exit 1; \
	done
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig

uninstall:
	$(PGXS_MAKE) uninstall DESTDIR=$(DESTDIR)
	rm -f $(DESTDIR)$(bindir)/clinic-relay $(DESTDIR)$(bindir)/clinic-cache \
		$(DESTDIR)$(includedir)/clinic_cache.h $(DESTDIR)$(libdir)/libclinic_cache.a \
		$(DESTDIR)$(libdir)/libclinic_cache.so $(DESTDIR)$(libdir)/libclinic_cache.so.1 \
		$(DESTDIR)$(libdir)/clinic_cache.so \
		$(DESTDIR)$(libdir)/pkgconfig/clinic_cache.pc $(DESTDIR)$(unitdir)/clinic-relay.service
	rm -f $(foreach page,$(MAN_PAGES),$(DESTDIR)$(mandir)/man$(call section,$(page))/$(notdir $(page)))

.PHONY: install uninstall man
