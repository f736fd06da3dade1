"""What a heartbeat costs: `make bench`, or `python -m tests.bench --help`.

One table; all its rows are measured in the same run, at the same load, on the same machine and
the same interpreter. How:

**Load.** `--sessions` (2,000) WebSocket connections over the loopback, one text frame a second
each, the sends spread evenly over the second (bursts would be cheaper for every server). The
generator (`load.py`) is a process of its own on picows' client; its CPU and its latest send are
in the table. A run is called invalid, and fails, when the generator did not send what was due or
used most of a core, when a session broke, or when an answer is missing: an echo for every frame;
from our gateway, exactly the seconds that were sent as `session_seconds` of `stopped`. To our
gateway the generator is a recorder (`start` with a signed token of one of 100 organizations,
`heartbeat`s, and `stop`). The other servers get the same `heartbeat` frames.

**Rounds.** Every server is started fresh each round, connected to, warmed up, then measured over
`--seconds`. Rounds are interleaved (A B C D, A B C D, ...), so that a change of the machine's
mood reaches all rows. A figure is the median of its rounds, a ratio the median of the rounds'
ratios. On a machine that does something else too, trust the ratios and not the microseconds.

**CPU of a heartbeat.** The CPU time (user and system, all threads, children too) that the
server's process used in the window, divided by the heartbeats sent in it. Loopback TCP is in it,
and so are the replies: the echoes and the naive gateway answer every frame, as that is what they
do; our gateway acks when it has something to say, at least every `ack_seconds`. A part of the
difference is there, so the table says how many replies a heartbeat got, and has a second
Starlette echo that answers one frame in five: the like-for-like row. Our gateway is the real
process (`meter gateway`) with a real Valkey, a real Postgres and the real flusher beside it, and
nothing is switched off for the bench; the flusher's CPU and Redis's are not in its figure, as
Redis's is not in the naive gateway's. Baselines get their best settings
(`baselines/uvicorn_serve.py`; uvicorn's legacy `websockets` protocol was tried, and is dearer).
Only our gateway checks tokens, limits, seconds and duplicates.

**Redis.** CPU from `INFO cpu` over the same window, so our row holds all that the system does
with Redis: counting, the flusher's reads and trims, the append-only file. Beside it a pipelined
`INCR` at the same rate in batches of 50 ms, on the same server, and what the idle server uses
(its timers; it is in every row). A session's memory is the growth of `used_memory`, from before
the sessions connect to the end of the window, over the sessions: sessions of some seconds of age;
the bitmap of one that has recorded for an hour is 450 bytes larger.

**Memory of a session.** The growth of the gateway's resident memory, from ready and empty to the
end of the window, over the sessions. What the first sessions make it load is in it; memory that
the start freed and the sessions use again is not, so the JSON has the whole resident memory
(`resident_bytes`) too.

**Flushing.** Rows a second through the flusher's own write path against `COPY`; see `flush.py`.

**Stops.** From an account's last counted second to `stop` at all of its recorders, at 1, 100 and
5,000 live sessions of it; see `stops.py`. In the first round only, unless `--stop-rounds` says
more: a round gives a figure a session.

**One hot account.** Heartbeats counted a second, all of one account against an account a session;
see `hot_account.py`.

**check-limit.** Requests a second and CPU of one against a bare Starlette JSON route; see
`checks.py`.

**History.** The current month, a limit's figures, a user's overview and summary, asked among 1 and
among 20 million rows; see `history.py`. Once a run: making the rows takes minutes.
"""
