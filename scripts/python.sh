#!/bin/sh
# Sees to it that the examples in Python find what they import, below target/tools, and prints that folder.
set -eu
cd "$(dirname "$0")/.."

folder=$PWD/target/tools/python
if [ ! -d "$folder/nats" ]; then
    echo "fetching nats-py of PyPI into target/tools (the tests run the examples with it)" >&2
    if ! python3 -m pip --version >/dev/null 2>&1; then
        echo "installing Debian's package python3-pip" >&2
        sudo=""
        [ "$(id -u)" = 0 ] || sudo=sudo
        ($sudo apt-get install -y -q python3-pip || { $sudo apt-get update -q && $sudo apt-get install -y -q python3-pip; }) >/dev/null
    fi
    mkdir -p "$folder"
    # All at once, so that a fetch that breaks off is made again.
    rm -rf "$folder.new"
    python3 -m pip install -q --disable-pip-version-check --no-deps --target "$folder.new" nats-py==2.16.0 >&2
    rm -rf "$folder" && mv "$folder.new" "$folder"
fi
echo "$folder"
