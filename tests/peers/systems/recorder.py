"""
The sink of a round: writes down what arrives, then answers. A process of its own, to be killed.

    python3 -m systems.recorder --protocol relp --port 20001 --out arrivals

It prints one line of JSON when it listens. Each message becomes a line `NANOSECONDS NUMBER` of the
monotonic clock, which all processes of a machine share. A message is in the kernel's hands before
its answer is, so that a SIGKILL never takes back what was answered: whatever is missing afterwards
was lost by the system that is measured.
"""

import argparse
import asyncio
import json
import os
import re
import sys
import time

from .wire import SINKS

# How a message carries its number, wherever a system wraps it: see `message`.
NUMBER = re.compile(rb"#(\d{8})#")
# Of a message; a card transaction with its envelope has about this size.
MESSAGE_BYTES = 150


def message(number):
    """The message with this number, printable and without spaces."""
    head = b"#%08d#" % number
    return head + b"x" * (MESSAGE_BYTES - len(head))


class Recorder(asyncio.Protocol):
    """One connection."""

    def __init__(self, codec, out):
        self.codec, self.out = codec, out
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        messages, answer = self.codec.feed(data)
        if messages:
            now = time.monotonic_ns()
            lines = "".join(f"{now} {number_of(text)}\n" for text in messages)
            os.write(self.out, lines.encode())
        self.transport.write(answer)


def number_of(text):
    """The number in a message, however it is wrapped. What has none becomes -1: not ours."""
    found = NUMBER.search(text)
    return int(found[1]) if found else -1


class Arrivals:
    """Reads a recorder's file while it grows."""

    def __init__(self, path):
        self.path, self.at = path, 0
        # When, and which.
        self.times, self.numbers = [], []

    def poll(self):
        """How many arrived by now."""
        if self.path.exists():
            with open(self.path, "rb") as file:
                file.seek(self.at)
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self.at += len(whole) + 1
                for line in whole.split(b"\n"):
                    time_ns, number = line.split(b" ")
                    self.times.append(int(time_ns))
                    self.numbers.append(int(number))
        return len(self.numbers)


async def serve(protocol, port, out):
    """Listens until it is killed."""
    codec = SINKS[protocol]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Recorder(codec(), out), "127.0.0.1", port)
    sys.stdout.write(json.dumps({"ready_ns": time.monotonic_ns()}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="A sink that writes down what arrives.")
    parser.add_argument("--protocol", choices=SINKS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    out = os.open(args.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    asyncio.run(serve(args.protocol, args.port, out))


if __name__ == "__main__":
    main()
