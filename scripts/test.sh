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

# Built first: the default image is made by `och` itself.
if command -v cargo-nextest >/dev/null 2>&1; then
    cargo nextest run --workspace --locked --no-run
else
    echo "cargo-nextest is not installed; running the same tests with cargo test" >&2
    cargo test --workspace --locked --lib --bins --tests --no-run
fi

# Engine and images. An engine that was not running before is stopped again at the end.
OCH=$(pwd)/${CARGO_TARGET_DIR:-target}/debug/och
case ${CARGO_TARGET_DIR:-} in /*) OCH=$CARGO_TARGET_DIR/debug/och ;; esac
export OCH
if ! docker info >/dev/null 2>&1; then
    OCH_DOCKER_PID_FILE=$(mktemp -u)
    export OCH_DOCKER_PID_FILE
    trap 'stop_engine "$OCH_DOCKER_PID_FILE"' EXIT
    trap 'exit 1' INT TERM
fi
sh workspace/scripts/docker-up.sh --base

if command -v cargo-nextest >/dev/null 2>&1; then
    cargo nextest run --workspace --locked --no-fail-fast "$@"
else
    cargo test --workspace --locked --no-fail-fast --lib --bins --tests "$@"
fi
cargo test --workspace --locked --doc
