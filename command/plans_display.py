"""What `meter plans list` prints."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from command.limits_display import amount
from persistence.plans import Plan


def show_plans(plans: Sequence[Plan], *, as_json: bool) -> None:
    """Print them to stdout."""
    if as_json:
        sys.stdout.write(json.dumps([asdict(plan) for plan in plans]) + "\n")
        return
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("")
    for plan in plans:
        table.add_column(plan.name, justify="right")
    for name, cells in _rows(plans):
        table.add_row(name, *(Text(cell) for cell in cells))
    Console().print(table)


def _rows(plans: Sequence[Plan]) -> list[tuple[str, list[str]]]:
    types = sorted({name for plan in plans for name in plan.limits})
    return [
        ("id", [plan.id for plan in plans]),
        ("a month", [f"{plan.price_cents / 100:.2f} {plan.currency}" for plan in plans]),
        ("accounts", [f"{plan.accounts:,}" for plan in plans]),
        ("for new users", ["yes" if plan.is_default else "" for plan in plans]),
        *((name, [_included(plan, name) for plan in plans]) for name in types),
        *((name, [_policy(name, plan.policies[name]) for plan in plans]) for name in _POLICIES),
    ]


_POLICIES = (
    "soft_cap",
    "overage_ceiling_seconds",
    "grace_seconds",
    "max_concurrent_sessions",
    "max_session_seconds",
    "billing_increment",
    "billing_rounding",
)


def _included(plan: Plan, name: str) -> str:
    if name not in plan.limits:
        return ""
    value = plan.limits[name]
    return "unlimited" if value is None else f"{value:,}"


def _policy(name: str, value: Any) -> str:
    if value in (None, -1, False):
        return ""
    if value is True:
        return "yes"
    return amount(value) if name.endswith("_seconds") else str(value)
