#!/usr/bin/env python3
"""
Checks modbus_devices.py: with bytes made by hand, and with pymodbus's own client.

    pip install pymodbus[serial]==3.16.1
    python3 tests/peers/modbus_devices_check.py

First what a request for an address and a unit gets, and how units misbehave. Then swipes at all units,
read over TCP and over a serial line in each of the three ways while they happen, and compared with the
ledger. Prints a line for each check, then `N passed, M failed`; exit code 0 where nothing failed.
"""

import asyncio
import json
import os
import pathlib
import queue
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tty

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

import modbus_units
from servers import until
from simulator import check, summary

PATIENCE_S = 60
# Long enough that a loaded machine does not take an answer for none.
SILENCE_S = 1.0
COUNTER = 65_500
SWIPES = 200
ARGUMENTS = ["--swipes", str(SWIPES), "--rate", "20", "--seed", "5", "--counter", str(COUNTER)]


class Devices:
    """The program, running; leaving the context ends it."""

    def __init__(self, folder, *arguments):
        self.ledger = pathlib.Path(folder) / "ledger.jsonl"
        program = pathlib.Path(__file__).with_name("modbus_devices.py")
        command = [sys.executable, str(program), "--ledger", str(self.ledger), *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        """Its lines, and an empty one at the end."""
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put("")

    def line(self):
        """The next line that it prints."""
        return self.lines.get(timeout=PATIENCE_S)

    def order(self, order):
        """Says something; returns once it holds. Swipes may end meanwhile."""
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        line = self.line()
        if line != f"ok {order}":
            raise RuntimeError(f"{order!r} was answered with {line!r}")

    def swipes(self, unit):
        """What the ledger says of a unit."""
        lines = map(json.loads, self.ledger.read_text("utf-8").splitlines())
        return [line for line in lines if line["unit"] == unit]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=PATIENCE_S)
        finally:
            self.process.kill()


class Tcp:
    """Bytes over TCP."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.next = 0

    def send(self, unit, request):
        """A request; answers with its number."""
        self.next += 1
        header = struct.pack(">HHHB", self.next, 0, len(request) + 1, unit)
        self.socket.sendall(header + request)
        return self.next

    def receive(self, patience=PATIENCE_S):
        """The next answer, and the number and the unit in it; `None` if there is none for so long."""
        self.socket.settimeout(patience)
        try:
            number, protocol, length, unit = struct.unpack(">HHHB", self.exactly(7))
        except TimeoutError:
            return None
        return (number, protocol, unit, self.exactly(length - 1))

    def exactly(self, count):
        """So many bytes."""
        return self.socket.recv(count, socket.MSG_WAITALL)

    def ask(self, unit, request, patience=PATIENCE_S):
        """The answer to a request."""
        number = self.send(unit, request)
        answer = self.receive(patience)
        if answer and answer[:3] != (number, 0, unit):
            raise RuntimeError(f"request {number} of unit {unit} got {answer}")
        return answer and answer[3]


class Rtu:
    """Bytes over a serial line."""

    def __init__(self, path):
        self.line = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.line)

    def ask(self, unit, request, patience=PATIENCE_S):
        """The answer to a request: what comes until it is whole. `None` if nothing does for so long."""
        request = bytes([unit]) + request
        os.write(self.line, request + crc(request))
        got, until = b"", time.monotonic() + patience
        while (left := until - time.monotonic()) > 0:
            if select.select([self.line], [], [], left)[0]:
                got += os.read(self.line, 256)
            if len(got) > 4 and crc(got[:-2]) == got[-2:]:
                if got[0] != unit:
                    raise RuntimeError(f"unit {unit} was asked and got {got}")
                return got[1:-2]
        if got:
            raise RuntimeError(f"no answer: {got}")
        return None


def crc(data):
    """The check of a frame, bit by bit, the low byte first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


def request(function, address, what):
    """A read of so many, or a write of one."""
    return struct.pack(">BHH", function, address, what)


