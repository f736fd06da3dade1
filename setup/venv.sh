#!/bin/sh
# Makes .venv and installs exactly what requirements.lock names, then the project itself, editable.
# Usage: setup/venv.sh PYTHON
set -eu

python=$1
venv=.venv

say() { printf '%s\n' "$*" >&2; }

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  say "Python 3.11 or later is needed, and \`$python\` is none; name one: make PYTHON=python3.12 ..."
  exit 1
fi

# Debian's Python leaves out what makes virtual environments.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing python3-venv"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
  else
    say "\`$python\` can't make virtual environments; install the package python3-venv"
    exit 1
  fi
fi

say "making $venv"
"$python" -m venv --clear "$venv"
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"

# uv installs in seconds what takes pip most of a minute. It does not know pip's configuration
# though (an index of your own, say), so pip remains for where uv finds nothing.
with_uv() {
  pinned="$venv/uv.lock"
  awk '/^[a-z]/ { ours = /^uv==/ } ours' requirements.lock >"$pinned"
  $pip install --require-hashes --no-deps -r "$pinned" 2>/dev/null &&
    "$venv/bin/uv" pip install --system-certs --quiet --python "$venv/bin/python" --link-mode copy --compile-bytecode \
      --require-hashes --no-deps -r requirements.lock
}

say "installing what requirements.lock names"
with_uv || {
  say "uv could not; pip does it, which takes about a minute"
  $pip install --require-hashes --no-deps -r requirements.lock
}

# The build backend is in the lock too, so nothing is fetched here.
$pip install --no-index --no-deps --no-build-isolation --editable .
