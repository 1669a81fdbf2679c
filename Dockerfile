# Two images from one build: `tonearm`, every role, and `demo`, what makes and publishes the demo library.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bins \
    && install -D -t /out target/release/tonearm target/release/devstack

FROM debian:bookworm-slim AS tonearm
# curl is what the health checks ask with.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/tonearm --create-home tonearm
COPY --from=build /out/tonearm /usr/local/bin/tonearm
USER tonearm
WORKDIR /var/lib/tonearm
# Made here, so that a volume laid over it belongs to the user who writes it.
RUN mkdir data
ENTRYPOINT ["tonearm"]

FROM tonearm AS demo
USER root
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/devstack /usr/local/bin/devstack
USER tonearm
ENTRYPOINT ["devstack"]
