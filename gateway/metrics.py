"""The gateway's metrics (Prometheus). Names carry their units."""

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """One registry a gateway, so that several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.connections = Gauge(
            "meter_connections", "Open recorder connections.", registry=self.registry
        )
        self.dashboards = Gauge(
            "meter_dashboards", "Open dashboard connections.", registry=self.registry
        )
        self.operators = Gauge(
            "meter_operators", "Open operators' connections.", registry=self.registry
        )
        self.seconds = Counter(
            "meter_seconds_counted", "Seconds counted for the first time.", registry=self.registry
        )
        self.heartbeats = Counter(
            "meter_sessions_counted",
            "Sessions in batches: their heartbeats, or signs of life.",
            registry=self.registry,
        )
        self.ledger_failures = Counter(
            "meter_ledger_failures", "Batches that the ledger did not take.", registry=self.registry
        )
        self.undurable = Gauge(
            "meter_undurable_seconds",
            "Counted seconds kept here because Postgres isn't known to have them.",
            registry=self.registry,
        )
        self.ended_kept = Gauge(
            "meter_ended_sessions_kept",
            "Ended sessions that are looked after until Postgres has all of them.",
            registry=self.registry,
        )
        self.closes = Counter(
            "meter_closes", "Connections closed by the gateway.", ["code"], registry=self.registry
        )
        self.webhooks = Counter(
            "meter_webhooks",
            "Events of the payment provider, by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        self.tasks = Gauge(
            "meter_tasks", "Tasks of the event loop: work under way.", registry=self.registry
        )
        self._batch_seconds = Histogram(
            "meter_count_batch_seconds",
            "Round trip of a batch to the ledger.",
            buckets=_LATENCY_SECONDS,
            registry=self.registry,
        )

    def batch(self, sessions: int, round_trip_seconds: float, new_seconds: int) -> None:
        """A batch was counted."""
        self.heartbeats.inc(sessions)
        self.seconds.inc(new_seconds)
        self._batch_seconds.observe(round_trip_seconds)

    def text(self) -> bytes:
        """In Prometheus' text format. To be called in the event loop."""
        self.tasks.set(len(asyncio.all_tasks()))
        return generate_latest(self.registry)