def check_addresses(name, line, first, devices):
    """Address 0 on the wire is address 0, and nothing is where nothing should be."""
    latch, sequence, ring = first, first + 1, first + 2
    newest = devices.swipes(sequence)[-1]
    got = line.ask(sequence, request(4, 0, 19))
    counter, zero, bits = struct.unpack_from(">HHH", got, 2)
    check(f"{name} sequence: head", (got[:2], counter, zero), (b"\x04\x26", COUNTER, 0))
    check(f"{name} sequence: card", int.from_bytes(got[8:], "big"), newest["card"])
    check(f"{name} sequence: bits", newest["card"].bit_length() <= bits <= 64, True)
    check(f"{name} sequence: ends at 18", line.ask(sequence, request(4, 18, 2)), b"\x84\x02")
    check(f"{name} sequence: no coils", line.ask(sequence, request(5, 0, 0xFF00)), b"\x85\x02")
    check(f"{name} sequence: no inputs", line.ask(sequence, request(2, 0, 1)), b"\x82\x02")
    got = line.ask(ring, request(3, 0, 1))
    check(f"{name} ring: counter", got, struct.pack(">BBH", 3, 2, COUNTER))
    check(f"{name} ring: has a gap", line.ask(ring, request(3, 0, 2)), b"\x83\x02")
    before = {line["number"]: line["card"] for line in devices.swipes(ring)}
    # 65,472 is 1,023 times 64: the next number is in the first place.
    got = line.ask(ring, request(3, 100, 4))
    check(f"{name} ring: first", got, b"\x03\x08" + before[65_473].to_bytes(8, "big"))
    got = line.ask(ring, request(3, 352, 4))
    check(f"{name} ring: last", got, b"\x03\x08" + before[65_472].to_bytes(8, "big"))
    check(f"{name} ring: ends at 355", line.ask(ring, request(3, 352, 5)), b"\x83\x02")
    check(f"{name} ring: read-only", line.ask(ring, request(6, 0, 7)), b"\x86\x02")
    check(f"{name} latch: flags", line.ask(latch, request(1, 1004, 2)), b"\x01\x01\x02")
    check(f"{name} latch: no card", line.ask(latch, request(3, 1000, 5)), b"\x03\x0a" + bytes(10))
    check(f"{name} latch: begins at 1000", line.ask(latch, request(3, 999, 5)), b"\x83\x02")


def check_faults(name, line, unit, devices):
    """Each way to misbehave, at a sequence unit; its neighbour is well."""
    good = request(4, 0, 1)
    answer = line.ask(unit, good)
    devices.order(f"silence {unit} 3600")
    check(f"{name} silence: no answer", line.ask(unit, good, SILENCE_S), None)
    check(f"{name} silence: not its neighbour", line.ask(unit + 1, request(3, 0, 1)) is None, False)
    devices.order(f"silence {unit} 0")
    check(f"{name} silence: ends", line.ask(unit, good), answer)
    devices.order(f"exception {unit} 6 2")
    refused = [line.ask(unit, good) for _ in range(3)]
    check(f"{name} exception: so many times", refused, [b"\x84\x06", b"\x84\x06", answer])
    # A write that nobody confirms was carried out all the same.
    latch = unit - 1
    devices.order(f"mute {latch} 3600")
    check(f"{name} mute: no answer", line.ask(latch, request(5, 1005, 0), SILENCE_S), None)
    devices.order(f"mute {latch} 0")
    check(f"{name} mute: it was done", line.ask(latch, request(1, 1004, 2)), b"\x01\x01\x00")
    devices.order(f"late {unit} 0.5")
    begun = time.monotonic()
    check(f"{name} late: answers", line.ask(unit, good), answer)
    check(f"{name} late: late", 0.5 <= time.monotonic() - begun, True)
    check(f"{name} late: once", line.ask(unit, good), answer)


