#!/bin/sh
# An S3-speaking server on loopback, for tests.
#
#   s3-server.sh install moto|s3rver    installs it, once, and prints the program
#   s3-server.sh serve moto|s3rver      installs it if need be, starts it on a free port with one empty bucket, prints its URL as the
#                                       only line on stdout, and ends it when stdin closes: nothing survives whoever started this
#
# moto (PyPI) is a good store; s3rver (npm) is a bad one that ignores `If-None-Match`. Both take any credentials. The bucket is
# `och-test`. They are installed into $OCH_TEST_TOOLS, or target/test-tools; safe to run from many tests at the same time.
set -eu

usage="usage: s3-server.sh install|serve moto|s3rver"
what=${1:?$usage}
kind=${2:?$usage}
moto_version=5.2.2
s3rver_version=3.7.1
bucket=och-test

fail() {
    echo "s3-server.sh: $*" >&2
    exit 1
}

install_moto() {
    command -v python3 >/dev/null || fail "python3 is missing: install python3 and python3-venv"
    python3 -m venv "$1" || fail "python3 cannot make a virtual environment: install python3-venv"
    "$1/bin/pip" install --quiet --disable-pip-version-check "moto[server]==$moto_version" >&2 ||
        fail "pip cannot install moto[server]==$moto_version: is the package index reachable?"
}

install_s3rver() {
    command -v npm >/dev/null || fail "npm is missing: install nodejs and npm"
    mkdir -p "$1"
    npm install --prefix "$1" --silent --no-audit --no-fund "s3rver@$s3rver_version" >&2 ||
        fail "npm cannot install s3rver@$s3rver_version: is the package registry reachable?"
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tools=${OCH_TEST_TOOLS:-$here/../../target/test-tools}
mkdir -p "$tools"
tools=$(CDPATH='' cd -- "$tools" && pwd)
case $kind in
moto) target=$tools/moto-$moto_version program=$target/bin/moto_server ;;
s3rver) target=$tools/s3rver-$s3rver_version program=$target/node_modules/.bin/s3rver ;;
*) fail "$usage" ;;
esac

# One installs, the others wait. A virtual environment cannot be moved, so a mark says that it is whole.
(
    flock 9
    if [ ! -e "$target/ready" ]; then
        rm -rf "$target"
        "install_$kind" "$target"
        touch "$target/ready"
    fi
) 9>"$target.lock"

case $what in
install)
    echo "$program"
    exit 0
    ;;
serve) ;;
*) fail "$usage" ;;
esac

work=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM
case $kind in
moto) "$program" -H 127.0.0.1 -p 0 >"$work/log" 2>&1 </dev/null & ;;
s3rver) "$program" -d "$work" -a 127.0.0.1 -p 0 --configure-bucket "$bucket" >"$work/log" 2>&1 </dev/null & ;;
esac
server=$!
tries=0
until port=$(sed -n 's/.*127\.0\.0\.1:\([0-9][0-9]*\).*/\1/p' "$work/log" | head -n 1) && [ -n "$port" ]; do
    kill -0 "$server" 2>/dev/null || fail "$kind does not start: $(cat "$work/log")"
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || fail "$kind does not start within a minute: $(cat "$work/log")"
    sleep 0.1
done
url=http://127.0.0.1:$port
if [ "$kind" = moto ]; then
    "$target/bin/python" -c "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method='PUT'), timeout=30)" \
        "$url/$bucket" >&2 || fail "moto makes no bucket: $(cat "$work/log")"
fi
echo "$url"
cat >/dev/null
