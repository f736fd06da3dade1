"""The part of an audit that costs little, for ever: the ledger's figures against those that
Postgres keeps. What is off is put right. And the limits of a ledger that may have older ones.

A ledger's figure is off when rows come into Postgres by another way than through it (minutes that
are tracked by SQL), where a flusher commits what it took before the ledger lost all, and after a
failover to a replica that was behind.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress

from meter.ledger.auditing import AuditedLedger, LedgerAudit
from meter.ledger.types import LedgerUnavailable, StorageUnavailable
from persistence.database import Database
from persistence.errors import RowsRefused
from persistence.ledger_audit import Comparison, repair_ledger
from persistence.metrics import FlusherMetrics
from persistence.retelling import Retelling
from persistence.statements import statement

logger = logging.getLogger(__name__)

TURN_SECONDS = 1.0
# After a loss, once more: what a flusher had taken before it may be committed after the first look,
# and gateways and recorders give back what they hold meanwhile.
AGAIN_SECONDS = (5.0, 20.0)
# Between two looks at the next accounts of all; those that are asked for aren't kept waiting.
ROUND_SECONDS = 60.0
PURGE_SECONDS = 3600.0
ACCOUNTS_A_TURN = 200

NOTHING = Comparison(0, ())


class Auditor:
    """Goes round the accounts that the ledger knows, and looks at once at those it is asked to."""

    def __init__(self, ledger: AuditedLedger, database: Database, metrics: FlusherMetrics) -> None:
        self._ledger = LedgerAudit(ledger)
        self._database = database
        self._metrics = metrics
        self._retelling = Retelling(database)
        self._asked: set[str] = set()
        # Those to be compared before the present incarnation counts as compared.
        self._owed: set[str] = set()
        self._owed_to = ""
        self._waiting: list[str] = []
        self._incarnation = ""
        self._to_compare = ""
        self._again_at: list[float] = []
        self._round_at = 0.0
        self._purge_at = 0.0

    def ask(self, organizations: Iterable[str]) -> None:
        """Have these looked at soon."""
        self._asked.update(organizations)

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop` is set."""
        now = asyncio.get_running_loop().time
        self._round_at = now() + ROUND_SECONDS
        while not stop.is_set():
            try:
                await self.notice_loss()
                await self._retelling.go_on()
                if self._again_at and now() >= self._again_at[0]:
                    self.ask(await self._ledger.organizations())
                    del self._again_at[0]
                await self.look_at_asked()
                if now() >= self._round_at:
                    self._round_at = now() + ROUND_SECONDS
                    await self.look()
                if now() >= self._purge_at:
                    self._purge_at = now() + PURGE_SECONDS
                    await self._purge()
            except (LedgerUnavailable, StorageUnavailable, RowsRefused) as error:
                logger.warning("the audit waits: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TURN_SECONDS)

    async def notice_loss(self) -> bool:
        """Have all accounts looked at when the ledger has become another one since they were: a
        replica that was behind, or one started anew from an older file, has older figures, and
        gateways don't count on it meanwhile. It has older limits, too: they are told anew, also by
        the first call, as what was before isn't known."""
        present = await self._ledger.incarnation()
        if present != self._incarnation:
            self._retelling.begin()
        lost = self._incarnation not in ("", present)
        compared = await self._ledger.compared()
        lost = lost or compared not in (None, present)
        if lost and self._owed_to != present:
            self._owed = set(await self._ledger.organizations())
            self._owed_to = present
            self.ask(self._owed)
            now = asyncio.get_running_loop().time()
            self._again_at = [now + seconds for seconds in AGAIN_SECONDS]
        self._to_compare = "" if compared == present else present
        self._incarnation = present
        return lost

    async def look_at_asked(self) -> int:
        """Compare those that were asked for; by how many seconds they were off. While another
        flusher is at it they are still to be looked at, and so are those that were in motion.

        Raises `LedgerUnavailable` and `StorageUnavailable`; then they are, too."""
        asked, self._asked = self._asked, set()
        left = asked
        try:
            found = await self._look_at(sorted(asked), logging.INFO) if asked else NOTHING
            if found is not None:
                left = asked & found.unsettled
        finally:
            self._asked |= left
            self._owed -= asked - left
        if self._to_compare and not self._owed:
            await self._ledger.note_compared(self._to_compare)
            self._to_compare = ""
        return _off(found)

    async def look(self) -> int:
        """Compare the next accounts of all; by how many seconds they were off.

        Raises `LedgerUnavailable` and `StorageUnavailable`."""
        if not self._waiting:
            self._waiting = await self._ledger.organizations()
        found = await self._look_at(self._waiting[:ACCOUNTS_A_TURN], logging.WARNING)
        if found is not None:
            del self._waiting[:ACCOUNTS_A_TURN]
        return _off(found)

    async def _look_at(self, organizations: list[str], level: int) -> Comparison | None:
        """Compare these, and put right what is off; None while another flusher is at it."""
        found = await repair_ledger(self._database, self._ledger, organizations, by_rows=False)
        if found is None or not found.drifts:
            return found
        by_sql = await self._came_by_sql({drift.organization_id for drift in found.drifts})
        for drift in found.drifts:
            if drift.organization_id in by_sql and drift.seconds < 0:
                text = "the ledger has minutes of %r that came by SQL (%+d s of %d)"
                logger.info(text, drift.organization_id, -drift.seconds, drift.counted)
                continue
            logger.log(
                level,
                "the ledger's figure of %r was off by %+d s, and is put right: Postgres has %d",
                drift.organization_id,
                drift.seconds,
                drift.counted,
            )
            self._metrics.drift.inc(abs(drift.seconds))
        return found

    async def _came_by_sql(self, organizations: set[str]) -> set[str]:
        """Those that the ledger is to be behind with: it is no fault, and no drift."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement("came_by_sql"), sorted(organizations))
        return {row["organization_id"] for row in rows}

    async def _purge(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(statement("purge_usage_calls"))


def _off(found: Comparison | None) -> int:
    return sum(abs(drift.seconds) for drift in found.drifts) if found else 0
