# Sourced by the test scripts: says which commands are needed, installs their Debian packages when root, else lists them and stops.

missing_packages=""

need_command() { # command, Debian package
    if ! command -v "$1" >/dev/null 2>&1; then
        missing_packages="$missing_packages $2"
    fi
}

need_python_venv() {
    if ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
        missing_packages="$missing_packages python3-venv"
    fi
}

finish_needs() {
    [ -n "$missing_packages" ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing:$missing_packages" >&2
        apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing_packages >/dev/null
        missing_packages=""
    else
        echo "these Debian packages are missing and you are not root:$missing_packages" >&2
        echo "install them (apt-get install$missing_packages) and run this again" >&2
        exit 1
    fi
}

stop_engine() { # file with the pid of a dockerd that we started
    if [ -s "$1" ]; then
        kill "$(cat "$1")" 2>/dev/null || true
    fi
    rm -f "$1"
}
