"""`meter gateway`."""

from command.cli import new_app
from command.main import run_process

app = new_app()


@app.command()
def gateway() -> None:
    """Run a gateway: recorder and dashboard sockets, the HTTP API and the pages.

    Settings come from the environment alone: DATABASE_URL, REDIS_URL, HOST, PORT,
    METER_JWT_SECRET or METER_JWKS_URL, METER_JWT_ISSUER, METER_JWT_AUDIENCE and
    METER_ALLOWED_ORIGINS. On SIGTERM it sends its sessions to other gateways and ends.
    Run as many as you like.
    """
    run_process("gateway")
