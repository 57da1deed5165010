"""
Door devices as Modbus units: what their registers show, and who swipes when.

Three kinds, with addresses from 0 as they are on the wire:

- `latch`: holding registers 1000 to 1004 the card, high word first, zeros before it; coil 1004 "new
  card", cleared by a write of 0; coil 1005 "restarted", set at first, cleared likewise. The other coils
  from 992 to 1007 mean nothing.
- `sequence`: input register 0 the counter, 2 the number of bits, 3 to 18 the card, as above.
- `ring`: holding register 0 the counter, from 100 on 64 records of 4 registers with the card. Record 1
  is in the first place.

A counter is the lowest 16 bits of the newest swipe's number. pymodbus calls `Unit.asked` before each
read and write, and what is shown is copied then: one request sees one moment.
"""

import asyncio
import collections
import typing

from pymodbus.constants import ExcCodes
from pymodbus.simulator import DataType, SimData, SimDevice

CARD, NEW_CARD, RESTARTED = 1000, 1004, 1005
RING, RECORDS, WORDS = 100, 64, 4

TABLES = {1: "coil", 5: "coil", 15: "coil", 2: "discrete", 4: "input"}
# pymodbus wants all four tables of each unit, and knows neither bits that are not there nor bits that
# cannot be written: `Unit.asked` refuses these.
NOTHING = [SimData(0, datatype=DataType.INVALID)]
NO_BITS = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]


class Card(typing.NamedTuple):
    """A number as people read it, and the bits that a reader sees."""

    number: int
    raw: int
    bits: int


def words(number, count):
    """A number in so many registers, the high one first."""
    return [number >> 16 * place & 0xFFFF for place in reversed(range(count))]


def registers(address, count):
    """Some that a client cannot write."""
    return SimData(address, values=[0] * count, datatype=DataType.REGISTERS, readonly=True)


class Unit:
    """What the kinds have in common: a number, faults, and a place where the swipes are written."""

    kind = ""
    has = ()

    def __init__(self, number):
        self.number, self.count = number, 0
        # Whether the next swipe may be shown.
        self.free = asyncio.Event()
        self.free.set()
        # Exceptions, and delays in seconds, for the next requests; until when it does not hear, or
        # hears and does not answer, by the clock of the event loop.
        self.refusals, self.delays = collections.deque(), collections.deque()
        self.deaf_until = self.mute_until = 0.0

    def device(self):
        """The unit for pymodbus."""
        return SimDevice(self.number, simdata=self.tables(), action=self.asked)

    async def asked(self, function, start, address, _count, table, values):
        """Before a read, or a write of `values`: `table` is what begins at `start`."""
        if self.refusals:
            return ExcCodes(self.refusals.popleft())
        name = TABLES.get(function, "holding")
        if name not in self.has:
            return ExcCodes.ILLEGAL_ADDRESS
        for place, value in enumerate(values or []):
            self.written(name, address + place, value)
        self.show(name, start, table)
        return None

    def swipe(self, card, before=False):
        """Shows a card; answers with what the ledger says of it."""
        self.count += 1
        self.keep(card)
        return {
            "unit": self.number,
            "kind": self.kind,
            "number": self.count,
            "card": card.number,
            "before": before,
        }

    def begin(self, _counter, _card):
        """Goes on from a number: the swipes before, as far as they are still there."""
        return []

    def written(self, name, address, value):
        """A client has written."""


class Latch(Unit):
    """Keeps one card until a client has cleared the flag."""

    kind = "latch"
    has = ("coil", "holding")

    def __init__(self, number):
        super().__init__(number)
        self.card, self.restarted = 0, True

    def tables(self):
        """Coils, discrete inputs, holding and input registers."""
        coils = [SimData(CARD - 8, values=[False] * 16, datatype=DataType.BITS)]
        return (coils, NO_BITS, [registers(CARD, 5)], NOTHING)

    def keep(self, card):
        """The newest card."""
        self.card = card.raw
        self.free.clear()

    def written(self, name, address, value):
        """A write of 0 clears a flag; one of 1 does nothing."""
        if (name, address, bool(value)) == ("coil", NEW_CARD, False):
            self.free.set()
        if (name, address, bool(value)) == ("coil", RESTARTED, False):
            self.restarted = False

    def show(self, name, start, table):
        """As it is now."""
        if name == "holding":
            table[CARD - start : CARD - start + 5] = words(self.card, 5)
        if name == "coil":
            flags = (NEW_CARD, not self.free.is_set()), (RESTARTED, self.restarted)
            for address, is_set in flags:
                # pymodbus keeps 16 coils in a word, the first one lowest.
                word, bit = address // 16 - start, 1 << address % 16
                table[word] = table[word] | bit if is_set else table[word] & ~bit


