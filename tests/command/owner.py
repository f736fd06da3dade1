"""Owns a Valkey and a Postgres on the directory it is given, until it is killed."""

import json
import signal
import sys
import time
from pathlib import Path

from command.embedded import EmbeddedPostgres, EmbeddedValkey


def main() -> None:
    """Print what runs where, then wait."""
    # A shell starts what is to run in the background with this signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    data = Path(sys.argv[1])
    servers = (EmbeddedValkey(data, durable=False), EmbeddedPostgres(data, durable=False))
    for server in servers:
        server.start()
    facts = {server.name: [server.pid, server.url] for server in servers}
    facts["directory"] = [0, str(servers[1].directory)]
    print(json.dumps(facts), flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
