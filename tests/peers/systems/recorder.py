"""
The sink of a round: writes down what arrives, then answers. A process of its own, to be killed.

    python3 -m systems.recorder --protocol relp --port 20001 --out arrivals

It prints one line of JSON when it listens. Each message becomes a line: nanoseconds since 1970, a
space, and its number as the message carries it. With `--subscribe` it is a client instead and takes
what the broker at that port has for it. A message is in the kernel's hands before
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

from .wire import SINKS, MqttSubscriber

# How a message carries its number, wherever a system wraps it: see `message`.
NUMBER = re.compile(rb"#(-?\d{7,8})#")
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
            now = time.time_ns()
            lines = (b"%d #%08d#\n" % (now, number_of(text)) for text in messages)
            os.write(self.out, b"".join(lines))
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
                    time_ns, text = line.split(b" ", 1)
                    self.times.append(int(time_ns))
                    self.numbers.append(number_of(text))
        return len(self.numbers)


async def serve(protocol, port, out):
    """Listens until it is killed."""
    codec = SINKS[protocol]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Recorder(codec(), out), "127.0.0.1", port)
    say_ready()
    await server.serve_forever()


async def subscribe(port, out):
    """A subscriber of a broker, until it is killed."""
    codec = MqttSubscriber()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: Recorder(codec, out), "127.0.0.1", port)
    transport.write(codec.hello())
    while not codec.subscribed:
        await asyncio.sleep(0.005)
    say_ready()
    await asyncio.Event().wait()


def say_ready():
    """For whoever started it."""
    sys.stdout.write(json.dumps({"ready_ns": time.time_ns()}) + "\n")
    sys.stdout.flush()


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="A sink that writes down what arrives.")
    parser.add_argument("--protocol", choices=SINKS, default="mqtt")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--subscribe", action="store_true")
    args = parser.parse_args()
    out = os.open(args.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if args.subscribe:
        asyncio.run(subscribe(args.port, out))
    else:
        asyncio.run(serve(args.protocol, args.port, out))


if __name__ == "__main__":
    main()
