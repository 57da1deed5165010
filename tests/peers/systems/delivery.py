"""
Delivery to a recorder that may be gone: used by the forwarder of JetStream and by the control.
"""

import asyncio

RETRY_S = 0.1


class Delivery:
    """A connection that is made again when it broke."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def deliver(self, lines):
        """Returns when the sink has answered all of them."""
        while True:
            try:
                await self.attempt(lines)
                return
            except OSError:
                self.close()
                await asyncio.sleep(RETRY_S)

    async def attempt(self, lines):
        """Raises `OSError` where the sink is gone."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(b"".join(line + b"\n" for line in lines))
        try:
            await self.reader.readexactly(len(lines))
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the sink closed the connection") from None

    def close(self):
        """Forgets the connection."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None
