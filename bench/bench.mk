# The benchmark; bench/README.md says how figures are taken and what came out.
#
#   make bench          all figures, under 60 minutes on 2 cores, then bench-compare
#   make bench-quick    the same figures from shorter runs, under 10 minutes
#   make bench-FIGURE   one case: bench/cases/FIGURE.pl (SCALE=quick for the short one)
#   make bench-compare  the last run beside bench/results.jsonl: what moved beyond noise
#   make bench-smoke    does every case work? no figures, under a minute
#   make bench-keep     the last run at full scale becomes bench/results.jsonl and the tables of the docs;
#                       one of some cases replaces their lines
#   make bench-docs     only those tables, from bench/results.jsonl
#
# Lines of results go to stdout and to build/bench-results.jsonl, one JSON
# object a figure. Load generators are C, one program a file in bench/src.
# What one links to stands in its own first lines: /* link: -lpq */; what
# several share lies in bench/src/part.

BENCH_RESULTS = $(BUILD)/bench-results.jsonl
BENCH_PROGRAMS := $(patsubst bench/src/%.c,$(BUILD)/bench/%,$(wildcard bench/src/*.c))
SCALE ?= full
run_cases = @CLINIC_BUILD=$(BUILD) PG_CONFIG=$(PG_CONFIG) BENCH_RESULTS=$(BENCH_RESULTS) perl bench/run.pl

$(BUILD)/bench/%: bench/src/%.c $(wildcard bench/src/part/*)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CSTD) $(WARN) $(OPT) $(SANITIZE) $(PQ_CFLAGS) $(CFLAGS) $< \
		$$(sed -n '1,5s,^/\* link: \(.*\) \*/$$,\1,p' $<) -o $@

bench-generators: $(BENCH_PROGRAMS)
bench-programs: all tools bench-generators

bench: bench-programs
	$(run_cases) --scale full
	@perl bench/compare.pl $(BENCH_RESULTS)

bench-quick: bench-programs
	$(run_cases) --scale quick
	@perl bench/compare.pl $(BENCH_RESULTS)

bench-smoke: bench-programs
	$(run_cases) --scale smoke

bench-compare:
	@perl bench/compare.pl $(BENCH_RESULTS)

bench-keep:
	@perl bench/keep.pl $(BENCH_RESULTS)

bench-docs:
	@perl bench/keep.pl --docs

bench-%: bench-programs
	$(run_cases) --scale $(SCALE) $*
	@perl bench/compare.pl $(BENCH_RESULTS)

.PHONY: bench bench-quick bench-smoke bench-compare bench-keep bench-docs bench-generators bench-programs
