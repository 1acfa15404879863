#!/bin/sh
# Make .venv with everything the store, its tests and its tools need, from a bare Debian with Python 3.11 or newer.
#
# Packages come from wherever this machine's pip is told to look; every one is checked against requirements/lock.txt.
# A stamp keyed by the lock, the members' manifests, what is compiled and this script makes the second run instant.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

wanted_stamp() {
    cat tools/setup.sh requirements/lock.txt libs/*/pyproject.toml services/*/pyproject.toml \
        libs/hatch_build.py libs/*/src/*/*.c | sha256sum | cut -d' ' -f1
}
is_done() { [ -x .venv/bin/liteio ] && [ "$(cat .venv/setup-stamp 2>/dev/null)" = "$(wanted_stamp)" ]; }

# Several makes at once take turns; whoever waited finds the work done.
mkdir -p .venv
exec 9>.venv/setup-lock
flock 9
is_done && exit 0

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
header_of() { "$1" -c 'import sysconfig; print(sysconfig.get_path("include"))' | sed 's,$,/Python.h,'; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
# The distribution's own first, where it is complete: it is built with profiles and optimised as a whole, which builds of
# pyenv are not unless told so. That is a fifth of a request's processor time.
find_python() {
    own=/usr/bin/python3
    if [ -z "${PYTHON:-}" ] && is_new_enough $own && has_venv $own && [ -e "$(header_of $own)" ]; then
        echo $own
        return
    fi
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
        is_new_enough "$candidate" && { command -v "$candidate"; return; }
    done
    fail "no Python 3.11 or newer found. Install one (Debian 12: apt-get install python3) or name it: make setup PYTHON=/path/to/python3"
}

# Debian packages are installed for whoever may (root, or sudo without a password); others are told what to ask for.
install_debian() {
    for package in "$@"; do
        case $package in *[!a-z0-9.+-]*) fail "not a package name: $package" ;; esac
    done
    command -v apt-get >/dev/null || fail "please install what Debian calls: $*"
    if [ "$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root='sudo -n'; else
        fail "please ask an administrator to run: apt-get install $*"
    fi
    say "installing $*"
    $as_root apt-get update -qq >&2
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

if [ -x .venv/bin/python ] && is_new_enough .venv/bin/python; then
    python=.venv/bin/python
else
    python=$(find_python)
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# Two packages come as source only and are compiled here, and so are the kernels in libs/*/src.
missing=
command -v gcc >/dev/null || missing="gcc libc6-dev"
[ -e "$(header_of "$python")" ] || missing="$missing python$version-dev"
has_venv "$python" || missing="$missing python$version-venv"
# shellcheck disable=SC2086  # a list of words
[ -z "$missing" ] || install_debian $missing

if [ "$python" != .venv/bin/python ]; then
    say "making .venv with Python $version"
    "$python" -m venv .venv
fi
.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null

pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
say "installing the locked packages (the first time this takes a minute or two)"
pip install --quiet --use-pep517 --require-hashes -r requirements/lock.txt
# The members are built by the hatchling that the lock names, not by a fresh one from the index.
say "installing the members"
set --
for member in libs/*/ services/*/; do set -- "$@" --editable "$member"; done
pip install --quiet --no-deps --no-build-isolation "$@"
# Starts are then as quick where Python is told not to write bytecode.
.venv/bin/python -m compileall -q libs/*/src services/*/src
wanted_stamp >.venv/setup-stamp
say "done: .venv/bin/liteio"
