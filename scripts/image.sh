#!/bin/sh
# Builds the image of docker-compose.yml without any registry: a static meshstore from here, and nats-server as
# scripts/nats.sh finds it. IMAGE is the name that the image gets. With the word `binary` only meshstore is built, and
# where it is gets printed; with BINARY that one is taken, and none is built.
set -eu
# Whoever the image runs as must be able to read it.
umask 022
cd "$(dirname "$0")/.."

target=$(uname -m)-unknown-linux-gnu
binary=${BINARY:-target/$target/release/meshstore}
if [ -z "${BINARY:-}" ]; then
    # Linked with the C library itself. The target is named so that this does not reach build scripts and macros.
    RUSTFLAGS="-C target-feature=+crt-static" cargo build -q --locked --release --target "$target" --bin meshstore
fi
if [ "${1:-image}" = binary ]; then
    echo "$PWD/$binary"
    exit 0
fi

nats=$(sh scripts/nats.sh)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/root/data"
chmod 1777 "$context/root/data"
cp "$binary" "$context/meshstore"
cp "$nats" "$context/nats-server"
# Debian's nats-server is linked with the system's C library: what it names comes along, at the places that it names.
# Of a static program ldd names nothing, and fails.
for library in $({ ldd "$binary"; ldd "$nats"; } 2>/dev/null | sed -n 's/^[^/]*\(\/[^ ]*\) (.*/\1/p' | sort -u); do
    mkdir -p "$context/root$(dirname "$library")"
    cp -L "$library" "$context/root$library"
done
docker build -q -t "${IMAGE:-meshstore:local}" -f Dockerfile "$context"
