#!/bin/sh
# Installs what the tests need beside the Rust toolchain, by Debian's package names and only when missing;
# with the word `benchmarks`, `counts` or `telemetry`, what those need.
set -eu

# Debian keeps servers where only root looks.
PATH=$PATH:/usr/sbin
for_what=${1:-tests}
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo

want() {
    program=$1 package=$2
    if command -v "$program" >/dev/null 2>&1; then
        return
    fi
    echo "installing Debian's package $package (the $for_what use $program)"
    if ! $sudo apt-get install -y -q "$package" >/dev/null 2>&1; then
        $sudo apt-get update -q >/dev/null
        $sudo apt-get install -y -q "$package" >/dev/null
    fi
    command -v "$program" >/dev/null || { echo "error: $program is still missing after installing $package" >&2; exit 1; }
}

# Debian starts a server as soon as it is installed, on its usual port; the benchmarks start their own.
want_server() {
    policy=/usr/sbin/policy-rc.d
    if command -v "$1" >/dev/null 2>&1 || [ -e "$policy" ]; then
        want "$1" "$2"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
    trap '$sudo rm -f "$policy"' EXIT
    want "$1" "$2"
    $sudo rm -f "$policy"
    trap - EXIT
}

want cc gcc
case $for_what in
tests)
    want openssl openssl
    want strace strace
    want_server dockerd docker.io
    want docker docker.io
    want docker-compose docker-compose
    # The engine leads the containers' questions for names to itself with it.
    want iptables iptables
    # Sites of the test bed are network namespaces.
    want ip iproute2
    sh "$(dirname "$0")/nats.sh" >/dev/null
    sh "$(dirname "$0")/python.sh" >/dev/null
    ;;
benchmarks)
    want_server redis-server redis-server
    want_server nginx nginx
    ;;
counts)
    want valgrind valgrind
    cd "$(dirname "$0")/.."
    if [ ! -x target/tools/bin/gungraun-runner ]; then
        echo "installing gungraun-runner below target/tools (it counts with valgrind)"
        cargo install -q gungraun-runner --version 0.20.0 --root target/tools
    fi
    ;;
telemetry)
    want perf linux-perf
    want addr2line binutils
    ;;
*)
    echo "error: $for_what is neither tests, benchmarks, counts nor telemetry" >&2
    exit 2
    ;;
esac
