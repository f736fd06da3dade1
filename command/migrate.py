"""`meter migrate`."""

from command.cli import new_app
from command.main import run_process

app = new_app()


@app.command()
def migrate() -> None:
    """Apply the migrations that the database lacks, then end.

    DATABASE_URL names the database. Running it again does nothing; run it before a new
    version of the gateway and the flusher.
    """
    run_process("migrate")
