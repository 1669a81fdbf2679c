# Everything a person runs; `make up` first.

TARGET := $(or $(CARGO_TARGET_DIR),target)
DEVSTACK := $(TARGET)/release/devstack

.PHONY: up down reset deps

# Builds and starts everything on this machine, plays one listen, and stays until Ctrl-C; with DETACH=1 it returns then.
up: deps
	@cargo build --release --bins
	@exec $(DEVSTACK) up $(if $(filter-out 0,$(DETACH)),--detach)

# Stops what `make up` started.
down:
	@[ ! -x $(DEVSTACK) ] || exec $(DEVSTACK) down

# Stops it and deletes its data; what was fetched stays.
reset:
	@[ ! -x $(DEVSTACK) ] || exec $(DEVSTACK) reset

# Installs what is missing, where it may; elsewhere says what is.
deps:
	@scripts/prerequisites
