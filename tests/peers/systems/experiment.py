"""
A round: a sink is killed while messages flow and replaced by an empty one. The same for every
system that stores and forwards to a sink of ours; Postern, which brings its own sinks, is driven by
`postern` and judged by the same `count`.

1. Sink A and the system are started; half of the messages are published, 64 in flight.
2. Once A has got a quarter, the other half is published, and A is killed (SIGKILL) as soon as a
   sixteenth of all was acknowledged on top of the half: messages are on both wires at that moment.
3. Publishing goes on to the end. `OUTAGE_S` after the kill, sink B starts, empty, at A's address.
4. The round ends when everything that was acknowledged is at A or B, or when nothing arrived for
   `QUIET_S`.
"""

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from .count import Count, count
from .install import say
from .process import HOME, RigError, Run, free_ports, until
from .recorder import Arrivals

WINDOW = 64
OUTAGE_S = 3.0
# No back-off of what is measured is longer; what has not come by then is not coming.
QUIET_S = 12.0
FIRST_WITHIN_S = 60.0
FORWARDED_WITHIN_S = 60.0
# For the half that is published while the sink is away. A store that has not taken it by then has
# stalled: the rest is given up, unacknowledged, and counted as such.
PUBLISH_WITHIN_S = 40.0
STALL_S = 10.0


@dataclass
class Sink:
    """Where a system forwards to: its processes, what arrives there, since when it listens."""

    processes: list
    arrivals: Arrivals
    up_ns: int

    def kill(self):
        """SIGKILL, to all of it."""
        for process in self.processes:
            process.kill()


class System:
    """What a compared system is to a round."""

    # As figures and options call it, and as people do.
    name = title = ""
    # Which of `wire.SINKS` a recorder has to speak.
    protocol = ""
    # Whether rounds make sense, or its acknowledgements alone are measured.
    has_rounds = True

    def install(self, packages):
        """Makes sure that it is there; returns its version."""
        raise NotImplementedError

    async def start(self, run, port, sink):
        """Starts it: publishers come to `port`, it forwards to the port `sink`."""
        raise NotImplementedError

    async def publish(self, port, window, take, acked):
        """Publishes what `take` gives until `None`, `window` in flight; `acked` is told of each."""
        raise NotImplementedError

    async def sink(self, run, name, port):
        """A sink: a recorder, unless the system brings its own."""
        out = run.dir / f"{name}.arrivals"
        command = [sys.executable, "-m", "systems.recorder", "--protocol", self.protocol]
        command += ["--port", port, "--out", out]
        process = run.start(name, command, cwd=HOME)
        return Sink([process], Arrivals(out), (await process.ready())["ready_ns"])


@dataclass
class Round:
    """What a round showed."""

    count: Count
    # From "B listens" to the first message there; None where none came.
    first_s: "float | None"
    # What B received, over the time from its first to its last message.
    drain_per_s: "float | None"


@dataclass
class Result:
    """What is said about a system."""

    name: str
    title: str
    version: str = ""
    rounds: list = field(default_factory=list)
    acked_rate_64: "float | None" = None
    # Further figures of this system alone.
    more: "dict[str, Any]" = field(default_factory=dict)

    def figures(self):
        """Named figures, flat. Counts are sums over the rounds, times and rates medians."""
        total = sum((one.count for one in self.rounds), Count())
        named = {"version": self.version, "rounds": len(self.rounds)}
        if self.rounds:
            named.update(vars(total))
            named["lost_worst"] = max(one.count.lost for one in self.rounds)
            named["first_s"] = median(one.first_s for one in self.rounds)
            named["drain_per_s"] = median(one.drain_per_s for one in self.rounds)
        if self.acked_rate_64 is not None:
            named["acked_rate_64"] = round(self.acked_rate_64, 1)
        named.update(self.more)
        return {f"{self.name}_{key}": value for key, value in named.items()}


def median(values):
    """Of those that there are."""
    there = [value for value in values if value is not None]
    return round(statistics.median(there), 3) if there else None


def numbers(first, last):
    """A `take` that gives these, then `None`."""
    left = iter(range(first, last))
    return lambda: next(left, None)


async def outage(system, directory, messages):
    """One round of `messages` messages."""
    with Run(directory) as run:
        port, sink = free_ports(2)
        sink_a = await system.sink(run, "sink-a", sink)
        at_a = sink_a.arrivals
        await system.start(run, port, sink)

        acked, killed = set(), []
        half = messages // 2
        await system.publish(port, WINDOW, numbers(0, half), acked.add)
        forwarded = f"{system.title} to forward {messages // 4} messages to the first sink"
        await until(forwarded, lambda: at_a.poll() >= messages // 4, FORWARDED_WITHIN_S)

        def note(number):
            acked.add(number)
            if not killed and len(acked) >= half + messages // 16:
                sink_a.kill()
                killed.append(time.monotonic())

        publishing = system.publish(port, WINDOW, numbers(half, messages), note)
        try:
            await asyncio.wait_for(publishing, PUBLISH_WITHIN_S)
        except asyncio.TimeoutError:
            say(f"{system.name}: stalled, {messages - len(acked)} messages not acknowledged")
        if not killed:
            raise RigError(
                f"{system.title} acknowledged too little to kill the sink, see {directory}"
            )
        await asyncio.sleep(max(0.0, killed[0] + OUTAGE_S - time.monotonic()))
        sink_b = await system.sink(run, "sink-b", sink)
        at_b = sink_b.arrivals
        at_a.poll()
        await settled(acked, at_a, at_b)

    at_a.poll()
    at_b.poll()
    counted = count(set(range(messages)), acked, at_a.numbers, at_b.numbers)
    if counted.unknown:
        raise RigError(f"{counted.unknown} arrivals that nobody sent, see {directory}")
    first_s = (at_b.times[0] - sink_b.up_ns) / 1e9 if at_b.times else None
    return Round(counted, first_s, rate(at_b.times, 1e9))


async def settled(acked, at_a, at_b):
    """Waits until all is there, or nothing comes any more."""
    missing, seen = acked.difference(at_a.numbers), 0
    last, limit = time.monotonic(), FIRST_WITHIN_S
    while missing and time.monotonic() < last + limit:
        await asyncio.sleep(0.05)
        if at_b.poll() > seen:
            missing.difference_update(at_b.numbers[seen:])
            seen, last, limit = len(at_b.numbers), time.monotonic(), QUIET_S


def rate(times, second):
    """
    Messages a second between the first and the last of these times, of which `second` make a
    second. What came with the first, in one piece, was on its way before: it is not counted.
    """
    took = (max(times) - min(times)) / second if times else 0
    return (len(times) - times.count(min(times))) / took if took else None


async def acked_rate(system, directory, seconds):
    """Acknowledgements a second with 64 in flight while there is no sink."""
    with Run(directory) as run:
        port, sink = free_ports(2)
        await system.start(run, port, sink)
        given, acked = iter(range(10**8)), 0
        end = time.monotonic() + seconds

        def take():
            return next(given) if time.monotonic() < end else None

        def note(_):
            nonlocal acked
            acked += time.monotonic() < end

        try:
            await asyncio.wait_for(system.publish(port, WINDOW, take, note), seconds + STALL_S)
        except asyncio.TimeoutError:
            say(f"{system.name}: stalled with messages in flight")
        return acked / seconds
