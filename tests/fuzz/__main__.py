"""`make fuzz SECONDS=60`: atheris, a fuzzer that sees which code its inputs reach, on each target
in turn. Prints how often each ran. What makes one fail is kept in `.fuzz/`, and the status is 1."""

import argparse
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

DIRECTORY = Path(".fuzz")
MAX_INPUT_BYTES = 5000
# So long, or so much, is an error too.
TIMEOUT_SECONDS = 10
MEMORY_MB = 1024

_DONE = re.compile(r"Done (\d+) runs")
_COVERED = re.compile(r"cov: (\d+)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="in all; default 60")
    parser.add_argument("--target", action="append", help="only this one; may come again")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        _fuzz(arguments.here, arguments.seconds)
        return 0
    from tests.fuzz.targets import TARGETS

    names = arguments.target or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target: {', '.join(sorted(unknown))}; one of: {', '.join(TARGETS)}")
    seconds = max(arguments.seconds // len(names), 1)
    return max([_run(name, seconds) for name in names])


def _run(name: str, seconds: int) -> int:
    """One target in a process of its own: the fuzzer ends its process."""
    command = [sys.executable, "-m", "tests.fuzz", "--here", name, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    runs, covered = _DONE.findall(said), _COVERED.findall(said)
    if done.returncode == 0 and runs:
        print(f"{name:16} {int(runs[-1]):>9,} runs, {covered[-1]:>5} places reached", flush=True)
        return 0
    # Without what the fuzzer says of each input that reached something new.
    chatter = ("#", "INFO", "WARNING")
    telling = [line for line in said.splitlines() if not line.startswith(chatter)]
    print(f"{name:16} failed:", *(line[:200] for line in telling[-60:]), sep="\n", flush=True)
    return 1


def _fuzz(name: str, seconds: int) -> None:
    atheris = import_module("atheris")  # not of the development environment: `make fuzz` has it
    with atheris.instrument_imports(include=["meter", "gateway", "tests.fuzz"]):
        targets = import_module("tests.fuzz.targets")
    corpus = DIRECTORY / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = {
        "max_total_time": seconds,
        "max_len": MAX_INPUT_BYTES,
        "timeout": TIMEOUT_SECONDS,
        "rss_limit_mb": MEMORY_MB,
        "artifact_prefix": f"{DIRECTORY}/{name}-",
        "print_final_stats": 1,
    }
    flags = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
