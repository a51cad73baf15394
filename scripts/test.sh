#!/bin/sh
# The whole test suite, one command. On Debian as root it installs what the tests need; otherwise it says what is missing.
# Everything it starts it stops. Nothing is skipped in silence.
set -eu
cd "$(dirname "$0")/.."

. scripts/needs.sh
need_command git git
need_command python3 python3
need_python_venv
need_command npm npm
need_command debootstrap debootstrap
need_command busybox busybox-static
need_command docker docker.io
need_command dockerd docker.io
finish_needs

# Engine and images. An engine that was not running before is stopped again at the end.
if ! docker info >/dev/null 2>&1; then
    pid_file=$(mktemp)
    sh workspace/scripts/docker-up.sh "$pid_file"
    trap 'stop_engine "$pid_file"' EXIT INT TERM
else
    sh workspace/scripts/docker-up.sh
fi

if command -v cargo-nextest >/dev/null 2>&1; then
    cargo nextest run --workspace --locked --no-fail-fast "$@"
else
    echo "cargo-nextest is not installed; running the same tests with cargo test" >&2
    cargo test --workspace --locked --no-fail-fast --lib --bins --tests --examples "$@"
fi
cargo test --workspace --locked --doc
