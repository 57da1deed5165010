#!/usr/bin/env python3
"""
Plays door devices that speak Modbus, with the server and the framers of `pymodbus` (PyPI, 3.16.1).

    pip install pymodbus[serial]==3.16.1
    python3 tests/peers/modbus_devices.py --tcp 0 --rtu --swipes 200 --seed 7 --rate 5 --ledger FILE

Over TCP there are units 1 latch, 2 sequence, 3 ring (and on with `--each`), on a serial line (one end of
a pair that it opens itself) 101, 102 and 103. modbus_units.py says what their registers mean. Each swipe
that a unit shows is written to the ledger first: one JSON object a line, `{"unit", "kind", "number",
"card", "before", "at"}`, where `before` is true of what was there at the start, and `at` is when it was
written (RFC 3339 in UTC).

Prints `ready {"tcp": PORT, "rtu": PATH}`, and `done` once all swipes were shown (a latch shows the next
one once a client has cleared its flag). Reads orders from standard input, and prints `ok` and the order
once it holds:

    pause | resume | stop
    silence UNIT SECONDS          hears nothing
    mute UNIT SECONDS             does what it is asked, and does not answer
    late UNIT SECONDS             answers the next request so late (another order: the one after it)
    exception UNIT CODE COUNT     refuses the next COUNT requests

Ends with `stop`, and with the end of standard input.
"""

import argparse
import asyncio
import contextlib
import datetime
import fcntl
import json
import logging
import os
import random
import sys
import termios
import threading
import tty

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator.simcore import SimCore

from modbus_units import KINDS, Cards, schedule

# The first unit on the serial line is one more.
RTU_UNITS = 100
# A client asks a unit that is not there, or does not wait for an answer.
EXPECTED = ("requested device id does not exist", "Cancel send, because not connected")


class Core(SimCore):
    """pymodbus's units. It answers for one that it does not have with a failure of the device, even on a
    serial line: a KeyError becomes that, and is never the error that its server looks for."""

    async def async_getValues(self, device_id, *asked):
        self.find(device_id)
        return await super().async_getValues(device_id, *asked)

    async def async_setValues(self, device_id, *asked):
        self.find(device_id)
        return await super().async_setValues(device_id, *asked)

    def find(self, device_id):
        """An error where there is none."""
        if device_id not in self.devices:
            raise NoSuchIdException(f"no unit {device_id}")


class Handler(ServerRequestHandler):
    """pymodbus's handler, with units that misbehave."""

    def __init__(self, server):
        super().__init__(server, None, None, None)
        self.units = server.units

    async def handle_request(self):
        unit = self.units.get(self.last_pdu.dev_id) if self.last_pdu else None
        if unit and unit.deaf_until > self.loop.time():
            return
        await super().handle_request()

    def server_send(self, pdu, addr):
        unit = self.units.get(pdu.dev_id)
        if unit and unit.mute_until > self.loop.time():
            return
        if unit and unit.delays:
            self.loop.call_later(unit.delays.popleft(), super().server_send, pdu, addr)
        else:
            super().server_send(pdu, addr)


class TcpServer(ModbusTcpServer):
    """Answers for a unit that is not there as a gateway to a line does: nobody answered."""

    def __init__(self, units, port):
        self.units = units
        devices = [unit.device() for unit in units.values()]
        super().__init__(devices, address=("127.0.0.1", port))
        self.context = Core(devices)

    def callback_new_connection(self):
        return Handler(self)

    def port(self):
        """Where it listens."""
        return self.transport.sockets[0].getsockname()[1]


class RtuServer(ModbusSerialServer):
    """One end of a serial line: unit 0 is all of them, and nobody answers for one that is not there."""

    def __init__(self, units):
        self.units = units
        devices = [unit.device() for unit in units.values()]
        super().__init__(devices, ignore_missing_devices=True, broadcast_enable=True)
        self.context = Core(devices)
        # pymodbus opens a path, and this end of the pair has none.
        self.call_create = self.open_line
        self.end, self.other = os.openpty()
        tty.setraw(self.other)
        os.set_blocking(self.end, False)

    def callback_new_connection(self):
        return Handler(self)

    async def open_line(self):
        """As pymodbus wants it: a transport and a protocol."""
        handler = self.handle_new_connection()
        return Line(self.loop, handler, self.end, self.other), handler

    def path(self):
        """Of the other end."""
        return os.ttyname(self.other)


