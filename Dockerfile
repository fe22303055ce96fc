# The course-sync image. docs/releasing.md lists the build arguments of a release.
# docker build --build-arg COMMIT="$(git rev-parse HEAD)" -t course-sync .
#
# Both base images can be replaced, for example by a mirror's. The build image needs cargo, a C compiler and Debian's root
# certificates. The runtime image needs only the C library that the build image links against.
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /build

# Embeds the bill of materials (the list of crates) in the program, where image scanners find it.
RUN cargo install --quiet --locked --debug --version '~0.7' cargo-auditable

# Compile only the dependencies, in a layer that is cached until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
COPY crates/simulator/Cargo.toml crates/simulator/
RUN mkdir src crates/simulator/src \
    && echo '//! A placeholder for the simulator.' > crates/simulator/src/lib.rs \
    && echo '//! A placeholder for the library.' > src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo auditable build --profile dist --locked \
    && rm -r src crates

COPY config config
COPY crates crates
COPY migrations migrations
COPY src src
ARG COMMIT=unknown
# Copied files keep their modification times, which may be older than those of the placeholders.
RUN touch crates/simulator/src/lib.rs src/lib.rs src/main.rs \
    && COURSE_SYNC_COMMIT="${COMMIT}" cargo auditable build --profile dist --locked

FROM ${RUNTIME_IMAGE}
ARG COMMIT=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.title="course-sync" \
      org.opencontainers.image.description="Keeps the courses in HubSpot as they are in a Postgres outbox" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"

# Root certificates to verify HubSpot's certificate; small base images have none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/dist/course-sync /usr/local/bin/course-sync

# On the loopback address of a container, neither Prometheus nor probes could reach the port. Publish it to trusted
# networks only. All pages are read-only, and requests with an unknown host name are refused (admin.hosts), which
# prevents DNS rebinding.
ENV COURSE_SYNC__ADMIN__LISTEN=0.0.0.0:9464
# Makes the C library return every freed buffer above 128 KiB to the system. By default it raises this limit
# dynamically and keeps freed buffers: a quarter of the memory that large requests use.
ENV MALLOC_MMAP_THRESHOLD_=131072
EXPOSE 9464

# A numeric id, so that Kubernetes can verify that it is not root. The program writes no files: run the image with
# --read-only --cap-drop=ALL --security-opt=no-new-privileges.
USER 65532:65532
# Open requests have until shutdown.grace (25s) to finish. docker stop kills after 10 s by default: use -t 35.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/course-sync", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/course-sync"]
CMD ["run"]
