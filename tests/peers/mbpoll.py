#!/usr/bin/env python3
"""
Drives the simulator's Modbus units with an independent client: mbpoll, Debian's package.

    apt-get install mbpoll
    python3 tests/peers/mbpoll.py --sim target/debug/postern-sim

Starts the simulator by itself, with units behind a TCP port and on a serial device, and reads and writes all four
tables of theirs, also of one that misbehaves. What the units showed is compared with the simulator's ledger.
Prints a line for each check, then `N passed, M failed`; exit code 0 where nothing failed.
"""

import argparse
import re
import subprocess
import sys

from simulator import Simulator, check, summary

READER, BOARD, LATCH = 70101, 70107, 70201
CARD = 8165537

CONFIG = f"""
seed = 7
ledger = "ledger.jsonl"
[[line]]
name = "gate"
protocol = "modbus"
tcp = "127.0.0.1:0"
[[line.unit]]
unit = 1
serial = {READER}
profile = "rfideas-tcp"
[[line.unit]]
unit = 7
serial = {BOARD}
profile = "relay-board"
[[line]]
name = "hall"
protocol = "modbus"
pty = "hall.tty"
baud = 9600
[[line.unit]]
unit = 1
serial = {LATCH}
profile = "inveo-rfid"
[[line.unit]]
unit = 247
serial = {LATCH + 246}
profile = "relay-board"
"""

# mbpoll's names of the tables.
COIL, INPUT, INPUT_REGISTER, HOLDING_REGISTER = "0", "1", "3", "4"

# How long it may take. Where nobody answers, it takes all of it.
PATIENCE = "5"
IMPATIENCE = "0.3"


