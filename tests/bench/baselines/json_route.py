"""The bare Starlette JSON route: what a request costs before anything has been looked up.

It answers what `GET /api/usage/check-limit` might: as many fields, as many bytes.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.bench.baselines.uvicorn_serve import baseline_arguments, serve

ANSWER = {
    "can_record": True,
    "minutes_used": 2,
    "minutes_limit": 10,
    "minutes_remaining": 8,
    "percentage_used": 10.1,
    "used_seconds": 61,
    "limit_seconds": 600,
    "remaining_seconds": 539,
    "unlimited": False,
    "period_start": 1_798_761_600,
    "period_end": 1_801_440_000,
    "scope": "organization",
    "overage_seconds": 0,
    "overage_minutes": 0,
}


async def answer(_: Request) -> JSONResponse:
    """Answer every request alike."""
    return JSONResponse(ANSWER)


def main() -> None:
    """Serve the route on the port that the command line names."""
    arguments = baseline_arguments(__doc__).parse_args()
    serve(Starlette(routes=[Route("/", answer)]), arguments.port)


if __name__ == "__main__":
    main()
