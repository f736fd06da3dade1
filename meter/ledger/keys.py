"""Where an account's keys live: one of a fixed number of partitions, each a cluster hash tag.

Names under a partition's prefix are made by the function library alone (see `library/0_base.lua`).
"""

from functools import lru_cache
from zlib import crc32

PARTITIONS = 64


@lru_cache(maxsize=1 << 16)
def partition_of(organization_id: str) -> int:
    """The partition that holds all of an account: its figures, its sessions, their indexes."""
    return crc32(organization_id.encode()) % PARTITIONS


def prefix_of(partition: int) -> str:
    """The prefix of a partition's keys; the braces make it one cluster slot."""
    return _PREFIXES[partition]


def id_claim_of(session_id: str) -> str:
    """The key that says whose a session's id is, while Postgres may not know the session yet."""
    return f"{prefix_of(partition_of(session_id))}:id:{session_id}"


_PREFIXES = tuple(f"mm:{{{partition:02d}}}" for partition in range(PARTITIONS))

COMPARED_RUN = f"{_PREFIXES[0]}:run"
"""The server's run on which all figures were compared with Postgres (see `fence`)."""
