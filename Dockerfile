# One image with two binaries: the operator, and the engine that its Jobs run.
#   docker build -t strimzi-backup-operator .
# What a published image should say of itself only its builder knows; what is not given is an empty label:
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" --build-arg SOURCE=https://.. -t ..

FROM rust:1.95.0-bookworm AS build
# The toolchain that the image has; rust-toolchain.toml asks for clippy and rustfmt too, which would be fetched.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
# Linked statically, so that the image holds nothing else that could have a vulnerability. With glibc, which is what the
# tests run with, and whose allocator keeps up with several threads; static glibc looks up names in /etc/hosts and
# DNS by itself since 2.34 (before that, only with its shared libraries beside it). A target is named so that procedural
# macros, which are shared libraries, are not linked in this way.
# Neither CMake nor Perl is needed: aws-lc-sys brings its assembly and bindings for these targets.
# Caches of each architecture by itself, and for one build at a time: one for several platforms is several builds at once.
ARG TARGETARCH
RUN --mount=type=cache,id=kafka-backup-registry-$TARGETARCH,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=kafka-backup-target-$TARGETARCH,target=/src/target,sharing=locked \
    set -eu; \
    target="$(rustc --print host-tuple)"; \
    export RUSTFLAGS='-C target-feature=+crt-static' CARGO_PROFILE_RELEASE_STRIP=debuginfo; \
    cargo build --release --locked --target "$target" --manifest-path engine/Cargo.toml --bin kafka-backup; \
    cargo build --release --locked --target "$target" --manifest-path operator/Cargo.toml --bin strimzi-backup-operator; \
    for binary in kafka-backup strimzi-backup-operator; do \
        install -D "target/$target/release/$binary" "/image/usr/local/bin/$binary"; \
        readelf --dynamic "/image/usr/local/bin/$binary" >/tmp/dynamic; \
        if grep NEEDED /tmp/dynamic; then \
            echo "$binary is not linked statically" >&2; exit 1; \
        fi; \
    done; \
    install -D -m 644 LICENSE /image/licenses/LICENSE; \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt; \
    echo 'hosts: files dns' > /image/etc/nsswitch.conf; \
    echo 'nonroot:x:65532:65532:nonroot:/:/' > /image/etc/passwd; \
    echo 'nonroot:x:65532:' > /image/etc/group; \
    install -d -m 1777 /image/tmp

FROM scratch
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="strimzi-backup-operator" \
      org.opencontainers.image.description="Backup and restore of Apache Kafka on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=build /image/ /
# By number: runAsNonRoot cannot look at a name.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/strimzi-backup-operator"]