class Line(asyncio.Transport):
    """The end of a serial line."""

    def __init__(self, loop, handler, end, other):
        super().__init__()
        self.line_loop, self.handler, self.end, self.other = loop, handler, end, other
        loop.add_reader(end, self.read)
        loop.call_soon(handler.connection_made, self)

    def read(self):
        """Some bytes."""
        # Who opened the other end may have asked for it alone, and a pair whose ends stay open does not
        # forget that when they close it: only root could open it again.
        fcntl.ioctl(self.other, termios.TIOCNXCL)
        self.handler.data_received(os.read(self.end, 1024))

    def write(self, data):
        """What nobody reads is lost once the line is full."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.end, data)

    def close(self):
        """No more."""
        self.line_loop.remove_reader(self.end)


class Devices:
    """All units, the ledger and the orders."""

    def __init__(self, asked):
        self.units, self.lines, self.plans = {}, {}, {}
        self.running = asyncio.Event()
        if not asked.paused:
            self.running.set()
        # Each line of it is there before anybody can read what it says.
        self.ledger = open(asked.ledger, "w", encoding="utf-8", buffering=1)
        used = set()
        lines = {"tcp": 0} if asked.tcp is not None else {}
        lines |= {"rtu": RTU_UNITS} if asked.rtu else {}
        for line, first in lines.items():
            self.lines[line] = {}
            for number in range(3 * asked.each):
                unit = KINDS[number % 3](first + number + 1)
                self.add(line, unit, asked, used)

    def add(self, line, unit, asked, used):
        """A unit, with all that will happen to it: by the seed alone."""
        rng = random.Random(f"{asked.seed} {unit.number}")
        cards = Cards(rng, used, asked.wiegand)
        for before in unit.begin(asked.counter, cards.next):
            self.write(before)
        self.plans[unit.number] = schedule(unit.kind, asked.swipes, asked.rate, rng, cards)
        self.units[unit.number] = self.lines[line][unit.number] = unit

    def write(self, line):
        """One line of the ledger."""
        at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.ledger.write(json.dumps(line | {"at": at}) + "\n")

    async def swipe(self, unit):
        """All that will happen to a unit."""
        for pause, cards in self.plans[unit.number]:
            await asyncio.sleep(pause)
            while not (self.running.is_set() and unit.free.is_set()):
                await self.running.wait()
                await unit.free.wait()
            # In one step: who asks sees all of them, or none.
            for card in cards:
                self.write(unit.swipe(card))

    def obey(self, order):
        """An order other than `stop`."""
        now = asyncio.get_running_loop().time()
        match order.split():
            case ["pause"]:
                self.running.clear()
            case ["resume"]:
                self.running.set()
            case ["silence", unit, seconds]:
                self.units[int(unit)].deaf_until = now + float(seconds)
            case ["mute", unit, seconds]:
                self.units[int(unit)].mute_until = now + float(seconds)
            case ["late", unit, seconds]:
                self.units[int(unit)].delays.append(float(seconds))
            case ["exception", unit, code, count]:
                code = ExcCodes(int(code))
                self.units[int(unit)].refusals.extend([code] * int(count))
            case _:
                raise ValueError("no such order")


async def serve(asked):
    """Everything, until `stop` or the end of standard input."""
    devices = Devices(asked)
    servers, where = [], {"tcp": None, "rtu": None}
    if "tcp" in devices.lines:
        tcp = TcpServer(devices.lines["tcp"], asked.tcp)
        await tcp.serve_forever(background=True)
        servers.append(tcp)
        where["tcp"] = tcp.port()
    if "rtu" in devices.lines:
        rtu = RtuServer(devices.lines["rtu"])
        await rtu.serve_forever(background=True)
        servers.append(rtu)
        where["rtu"] = rtu.path()
    orders = asyncio.Queue()
    listener = (asyncio.get_running_loop(), orders)
    threading.Thread(target=listen, args=listener, daemon=True).start()
    print(f"ready {json.dumps(where)}", flush=True)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(devices.swipe(unit)) for unit in devices.units.values()]
        tasks.append(group.create_task(announce(list(tasks))))
        while (order := await orders.get()) != "stop":
            try:
                devices.obey(order)
            except (KeyError, ValueError) as error:
                raise SystemExit(f"error: order {order!r}: {error!r}") from error
            print(f"ok {order}", flush=True)
        for task in tasks:
            task.cancel()
    for server in servers:
        await server.shutdown()


async def announce(tasks):
    """Says so once all swipes were shown."""
    await asyncio.wait(tasks)
    print("done", flush=True)


def listen(loop, orders):
    """Hands lines of standard input on, and then `stop`. The file is the thread's own: Python waits for
    its lock on sys.stdin when it ends."""
    with open(os.dup(sys.stdin.fileno()), encoding="utf-8") as lines:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            for line in lines:
                loop.call_soon_threadsafe(orders.put_nowait, line.strip())
            loop.call_soon_threadsafe(orders.put_nowait, "stop")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--tcp", type=int, metavar="PORT", help="serve on 127.0.0.1; 0: a free port")
    parser.add_argument("--rtu", action="store_true", help="serve on a serial line")
    parser.add_argument("--each", type=int, default=1, help="so many units of each kind on a line")
    parser.add_argument("--ledger", required=True, help="the file for what really happened")
    parser.add_argument("--swipes", type=int, default=0, help="how many at each unit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.0, help="swipes a second at each unit")
    parser.add_argument("--counter", type=int, default=0, help="counters go on from here")
    parser.add_argument("--wiegand", action="store_true", help="cards of 26 bits, with parity")
    parser.add_argument("--paused", action="store_true", help="no swipe before `resume`")
    asked = parser.parse_args()
    if asked.tcp is None and not asked.rtu:
        parser.error("nothing to serve: --tcp or --rtu")
    if not 1 <= asked.each <= 30:
        parser.error("--each is 1 to 30: so many units have numbers")
    # Not what clients may do; pymodbus says there too if something goes wrong in here.
    log = logging.getLogger("pymodbus.logging")
    log.addFilter(lambda record: not record.getMessage().startswith(EXPECTED))
    asyncio.run(serve(asked))


if __name__ == "__main__":
    main()
