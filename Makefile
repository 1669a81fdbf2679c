# Everything a person runs; `make up` first.

TARGET := $(or $(CARGO_TARGET_DIR),target)
DEVSTACK := $(TARGET)/release/devstack
BENCHES := event route hit

.PHONY: up down reset deps test lint bench $(addprefix bench-,$(BENCHES))

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

# Every test, against real servers that the tests start themselves on free ports.
test: deps
	cargo build --locked --workspace --bins
	cargo test --locked --workspace

# Formatting, clippy with warnings denied, and docker-compose.yml against compose's own rules.
lint: deps
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/check-compose

# Every benchmark, or one of them; each prints a table and writes target/bench/NAME.json.
bench: $(addprefix bench-,$(BENCHES))

$(addprefix bench-,$(BENCHES)): bench-%: deps
	@scripts/prerequisites wrk nginx taskset
	@cargo build --release --locked --bins
	cargo bench --locked -p tonearm --bench $*
