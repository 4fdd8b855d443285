# Both services: `docker build --target ingestor .` and `docker build --target notifier .`
# BuildKit's cache mounts keep the registry and the compiled dependencies between builds.

FROM rust:1.95.0-slim-trixie AS build
WORKDIR /src
COPY . .
# The image has the right compiler already; the file would have rustup fetch components that a build does not need.
RUN rm -f rust-toolchain.toml
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --package killfeed-ingestor --package killfeed-notifier --bins \
    && mkdir -p /out/data \
    && cp target/dist/killfeed-ingestor target/dist/killfeed-notifier /out/

# Certificates of authorities are compiled into the programs: the image needs libc and nothing else.
FROM debian:trixie-slim AS runtime
RUN useradd --system --uid 10001 --user-group --no-create-home killfeed
# A named volume that is mounted here takes over the owner.
COPY --from=build --chown=10001:10001 /out/data /data
USER 10001:10001
VOLUME /data
STOPSIGNAL SIGTERM

FROM runtime AS ingestor
COPY --from=build /out/killfeed-ingestor /usr/local/bin/
# Nothing listens beyond the container until an operator says so (INGESTOR_GRPC_ADDR with a tokens file).
ENV INGESTOR_DATA_DIR=/data
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["killfeed-ingestor", "health"]
ENTRYPOINT ["killfeed-ingestor"]

FROM runtime AS notifier
COPY --from=build /out/killfeed-notifier /usr/local/bin/
ENV NOTIFIER_DATA_DIR=/data
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["killfeed-notifier", "health"]
ENTRYPOINT ["killfeed-notifier"]
