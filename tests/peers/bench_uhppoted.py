#!/usr/bin/env python3
"""
How fast the `uhppoted` package of PyPI (0.9.1.1) reads events from a board.

Run by `cargo bench -p postern-gateway --bench uhppote`, which compares the gateway with it. Asks for
the events 1 to N one after the other, checks each number, and prints one JSON object. The time of
Python's own start and of a few events before is not in it.
"""

import argparse
import json
import time

from uhppoted import uhppote

WARM_UP = 100


def read(client, board, last):
    """Reads the events 1 to last; in how many seconds."""
    begin = time.perf_counter()
    for index in range(1, last + 1):
        event = client.get_event(board, index)
        if event.index != index:
            raise SystemExit(f"error: asked for event {index}, got {event.index}")
    return time.perf_counter() - begin


def main():
    """Warms up, measures, says so."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--serial", type=int, required=True)
    parser.add_argument("--address", required=True, help="address and port of the board")
    parser.add_argument("--protocol", choices=["udp", "tcp"], required=True)
    parser.add_argument("--events", type=int, required=True)
    asked = parser.parse_args()

    client = uhppote.Uhppote(bind="0.0.0.0", broadcast=asked.address, listen="127.0.0.1:0")
    board = (asked.serial, asked.address, asked.protocol)
    read(client, board, min(WARM_UP, asked.events))
    seconds = read(client, board, asked.events)
    print(json.dumps({"events": asked.events, "seconds": seconds, "events_per_s": asked.events / seconds}))


if __name__ == "__main__":
    main()
