"""The bare picows echo: frames handed straight to a compiled callback. The floor for Python."""

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

from tests.bench.baselines.uvicorn_serve import HOST, baseline_arguments


class Echo(WSListener):
    """Sends every text frame back as it came."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer a text frame; a close is answered with a close."""
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


def _echo_listener(_request: WSUpgradeRequest) -> WSListener:
    return Echo()


async def serve_echo(port: int) -> None:
    """Serve the echo on the loopback until cancelled."""
    server = await ws_create_server(
        _echo_listener, HOST, port, backlog=4096, read_buffer_init_size=1024
    )
    await server.serve_forever()


def main() -> None:
    """Serve the echo on the port that the command line names."""
    uvloop.run(serve_echo(baseline_arguments(__doc__).parse_args().port))


if __name__ == "__main__":
    main()
