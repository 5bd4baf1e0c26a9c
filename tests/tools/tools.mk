# Programs of the tests and benches: any tests/tools/*.c is one program.
# What it links to stands in its own first lines: /* link: -lsqlite3 */

TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(wildcard tests/tools/*.c))

$(BUILD)/tools/%: tests/tools/%.c
	@mkdir -p $(@D)
	$(CC) $(CSTD) $(WARN) $(OPT) $(CFLAGS) $< \
		$$(sed -n '1,5s,^/\* link: \(.*\) \*/$$,\1,p' $<) -o $@

tools: $(TOOLS)
.PHONY: tools
