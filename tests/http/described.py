"""The table of operations, without a server."""

from gateway.app import build_parts
from gateway.http.operations import AnyOperation
from meter.ledger.driver import Ledger
from persistence.books import PostgresStore
from tests.gateway.memory_storage import MemoryStorage
from tests.gateway.serving import settings


def described_operations() -> list[AnyOperation]:
    """All of a gateway's."""
    ledger = Ledger.connect("redis://127.0.0.1:1/0")
    store = PostgresStore("postgresql://127.0.0.1:1/none")
    return build_parts(settings(), ledger, MemoryStorage(), store).api.operations