class Client:
    """mbpoll at one end of a line; each call is a process, and a connection."""

    def __init__(self, line):
        if "tcp" in line:
            host, port = line["tcp"].split(":")
            self.where, self.how = host, ["-m", "tcp", "-p", port]
        else:
            self.where, self.how = line["pty"], ["-m", "rtu", "-b", "9600", "-P", "none"]

    def _run(self, unit, table, address, count, values, patience):
        options = ["-a", str(unit), "-t", table, "-0", "-r", str(address), "-o", patience, "-1"]
        if not values:
            options += ["-c", str(count)]
        command = ["mbpoll", *self.how, *options, self.where, *map(str, values)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def read(self, unit, table, address, count):
        """The values, or what mbpoll says instead."""
        done = self._run(unit, table, address, count, [], PATIENCE)
        if done.returncode != 0:
            return error(done)
        found = re.findall(r"^\[(\d+)\]:\s+(\d+)", done.stdout, re.MULTILINE)
        addresses = [int(address) for address, _ in found]
        if addresses != list(range(address, address + count)):
            return f"addresses {addresses}"
        return [int(value) for _, value in found]

    def write(self, unit, table, address, *values):
        """None where it is done, or what mbpoll says instead."""
        done = self._run(unit, table, address, 1, values, PATIENCE)
        if done.returncode != 0:
            return error(done)
        return None if f"Written {len(values)} references" in done.stdout else done.stdout

    def is_silent(self, unit, table, address):
        """Whether nobody answers."""
        done = self._run(unit, table, address, 1, [], IMPATIENCE)
        return done.returncode != 0 and error(done) == "Connection timed out"


def error(done):
    """What failed, without what was tried."""
    return done.stderr.strip().rsplit("failed: ", 1)[-1]


def check_reader(name, client, sim):
    """A reader that counts: input registers."""
    sim.post(READER, "swipe", card=5, door=1)
    sim.post(READER, "swipe", card=CARD, reader=1)
    card = [CARD >> 16, CARD & 0xFFFF]
    wanted = [2, 0, 23] + [0] * 14 + card
    check(f"{name} reader: sequence, bits and card", client.read(1, INPUT_REGISTER, 0, 19), wanted)
    refused = "Illegal data address"
    check(f"{name} reader: beyond them", client.read(1, INPUT_REGISTER, 0, 20), refused)
    check(f"{name} reader: no holding register", client.read(1, HOLDING_REGISTER, 0, 1), refused)
    shown = [({"reader": 1}, "card-read", 1, 5), ({"reader": 1}, "card-read", 2, CARD)]
    check(f"{name} reader: ledger", sim.ledger.shown(READER)[1:], shown)


def check_board(name, client, sim, unit, serial):
    """A board of relays: coils and discrete inputs."""
    sim.post(serial, "door-point", door=2, point="contact", on=True)
    sim.post(serial, "door-point", door=4, point="button", on=True)
    check(f"{name} board: inputs", client.read(unit, INPUT, 0, 8), [0, 1, 0, 0, 0, 0, 0, 1])
    check(f"{name} board: write a coil", client.write(unit, COIL, 2, 1), None)
    check(f"{name} board: write two", client.write(unit, COIL, 0, 1, 1), None)
    check(f"{name} board: coils", client.read(unit, COIL, 0, 4), [1, 1, 1, 0])
    check(f"{name} board: write it back", client.write(unit, COIL, 1, 0), None)
    check(f"{name} board: coils again", client.read(unit, COIL, 0, 4), [1, 0, 1, 0])
    refused = "Illegal data address"
    check(f"{name} board: no such coil", client.read(unit, COIL, 0, 5), refused)
    check(f"{name} board: nor to be written", client.write(unit, COIL, 9, 1), refused)
    shown = [(source["door"], what) for source, what, _, _ in sim.ledger.shown(serial)[1:]]
    wanted = [(2, "opened"), (4, "pressed"), (3, "released"), (1, "released"), (2, "released")]
    check(f"{name} board: ledger", shown, wanted + [(2, "locked")])


def check_latch(name, client, sim):
    """A reader that keeps one card: coils and holding registers."""
    sim.post(LATCH, "swipe", card=CARD, door=1)
    check(f"{name} latch: restarted, and a card", client.read(1, COIL, 1004, 2), [1, 1])
    card = [0, 0, 0, CARD >> 16, CARD & 0xFFFF]
    check(f"{name} latch: card", client.read(1, HOLDING_REGISTER, 1000, 5), card)
    check(f"{name} latch: both cleared", client.write(1, COIL, 1004, 0, 0), None)
    check(f"{name} latch: no card", client.read(1, COIL, 1004, 2), [0, 0])
    refused = "Illegal data address"
    check(f"{name} latch: an input", client.write(1, COIL, 1001, 1), refused)
    check(f"{name} latch: a card", client.write(1, HOLDING_REGISTER, 1000, 1), refused)
    sim.post(LATCH, "swipe", card=1, door=1)
    sim.post(LATCH, "swipe", card=2, door=1)
    sim.post(LATCH, "power-cycle")
    check(f"{name} latch: restarted, no card", client.read(1, COIL, 1004, 2), [0, 1])
    what = [(what, card) for _, what, _, card in sim.ledger.shown(LATCH)[1:]]
    first = [("card-read", CARD), ("card-taken", CARD), ("card-read", 1), ("card-lost", 1)]
    check(f"{name} latch: ledger", what, first + [("card-read", 2), ("started", None)])


def check_faults(name, client, sim):
    """What mbpoll says of a board that misbehaves."""
    check(f"{name} unknown unit", client.read(9, COIL, 0, 1), "Target device failed to respond")
    refusals = [
        (1, "Illegal function"),
        (3, "Illegal data value"),
        (6, "Slave device or server is busy"),
    ]
    for code, says in refusals:
        sim.post(BOARD, "unit-faults", exception=1.0, exception_code=code, requests=1)
        check(f"{name} exception {code}", client.read(7, COIL, 0, 1), says)
    sim.post(BOARD, "unit-faults", silent=1.0)
    check(f"{name} silent", client.is_silent(7, COIL, 0), True)
    sim.post(BOARD, "unit-faults", hang_up=1.0)
    check(f"{name} hangs up", client.read(7, COIL, 0, 1), "Connection reset by peer")
    sim.post(BOARD, "unit-faults", other_count=1.0)
    check(f"{name} too many", client.read(7, COIL, 0, 1), "Invalid data")
    sim.post(BOARD, "unit-faults", late=1.0, late_ms=500)
    check(f"{name} late: for the impatient", client.is_silent(7, COIL, 0), True)
    check(f"{name} late", client.read(7, COIL, 0, 1), [1])
    sim.post(BOARD, "unit-faults")
    check(f"{name} healthy again", client.read(7, COIL, 0, 1), [1])


def main():
    """Starts the simulator, checks all units, stops it."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--sim", required=True, help="path of the simulator's binary")
    with Simulator(parser.parse_args().sim, CONFIG) as sim:
        gate, hall = Client(sim.lines["gate"]), Client(sim.lines["hall"])
        check_reader("tcp", gate, sim)
        check_board("tcp", gate, sim, 7, BOARD)
        check_faults("tcp", gate, sim)
        check_latch("rtu", hall, sim)
        check_board("rtu", hall, sim, 247, LATCH + 246)
        check("rtu nobody", hall.is_silent(9, COIL, 0), True)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
