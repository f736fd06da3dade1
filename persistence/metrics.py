"""What a flusher tells Prometheus."""

import asyncio
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from meter.ledger.types import Backlog


class FlusherMetrics:
    """A flusher's figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.rows = Counter(
            "meter_flusher_rows", "Minutes' rows committed, repeats included", registry=registry
        )
        self.sessions = Counter("meter_flusher_sessions", "Sessions settled", registry=registry)
        self.set_aside = Counter(
            "meter_flusher_set_aside", "Sessions that Postgres refused", registry=registry
        )
        self.limits_told = Counter(
            "meter_flusher_limits_told",
            "Organizations whose changed limits the ledger was told",
            registry=registry,
        )
        self.drift = Counter(
            "meter_flusher_drift_seconds",
            "Seconds by which the ledger's figures differed from Postgres, and were put right",
            registry=registry,
        )
        self.overage_reported = Counter(
            "meter_overage_reported_minutes",
            "Overage minutes that Stripe took",
            registry=registry,
        )
        self.overage_waiting = Gauge(
            "meter_overage_waiting_events", "Reports that wait to be sent", registry=registry
        )
        self.overage_unsettled = Gauge(
            "meter_overage_unsettled_events",
            "Reports that an operator has to look for",
            registry=registry,
        )
        self.failures = Counter(
            "meter_flusher_failures",
            "Turns given up because a store was away",
            ["store"],
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "meter_flusher_batch_seconds", "Time to commit a batch", registry=registry
        )
        self.last_success = Gauge(
            "meter_flusher_last_success_timestamp_seconds",
            "When a turn last went through",
            registry=registry,
        )
        self._due = Gauge(
            "meter_flusher_backlog_sessions", "Sessions due to be made durable", registry=registry
        )
        self._age = Gauge(
            "meter_flusher_backlog_age_seconds", "Age of the oldest due one", registry=registry
        )
        self._aside = Gauge(
            "meter_flusher_backlog_set_aside", "Sessions refused and waiting", registry=registry
        )
        self._live = Gauge("meter_flusher_live_sessions", "Live sessions", registry=registry)
        self._tasks = Gauge(
            "meter_tasks", "Tasks of the event loop: work under way", registry=registry
        )

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count this loop's tasks whenever asked, from whichever thread."""
        self._tasks.set_function(lambda: len(asyncio.all_tasks(loop)))

    def show(self, backlog: Backlog) -> None:
        """Take over the ledger's backlog."""
        oldest = backlog.oldest_due_at
        self._due.set(backlog.sessions_due)
        self._age.set(0 if oldest is None else max(time.time() - oldest, 0))
        self._aside.set(backlog.set_aside)
        self._live.set(backlog.live_sessions)