def check_tcp(line, unit, devices):
    """What differs over TCP."""
    check("tcp: nobody is unit 99", line.ask(99, request(4, 0, 1)), b"\x84\x0b")
    check("tcp: nobody is unit 0", line.ask(0, request(4, 0, 1)), b"\x84\x0b")
    devices.order(f"late {unit} 1")
    slow, fast = line.send(unit, request(4, 0, 1)), line.send(unit + 1, request(3, 0, 1))
    first, second = line.receive(), line.receive()
    told = (first[0], first[2], second[0], second[2])
    check("tcp late: an answer keeps its number", told, (fast, unit + 1, slow, unit))


def check_rtu(line, unit):
    """What differs on a serial line."""
    check("rtu: nobody is unit 99", line.ask(99, request(4, 0, 1), SILENCE_S), None)
    check("rtu: unit 0 is not answered", line.ask(0, request(5, 1004, 0), SILENCE_S), None)
    check("rtu: and then others are", line.ask(unit, request(3, 0, 1)) is None, False)


class Reading:
    """What a client reads of a unit."""

    def __init__(self, client, unit):
        self.client, self.unit = client, unit
        self.seen, self.lost = [], 0
        self.known = COUNTER

    async def get(self, call, *arguments, **more):
        """An answer that is no refusal."""
        answer = await call(*arguments, device_id=self.unit, **more)
        if answer.isError():
            raise RuntimeError(f"unit {self.unit}: {answer}")
        return answer

    def newest(self, shown):
        """The full number of what a counter shows."""
        return self.known + (shown - self.known) % 65_536

    async def latch(self):
        """Reads a card if there is one, and clears the flag."""
        if (await self.get(self.client.read_coils, 1004, count=1)).bits[0]:
            answer = await self.get(self.client.read_holding_registers, 1000, count=5)
            self.seen.append((len(self.seen) + 1, number(answer.registers)))
            await self.get(self.client.write_coil, 1004, False)

    async def sequence(self):
        """Reads the newest card, and counts those before it."""
        answer = await self.get(self.client.read_input_registers, 0, count=19)
        newest = self.newest(answer.registers[0])
        if newest > self.known:
            self.lost += newest - self.known - 1
            self.seen.append((newest, number(answer.registers[3:])))
            self.known = newest

    async def ring(self):
        """Reads what is there, a record a request, and looks whether it still was afterwards."""
        newest = self.newest(await self.counter())
        while self.known < newest:
            next_number = max(self.known + 1, newest - 63)
            place = 100 + (next_number - 1) % 64 * 4
            answer = await self.get(self.client.read_holding_registers, place, count=4)
            newest = self.newest(await self.counter())
            self.lost += next_number - self.known - 1
            if newest - next_number < 64:
                self.seen.append((next_number, number(answer.registers)))
            else:
                self.lost += 1
            self.known = next_number

    async def counter(self):
        """The ring's."""
        return (await self.get(self.client.read_holding_registers, 0, count=1)).registers[0]


def number(registers):
    """The high register first."""
    return int.from_bytes(struct.pack(f">{len(registers)}H", *registers), "big")


async def follow(client, first, is_over):
    """Reads three units until nothing comes any more."""
    if not await client.connect():
        raise RuntimeError("not connected")
    latch, sequence, ring = (Reading(client, first + place) for place in range(3))
    was_over = False
    while not was_over:
        # What was shown before it was over is read once more.
        was_over = is_over.is_set()
        await latch.latch()
        await sequence.sequence()
        await ring.ring()
    client.close()
    return latch, sequence, ring


async def follow_all(devices, port, path):
    """Both lines at once, until all was swiped."""
    is_over = asyncio.Event()

    async def over():
        check("all was swiped", await asyncio.to_thread(devices.line), "done")
        is_over.set()

    tcp = AsyncModbusTcpClient("127.0.0.1", port=port)
    rtu = AsyncModbusSerialClient(path, baudrate=115_200)
    ways = asyncio.gather(follow(tcp, 1, is_over), follow(rtu, 101, is_over), over())
    return (await asyncio.wait_for(ways, PATIENCE_S))[:2]


