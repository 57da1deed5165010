"""
The producer over a byte stream: keeps so many messages in flight and notes what is acknowledged.

For the systems that `wire` knows; NATS has its own client. A message counts as acknowledged when
the local store's answer to it has been read, never earlier.
"""

import asyncio

from .process import RigError
from .recorder import message

# A store that says nothing for so long is not going to.
ANSWER_WITHIN_S = 30


async def publish(source, port, window, take, acked):
    """
    Sends what `take` gives until it gives `None`, `window` at a time; calls `acked` with the number
    of each message that was acknowledged. Returns when nothing is in flight any more.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await exchange(source, reader, writer, window, take, acked)
    finally:
        writer.close()


async def exchange(source, reader, writer, window, take, acked):
    """The same on an open connection."""

    async def answers():
        try:
            data = await asyncio.wait_for(reader.read(1 << 16), ANSWER_WITHIN_S)
        except asyncio.TimeoutError:
            raise RigError(f"the store answered nothing for {ANSWER_WITHIN_S} s") from None
        if not data:
            raise RigError("the store closed the producer's connection")
        return source.feed(data)

    writer.write(source.hello())
    while not list(await answers()):
        pass

    flying, key, more = {}, 0, True
    while True:
        frames = []
        while more and len(flying) < window:
            if (number := take()) is None:
                more = False
                break
            key = key % source.LAST_KEY + 1
            flying[key] = number
            frames.append(source.message(key, message(number)))
        writer.write(b"".join(frames))
        if not flying:
            return
        for done in await answers():
            acked(flying.pop(done))
