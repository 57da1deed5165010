"""
The rig's own negative control: a store that is known to lose and to double.

It acknowledges everything, drops every `LOSE`th message and sends every `DOUBLE`th twice, and is
otherwise without fault. `--self-check` runs it through the very round that judges the others, and
the round has to find exactly what was planted.
"""

import asyncio

from .delivery import Delivery
from .experiment import System
from .recorder import message

LOSE, DOUBLE = 97, 41


class Control(System):
    """In this process, since it has nothing to prove about itself."""

    name, title, protocol = "control", "negative control", "lines"

    def __init__(self):
        self.delivery, self.queue, self.task = None, None, None

    def install(self, _packages):
        """Nothing to install."""
        return "0"

    async def start(self, _run, _port, sink):
        """Forwards from now on."""
        self.delivery, self.queue = Delivery(sink), asyncio.Queue()
        self.task = asyncio.ensure_future(self.forward())

    async def publish(self, _port, _window, take, acked):
        """Acknowledges at once."""
        while (number := take()) is not None:
            self.queue.put_nowait(number)
            acked(number)
            await asyncio.sleep(0)

    async def forward(self):
        """One message at a time, so that at most one is in doubt when the sink is killed."""
        while True:
            number = await self.queue.get()
            copies = 0 if number % LOSE == 0 else 2 if number % DOUBLE == 0 else 1
            for _ in range(copies):
                await self.delivery.deliver([message(number)])


def planted(messages):
    """How many it loses and how many it doubles."""
    lost = {number for number in range(messages) if number % LOSE == 0}
    twice = {number for number in range(messages) if number % DOUBLE == 0} - lost
    return len(lost), len(twice)