def check_swipes(name, read, devices):
    """What was read of three units, against what was shown."""
    latch, sequence, ring = read
    for reading in read:
        shown = [line for line in devices.swipes(reading.unit) if not line["before"]]
        kind = f"{name} {shown[0]['kind']}"
        check(f"{kind}: all were shown", len(shown), SWIPES)
        first = 1 if reading is latch else COUNTER + 1
        numbers = [line["number"] for line in shown]
        check(f"{kind}: numbers", numbers, list(range(first, first + SWIPES)))
        pairs = [(line["number"], line["card"]) for line in shown]
        wrong = [pair for pair in reading.seen if pair not in pairs]
        check(f"{kind}: whatever was read is true", wrong, [])
        order = [pair[0] for pair in reading.seen]
        check(f"{kind}: in order, each once", order, sorted(set(order)))
        check(f"{kind}: all were read or counted", len(reading.seen) + reading.lost, SWIPES)
        cards = [pair[1] for pair in pairs]
        again = sum(1 for one, other in zip(cards, cards[1:]) if one == other)
        told = (again > 0, len(cards) - len(set(cards)))
        check(f"{kind}: some cards come twice, and no other again", told, (True, again))
        print(f"      {len(reading.seen)} read, {reading.lost} lost, {again} cards twice")
    check(f"{name} latch: none was lost", latch.lost, 0)
    check(f"{name} sequence: some were lost, others were not", 0 < sequence.lost < SWIPES, True)
    check(f"{name} ring: some were overwritten, others were not", 0 < ring.lost < SWIPES, True)


def check_seed():
    """The seed alone says what happens."""

    def plan(seed, wiegand=False):
        rng = random.Random(seed)
        cards = modbus_units.Cards(rng, set(), wiegand)
        return modbus_units.schedule("ring", 200, 5.0, rng, cards)

    check("seed: the same", plan(1), plan(1))
    check("seed: another", plan(1) == plan(2), False)
    cards = [card for _, cards in plan(1, wiegand=True) for card in cards]
    ones = {(f"{card.raw:026b}"[:13].count("1") % 2, card.raw.bit_count() % 2) for card in cards}
    check("wiegand: parity of the first half is even, of all is odd", ones, {(0, 1)})
    parts = {(card.raw >> 17 & 0xFF) * 100_000 + (card.raw >> 1 & 0xFFFF) for card in cards}
    check("wiegand: facility and number", parts, {card.number for card in cards})


def main():
    """Everything."""
    check_seed()
    with tempfile.TemporaryDirectory() as folder:
        with Devices(folder, "--tcp", "0", "--rtu", "--paused", *ARGUMENTS) as devices:
            word, _, where = devices.line().partition(" ")
            where = json.loads(where)
            check("ready: says so", (word, sorted(where)), ("ready", ["rtu", "tcp"]))
            tcp, rtu = Tcp(where["tcp"]), Rtu(where["rtu"])
            for name, line, first in (("tcp", tcp, 1), ("rtu", rtu, 101)):
                check_addresses(name, line, first, devices)
                check_faults(name, line, first + 1, devices)
            check_tcp(tcp, 2, devices)
            check_rtu(rtu, 103)
            os.close(rtu.line)
            devices.order("resume")
            for first in (1, 101):
                until("some swiped", lambda unit=first + 1: len(devices.swipes(unit)) > 10)
                check(f"latch {first}: keeps what nobody has read", len(devices.swipes(first)), 1)
            read = asyncio.run(follow_all(devices, where["tcp"], where["rtu"]))
            check_swipes("tcp", read[0], devices)
            check_swipes("rtu", read[1], devices)
        check("end of input: ends it", devices.process.returncode, 0)
        with Devices(folder, "--tcp", "0") as devices:
            devices.line()
            check("without swipes: done at once", devices.line(), "done")
            devices.order("pause")
            devices.process.stdin.write("stop\n")
            devices.process.stdin.flush()
            check("stop: ends it", devices.process.wait(timeout=PATIENCE_S), 0)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
