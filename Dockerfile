# Both services: `docker build --target ingestor .` and `docker build --target notifier .`
# cargo-chef puts the dependencies into their own layer: a change of killfeed's code does not compile them again.

FROM rust:1.95.0-slim-trixie AS chef
RUN cargo install cargo-chef --locked --version 0.1.78
WORKDIR /src
# The image has the right compiler. With rust-toolchain.toml, rustup would fetch components that a build does not need.
ENV RUSTUP_TOOLCHAIN=1.95.0

FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
COPY --from=plan /src/recipe.json recipe.json
RUN cargo chef cook --profile dist --locked --package killfeed-ingestor --package killfeed-notifier --recipe-path recipe.json
COPY . .
RUN cargo build --profile dist --locked --package killfeed-ingestor --package killfeed-notifier --bins \
    && mkdir -p /out/data \
    && cp target/dist/killfeed-ingestor target/dist/killfeed-notifier /out/

# Only libc: no shell, no package manager. Certificates of authorities are compiled into the programs. 65532 is `nonroot`.
FROM gcr.io/distroless/cc-debian13:nonroot AS runtime
# A named volume that is mounted here inherits the owner. The programs write nowhere else, so the root can be read-only.
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/data /run/killfeed
USER 65532:65532
VOLUME /data
STOPSIGNAL SIGTERM

FROM runtime AS ingestor
COPY --from=build /out/killfeed-ingestor /usr/local/bin/
# The ingestor listens only inside the container until an operator changes that (INGESTOR_GRPC_ADDR with a tokens file).
ENV INGESTOR_DATA_DIR=/data
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["killfeed-ingestor", "health"]
ENTRYPOINT ["killfeed-ingestor"]

FROM runtime AS notifier
COPY --from=build /out/killfeed-notifier /usr/local/bin/
# glibc's allocator keeps memory per thread and returns little of it. Two arenas are enough (docs/performance.md).
ENV NOTIFIER_DATA_DIR=/data MALLOC_ARENA_MAX=2
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["killfeed-notifier", "health"]
ENTRYPOINT ["killfeed-notifier"]
