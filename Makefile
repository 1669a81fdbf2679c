# Everything a person runs; `make up` first.

TARGET := $(or $(CARGO_TARGET_DIR),target)
DEVSTACK := $(TARGET)/release/devstack
BENCHES := event route hit edge stores ingest

FUZZ := post events cloud_event cmcd listens inflate edge_request edge_range edge_token edge_fields edge_telemetry \
	edge_index_log edge_logs edge_journal

.PHONY: check-clients check-edge-clients check-openapi chaos-ingest chaos-edge model-edge test-versitygw fuzz up down reset deps test lint bench $(addprefix bench-,$(BENCHES))

# Builds and starts everything on this machine, plays one listen, and stays until Ctrl-C; with DETACH=1 it returns then.
up: deps
	@cargo build --release --locked --bins
	@exec $(DEVSTACK) up $(if $(filter-out 0,$(DETACH)),--detach)

# Stops what `make up` started.
down:
	@[ ! -x $(DEVSTACK) ] || exec $(DEVSTACK) down

# Stops it and deletes its data; what was fetched or made once stays in .tonearm/cache.
reset:
	@[ ! -x $(DEVSTACK) ] || exec $(DEVSTACK) reset

# Installs what is missing, where it may; elsewhere says what is.
deps:
	@scripts/prerequisites

# Every test, against real servers that the tests start themselves on free ports. They mostly wait for those: two at a time
# for each core.
test: deps
	cargo build --locked --workspace --bins
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} cargo test --locked --workspace

# Kills and stops of every part of ingestion under load, and after each round the proof; SEED= repeats a plan. `make test`
# has five rounds of it.
chaos-ingest: deps
	cargo build --locked -p tonearm -p devstack --bins
	ROUNDS=$(or $(ROUNDS),20) SEED=$(SEED) cargo test --locked -p tonearm --test chaos

# Kills an edge in mid-fill, again and again on the same folder: no listener ever gets a wrong byte. ROUNDS=50.
chaos-edge: deps
	cargo build --locked -p devstack --bins
	ROUNDS=$(or $(ROUNDS),50) cargo test --locked -p cdn-edge --test it -- --nocapture killed::

# Random requests, purges, failures, restarts and kills of an edge against a reference cache; SEED= repeats a round.
model-edge: deps
	cargo build --locked -p devstack --bins
	ROUNDS=$(or $(ROUNDS),50) SEED=$(SEED) cargo test --locked -p cdn-edge --test it -- --nocapture cache_model::

# The edge's tests, and an operator's commands, with versitygw as the bucket's server.
test-versitygw: deps
	@scripts/prerequisites go
	cargo build --locked -p tonearm -p devstack --bins
	TONEARM_TEST_S3=versitygw cargo test --locked -p cdn-edge --test it
	TONEARM_TEST_S3=versitygw cargo test --locked -p tonearm --test it -- edges::

# Formatting, clippy with warnings denied, and docker-compose.yml against compose's own rules.
lint: deps
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/check-compose

# liblistenbrainz, the CloudEvents SDK, curl and a browser post to real roles, and each event is found in ClickHouse.
check-clients: deps
	@scripts/prerequisites venv curl zstd chromium
	cargo build --locked --bins
	cargo test --locked -p tonearm --test it -- --ignored --nocapture each_has_posted_events

# boto3 uploads a release, and curl, ffmpeg, ffprobe, hls.js in a browser and h2load read it through edges.
check-edge-clients: deps
	@scripts/prerequisites venv curl chromium h2load
	cargo build --locked --bins
	cargo test --locked -p tonearm --test it -- --ignored --nocapture each_reads_through_an_edge

# schemathesis asks ingest everything that its /openapi.json describes, EXAMPLES times each; 5xx and what is not
# described are faults.
check-openapi: deps
	@scripts/prerequisites venv
	cargo build --locked --bins
	EXAMPLES=$(or $(EXAMPLES),100) cargo test --locked -p tonearm --test it -- --ignored --nocapture no_answer_is_a_5xx

# Fuzzes every parser of what strangers send, or the one that FUZZ names, for SECONDS each. Needs cargo-fuzz and a
# nightly Rust; without them `cargo check --manifest-path fuzz/Cargo.toml` says at least that it builds.
fuzz: deps
	@for target in $(FUZZ); do \
		mkdir -p fuzz/corpus/$$target; \
		TMPDIR=$(firstword $(wildcard /dev/shm /tmp)) cargo +nightly fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target \
			-- -max_total_time=$(or $(SECONDS),60) || exit 1; \
	done

# Every benchmark, or one of them; each prints a table and writes target/bench/NAME.json.
bench: $(addprefix bench-,$(BENCHES))

$(addprefix bench-,$(BENCHES)): bench-%: deps
	@scripts/prerequisites wrk taskset $(if $(filter hit edge,$*),nginx) $(if $(filter edge,$*),varnishd traffic_server unshare ip)
	@cargo build --release --locked --bins
	cargo bench --locked -p tonearm --bench $*
