# Figures, one JSON line each; bench/README.md says how they are taken.
#
#   make bench-latency  from commit to cache, each table; ROUNDS=100 PATIENTS=1000
#   make bench-first-sync       1,000,000 rows into an empty cache; PATIENTS=50000

bench-latency: all tools
	@CLINIC_BUILD=$(BUILD) perl bench/latency.pl

bench-first-sync: all tools
	@CLINIC_BUILD=$(BUILD) perl bench/first_sync.pl

bench: bench-latency bench-first-sync

.PHONY: bench bench-latency bench-first-sync
