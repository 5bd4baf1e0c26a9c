# Figures, one JSON line each; bench/README.md says how they are taken.

bench-latency: all tools
	@CLINIC_BUILD=$(BUILD) perl bench/latency.pl

bench-first-sync: all tools
	@CLINIC_BUILD=$(BUILD) perl bench/first_sync.pl

bench: bench-latency bench-first-sync

.PHONY: bench bench-latency bench-first-sync