class Sequence(Unit):
    """Keeps one card, and counts."""

    kind = "sequence"
    has = ("input",)

    def __init__(self, number):
        super().__init__(number)
        self.card = Card(0, 0, 0)

    def tables(self):
        """Coils, discrete inputs, holding and input registers."""
        return (NO_BITS, NO_BITS, NOTHING, [registers(0, 19)])

    def begin(self, counter, card):
        """The newest one before."""
        self.count = max(counter - 1, 0)
        return [self.swipe(card(), before=True)] if counter else []

    def keep(self, card):
        """The newest card."""
        self.card = card

    def show(self, name, start, table):
        """As it is now."""
        if name == "input" and start == 0:
            table[:19] = [self.count & 0xFFFF, 0, self.card.bits, *words(self.card.raw, 16)]


class Ring(Unit):
    """Keeps 64 cards, and counts."""

    kind = "ring"
    has = ("holding",)

    def __init__(self, number):
        super().__init__(number)
        self.records = [0] * RECORDS * WORDS

    def tables(self):
        """Coils, discrete inputs, holding and input registers."""
        holding = [registers(0, 1), registers(RING, RECORDS * WORDS)]
        return (NO_BITS, NO_BITS, holding, NOTHING)

    def begin(self, counter, card):
        """A ring full of those before."""
        self.count = max(counter - RECORDS, 0)
        return [self.swipe(card(), before=True) for _ in range(counter - self.count)]

    def keep(self, card):
        """The newest card."""
        place = (self.count - 1) % RECORDS * WORDS
        self.records[place : place + WORDS] = words(card.raw, WORDS)

    def show(self, name, start, table):
        """As it is now."""
        if name == "holding" and start == 0:
            table[0] = self.count & 0xFFFF
            table[RING : RING + RECORDS * WORDS] = self.records


KINDS = (Latch, Sequence, Ring)


class Cards:
    """Cards that nobody has seen before, and the last one a second time now and then."""

    def __init__(self, rng, used, wiegand):
        self.rng, self.used, self.wiegand = rng, used, wiegand
        self.last, self.is_second = None, False

    def next(self):
        """The next one."""
        self.is_second = bool(self.last and not self.is_second and self.rng.random() < 1 / 12)
        while not self.is_second:
            card = self.make()
            if card.number and card.number not in self.used:
                self.used.add(card.number)
                self.last = card
                break
        return self.last

    def make(self):
        """Any card: a number of some width, or 26 bits of Wiegand."""
        if not self.wiegand:
            bits = self.rng.choice((26, 32, 37, 48))
            number = self.rng.getrandbits(bits)
            return Card(number, number, bits)
        facility, number = self.rng.getrandbits(8), self.rng.getrandbits(16)
        text = f"{facility:08b}{number:016b}"
        even, odd = text[:12].count("1") % 2, 1 - text[12:].count("1") % 2
        return Card(facility * 100_000 + number, int(f"{even}{text}{odd}", 2), 26)


def schedule(kind, count, rate, rng, cards):
    """So many swipes, `rate` a second on average: pauses in seconds, and what is swiped at once after."""
    plan = []
    while count:
        size = min(count, burst(kind, rng))
        # At least half of the average, so that single ones are apart.
        pause = size / rate * (0.5 + rng.expovariate(2))
        plan.append((pause, [cards.next() for _ in range(size)]))
        count -= size
    return plan


def burst(kind, rng):
    """How many swipe at once: seldom more than the device can show."""
    is_rare = rng.random() < 0.1
    if kind == "ring":
        return rng.randint(RECORDS + 1, 100) if is_rare else rng.randint(1, 20)
    return rng.randint(2, 5) if kind == "sequence" and is_rare else 1
