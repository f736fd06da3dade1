"""What a run prints, writes as JSON, and as Markdown for `docs/guarantees.md`."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.judge import Verdict
from tests.faults.run import Outcome
from tests.faults.storm import StormOutcome

MOST_SHOWN = 40


def print_outcome(console: Console, outcome: Outcome | None, storm: StormOutcome | None) -> None:
    """The final tables, and what was found."""
    if outcome is not None:
        faults = Table("fault", "times", title=f"seed {outcome.options.seed}")
        for name, times in sorted(outcome.faults.items()):
            faults.add_row(name, str(times))
        console.print(faults)
        console.print(_seconds(outcome.verdict))
        ends = ", ".join(f"{reason} {count}" for reason, count in outcome.ends.most_common())
        console.print(
            f"{outcome.verdict.sessions} sessions ({ends}), {outcome.reconnects} reconnects, "
            f"{outcome.new_origins} begun anew"
        )
        _print_findings(console, outcome.verdict)
    if storm is not None:
        for text in _storm_lines(storm):
            console.print(text)
        console.print(_seconds(storm.verdict))
        _print_findings(console, storm.verdict)
    if all(each.good for each in (outcome, storm) if each is not None):
        console.print("[green]nothing lost, nothing twice[/]")


def _print_findings(console: Console, verdict: Verdict) -> None:
    for finding in verdict.findings[:MOST_SHOWN]:
        console.print(f"[red]wrong:[/] {finding}", highlight=False)


def _seconds(verdict: Verdict) -> Table:
    table = Table("seconds", "")
    for name, seconds in _rows(verdict):
        table.add_row(name, str(seconds))
    return table


def _rows(verdict: Verdict) -> Iterator[tuple[str, int]]:
    yield "recorded and sent", verdict.recorded
    yield "counted", verdict.counted
    for reason, refused in sorted(verdict.refused.items()):
        yield f"not counted: {reason}", refused
    yield "over a limit", verdict.over_limit
    yield "lost", verdict.lost
    yield "twice", verdict.twice


def _storm_lines(storm: StormOutcome) -> Iterator[str]:
    ends = ", ".join(f"{reason} {count}" for reason, count in storm.ends.most_common())
    yield f"storm of {storm.recorders} recorders ({ends}), {storm.reconnects} reconnects"
    for each in storm.comebacks:
        yield (
            f"{each.what}: {each.back} were back within {each.seconds:.1f} s, "
            f"{each.most_a_second} a second at the most"
        )


def as_markdown(outcome: Outcome | None, storm: StormOutcome | None) -> str:
    """The tables, and what the storm was like."""
    lines: list[str] = []
    if outcome is not None:
        lines += [
            f"`make chaos MINUTES={outcome.options.seconds / 60:g} SEED={outcome.options.seed}`: "
            f"{outcome.verdict.sessions} sessions, {outcome.reconnects} reconnects.",
            "",
            "| fault | times |",
            "|---|---|",
            *(f"| {name} | {times} |" for name, times in sorted(outcome.faults.items())),
            "",
            *_markdown_seconds(outcome.verdict),
        ]
    if storm is not None:
        lines += [*(f"{line}.  " for line in _storm_lines(storm)), ""]
        lines += _markdown_seconds(storm.verdict)
    return "\n".join(lines)


def _markdown_seconds(verdict: Verdict) -> list[str]:
    rows = [f"| {name} | {seconds} |" for name, seconds in _rows(verdict)]
    return ["| seconds | |", "|---|---|", *rows, ""]


def as_json(outcome: Outcome | None, storm: StormOutcome | None) -> dict[str, Any]:
    """All of both."""
    document: dict[str, Any] = {}
    if outcome is not None:
        options = outcome.options
        document = {
            "seed": options.seed,
            "minutes": options.seconds / 60,
            "recorders": options.recorders,
            "accounts": options.accounts,
            "gateways": options.gateways,
            "flushers": options.flushers,
            "faults": dict(sorted(outcome.faults.items())),
            "ends": dict(outcome.ends),
            "reconnects": outcome.reconnects,
            "begun_anew": outcome.new_origins,
            **_verdict(outcome.verdict),
            "log": outcome.log,
        }
    if storm is not None:
        document["storm"] = {
            "recorders": storm.recorders,
            "comebacks": [
                {
                    "what": each.what,
                    "back": each.back,
                    "seconds": round(each.seconds, 2),
                    "most_a_second": each.most_a_second,
                }
                for each in storm.comebacks
            ],
            "ends": dict(storm.ends),
            "reconnects": storm.reconnects,
            **_verdict(storm.verdict),
        }
    return document


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "sessions": verdict.sessions,
        "seconds": {
            "recorded": verdict.recorded,
            "counted": verdict.counted,
            "not_counted": dict(sorted(verdict.refused.items())),
            "over_a_limit": verdict.over_limit,
            "lost": verdict.lost,
            "twice": verdict.twice,
        },
        "findings": verdict.findings,
    }
