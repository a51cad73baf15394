#!/bin/sh
# Makes sure that a Docker engine answers on this machine, and that the images of tests are there. Safe to run again, and by several at
# once. As root it installs the engine where it is missing (Debian) and starts it detached; its log is $OCH_DOCKER_LOG.
#   docker-up.sh           an engine and what the test images are made of
#   docker-up.sh --base    also the default image och/base:1, by `och images build`, when it is missing
# An engine this script started goes on running; its process id is in $OCH_DOCKER_PID_FILE.
set -eu

log=${OCH_DOCKER_LOG:-/tmp/och-dockerd.log}
pid_file=${OCH_DOCKER_PID_FILE:-/tmp/och-dockerd.pid}
lock=${TMPDIR:-/tmp}/och-docker-up.lock

say() { echo "docker-up: $*" >&2; }
fail() { say "$*"; exit 1; }
answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

install_missing() {
    missing=
    command -v dockerd >/dev/null 2>&1 || [ -x /usr/sbin/dockerd ] || answers || missing="$missing docker.io"
    command -v docker >/dev/null 2>&1 || missing="$missing docker.io"
    command -v busybox >/dev/null 2>&1 || missing="$missing busybox-static"
    command -v debootstrap >/dev/null 2>&1 || [ -x /usr/sbin/debootstrap ] || missing="$missing debootstrap"
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || fail "missing:$missing. As root: apt-get install --no-install-recommends$missing"
    command -v apt-get >/dev/null 2>&1 || fail "missing:$missing, and this is not Debian: install them by hand"
    say "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    # Started below, with its log where it can be read; not by the package.
    policy=/usr/sbin/policy-rc.d
    made_policy=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made_policy=1
    fi
    apt-get update -q >&2 || say "apt-get update failed; trying with what is known"
    # shellcheck disable=SC2086
    apt-get install -q -y --no-install-recommends $missing iptables ca-certificates >&2 || {
        [ -z "$made_policy" ] || rm -f "$policy"
        fail "installation failed"
    }
    [ -z "$made_policy" ] || rm -f "$policy"
}

start() {
    answers && return 0
    [ -z "${DOCKER_HOST:-}" ] || fail "the engine at $DOCKER_HOST does not answer"
    [ "$(id -u)" = 0 ] || fail "no engine answers, and only root can start one"
    say "starting dockerd, log in $log"
    # The lock is ours alone: an engine that inherited it would hold it for its whole life.
    PATH=$PATH:/usr/sbin:/sbin setsid nohup dockerd --pidfile "$pid_file" >"$log" 2>&1 </dev/null 9>&- &
    tries=0
    until answers; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ]; then
            tail -n 20 "$log" >&2
            fail "dockerd did not come up within 60 s"
        fi
        sleep 0.2
    done
}

exec 9>"$lock"
flock 9
install_missing
start
if [ "${1:-}" = --base ] && ! docker image inspect och/base:1 >/dev/null 2>&1; then
    och=${OCH:-och}
    command -v "$och" >/dev/null 2>&1 || fail "och/base:1 is missing and \`$och\` is not there to build it; set OCH"
    "$och" images build >&2
fi
say "engine $(docker version --format '{{.Server.Version}}')"
