# The image of the sidecar, of `outrigger capture` and of `outrigger webhook`: one static binary, and nft with
# its libraries. No shell, no packages.
#
#   docker build -t outrigger:0.1.0 .

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY src src
# Cargo wants to see every target that the manifest names, also those it does not build.
COPY tests/it/main.rs tests/it/main.rs
# With --target, so that the flag is for the program and not for what runs while it is built: macros can't be static.
# Relocations in their packed form are 0.4 MiB less to read, and to keep, in every pod.
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" CARGO_PROFILE_RELEASE_STRIP=debuginfo
RUN cargo build --locked --release --bin outrigger \
      --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && cp target/*/release/outrigger /outrigger

FROM debian:bookworm-slim AS rootfs
RUN apt-get update \
 && apt-get install -y --no-install-recommends nftables \
 && rm -rf /var/lib/apt/lists/*
COPY k8s/image/rootfs /rootfs
COPY --from=build /outrigger /outrigger
RUN /rootfs /outrigger /image

FROM scratch
COPY --from=rootfs /image /
ENV PATH=/usr/sbin:/usr/bin
USER 1337:1337
ENTRYPOINT ["/usr/bin/outrigger"]
CMD ["run", "/etc/outrigger"]
