# The image of course-sync (docs/releasing.md gives the arguments of a release):
# docker build --build-arg COMMIT="$(git rev-parse HEAD)" -t course-sync .
#
# Both base images can be replaced, by a mirror's or one's own. The first needs cargo, a C compiler and the root
# certificates of Debian; the second only the C library that the first links against.
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /build

# Writes into the program which crates it is made of, where scanners of images find them: the bill of materials.
RUN cargo install --quiet --locked --debug --version '~0.7' cargo-auditable

# The dependencies alone, in a layer that lasts until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo '//! Stands in for the library.' > src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo auditable build --profile dist --locked \
    && rm -r src

COPY config config
COPY migrations migrations
COPY src src
ARG COMMIT=unknown
# Copied files keep their dates, which may lie before those of the stand-ins.
RUN touch src/lib.rs src/main.rs \
    && COURSE_SYNC_COMMIT="${COMMIT}" cargo auditable build --profile dist --locked

FROM ${RUNTIME_IMAGE}
ARG COMMIT=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.title="course-sync" \
      org.opencontainers.image.description="Creates the courses of a catalogue's Postgres outbox in HubSpot: each exactly once, or its row says why not." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"

# HubSpot's certificate is checked against these; small base images have none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/dist/course-sync /usr/local/bin/course-sync

# Loopback in a container is the container's own: neither Prometheus nor a probe would reach it. Who else does is
# for the container network to say; publish the port to trusted networks only. What is served changes nothing,
# and a page asked for under a foreign host name is refused (admin.hosts), which ends DNS rebinding.
ENV COURSE_SYNC__ADMIN__LISTEN=0.0.0.0:9464
# The C library gives a large buffer back to the system when it is freed. Left to itself it raises this limit to
# whatever was freed last, and keeps what it once held: a quarter of the memory of large requests.
ENV MALLOC_MMAP_THRESHOLD_=131072
EXPOSE 9464

# A number, so that Kubernetes can see that it is not root. Nothing is written to the file system: run it with
# --read-only --cap-drop=ALL --security-opt=no-new-privileges.
USER 65532:65532
# Open requests may take shutdown.grace (25s) to finish; docker stop kills after 10 s unless told: -t 35.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/course-sync", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/course-sync"]
CMD ["run"]
