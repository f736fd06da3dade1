"""What can go wrong with Postgres, as this project's own errors: the one place that knows the
driver's. SQLSTATE classes are those of PostgreSQL's manual, appendix A.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from meter.ledger.types import StorageUnavailable

# Serialization failure, deadlock: the same transaction works when it is made again.
_CONFLICTS = frozenset({"40001", "40P01"})
# Data exception, integrity constraint, cardinality: these values will never be taken.
_REFUSED_CLASSES = frozenset({"21", "22", "23"})
# E.g. a key too long for an index.
_REFUSED_STATES = frozenset({"54000"})
_CHECK_VIOLATION = "23514"


class TransactionConflict(StorageUnavailable):
    """Another transaction was in the way. Making it again works."""


class RowsRefused(Exception):
    """Postgres is well, and refuses these values for good."""


class PartitionMissing(RowsRefused):
    """There is no partition of `usage_tracking` for a row's month."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise the driver's and the system's errors as this project's, their cause chained."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise _translated(error) from error
    except (OSError, TimeoutError, EOFError) as error:
        raise StorageUnavailable(_text(error)) from error


def _translated(error: Exception) -> Exception:
    if isinstance(error, asyncpg.InterfaceError):
        # The driver could not even encode a value, or the connection is of no use.
        unfit = isinstance(error, ValueError) and not isinstance(
            error, asyncpg.ClientConfigurationError
        )
        return RowsRefused(_text(error)) if unfit else StorageUnavailable(_text(error))
    state = getattr(error, "sqlstate", None) or ""
    if state in _CONFLICTS:
        return TransactionConflict(_text(error))
    if state == _CHECK_VIOLATION and not getattr(error, "constraint_name", None):
        return PartitionMissing(_text(error))
    if state[:2] in _REFUSED_CLASSES or state in _REFUSED_STATES:
        return RowsRefused(_text(error))
    return StorageUnavailable(_text(error))


def _text(error: Exception) -> str:
    # Without the detail, which repeats the rows' values.
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
