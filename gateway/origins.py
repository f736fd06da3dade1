"""Which pages may open WebSockets: those of the allowed origins, and the gateway's own.

A page is the gateway's own when its origin names the host and port that the connection was made to.
The scheme may differ, as TLS may end before the gateway. A name that somebody else points here (DNS
rebinding) passes too, and gains nothing: a connection says and does nothing without the token of
its first frame, no browser sends one by itself, and pages of another name can't read ours.
"""

from collections.abc import Sequence, Set
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def may_connect(origins: Sequence[str], hosts: Sequence[str], allowed: Set[str]) -> bool:
    """By the `Origin` and `Host` headers. Browsers send one origin; other programs send none."""
    return all(origin in allowed or _is_own(origin, hosts) for origin in origins)


def _is_own(origin: str, hosts: Sequence[str]) -> bool:
    if len(hosts) != 1:
        return False
    scheme = origin.partition("://")[0]
    default = _DEFAULT_PORTS.get(scheme)
    if default is None:
        return False
    page = _place(origin, default)
    return page is not None and page == _place(f"{scheme}://{hosts[0]}", default)


def _place(address: str, default_port: int) -> tuple[str, int] | None:
    """Host and port, of an address that has nothing else."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    is_bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return (host, default_port if port is None else port) if host and is_bare else None
