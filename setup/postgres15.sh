#!/bin/sh
# PostgreSQL 15's programs, for the tests of the SQL on the oldest version that is supported. Without
# them those are skipped, so this never fails.
set -u

programs=/usr/lib/postgresql/15/bin

[ -n "${METER_TEST_POSTGRES_BIN:-}" ] || [ -x "$programs/pg_ctl" ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "no PostgreSQL 15: its tests will be skipped; install the package postgresql-15 to run them" >&2
  exit 0
fi

echo "installing PostgreSQL 15 for the tests of the SQL" >&2
export DEBIAN_FRONTEND=noninteractive
# No cluster of the system's own: the tests make theirs.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
{ apt-get -o Acquire::Retries=3 update -qq && apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends postgresql-15; } >/dev/null ||
  echo "PostgreSQL 15 could not be installed: its tests will be skipped" >&2
exit 0
