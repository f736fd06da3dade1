"""`meter flusher`."""

from command.cli import new_app
from command.main import run_process

app = new_app()


@app.command()
def flusher() -> None:
    """Run a flusher: it moves counted seconds from Redis to Postgres.

    Settings come from the environment alone: DATABASE_URL and REDIS_URL. On SIGTERM it flushes
    what is open and ends. Several share the work.
    """
    run_process("flusher")
