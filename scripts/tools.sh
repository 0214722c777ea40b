#!/bin/sh
# Installs what the tests need beside the Rust toolchain, by Debian's package names and only when missing.
set -eu

want() {
    program=$1 package=$2
    if command -v "$program" >/dev/null 2>&1; then
        return
    fi
    echo "installing Debian's package $package (the tests use $program)"
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    if ! $sudo apt-get install -y -q "$package" >/dev/null 2>&1; then
        $sudo apt-get update -q >/dev/null
        $sudo apt-get install -y -q "$package" >/dev/null
    fi
    command -v "$program" >/dev/null || { echo "error: $program is still missing after installing $package" >&2; exit 1; }
}

want cc gcc
want openssl openssl
want strace strace
