"""
What an independent client sees of boards that misbehave: lost, late, stale, overtaken and reset
replies, an index at its wrap, a log that changes while it is read, a board that is replaced.

Used by `uhppoted_client.py`.
"""

import datetime
import socket
import time

from ipaddress import IPv4Address

from uhppoted import decode, uhppote

from simulator import check, raises

# Boards that misbehave, one for each protocol; 64 events, so the next swipe drops the 16 oldest.
FAULTY = {"udp": 201020304, "tcp": 201020305}
# Boards whose index wraps: 100 events from 4294967200 on, which ends with number 5 after 95 others.
# Their firmware begins its pushed events with another byte.
WRAPPING = {"udp": 201020306, "tcp": 201020307}
FIRST = 4294967200
LAST = 4294967294
# As in `uhppoted_client.py`, the 48 oldest are dropped.
OLDEST = FIRST + 48

CONFIG = "".join(
    [f"[[controller]]\nserial = {serial}\npreload = 64\n" for serial in FAULTY.values()]
    + [f"[[controller]]\nserial = {serial}\nfirst_index = {FIRST}\nfirmware = \"6.62\"\n" for serial in WRAPPING.values()]
)

# How long a client waits that is not going to be answered.
SHORT = 0.25

NOTHING = (0, 0, False, 0, 0, 0, None, 0)
OVERWRITTEN = (0, 0xFF, False, 0, 0, 0, None, 0)


def of_reply(event):
    """The fields of a record, as the client decoded them."""
    return (
        event.index,
        event.event_type,
        event.access_granted,
        event.door,
        event.direction,
        event.card,
        event.timestamp,
        event.reason,
    )


def of_status(status):
    """The same fields, from a status or a pushed event."""
    return (
        status.event_index,
        status.event_type,
        status.event_access_granted,
        status.event_door,
        status.event_direction,
        status.event_card,
        status.event_timestamp,
        status.event_reason,
    )


def check_lost(name, client, board, sim):
    """Lost requests, lost replies, resets: only the first leave undone what was asked."""
    serial = board[0]
    done = datetime.datetime(2022, 8, 23, 9, 49, 3)
    undone = datetime.datetime(2011, 1, 1)
    for fault, wanted in (("drop", done), ("reset", done), ("lose", undone)):
        client.set_time(board, undone)
        sim.post(serial, "faults", **{fault: 1.0})
        # Over TCP a reset is an error of its own, over UDP nothing comes.
        error = ConnectionResetError if (fault, name) == ("reset", "tcp") else TimeoutError
        failed = raises(error, lambda: client.set_time(board, done, timeout=SHORT))
        check(f"{name} {fault}: {error.__name__}", failed, True)
        sim.post(serial, "faults")
        gone = (client.get_time(board).datetime - wanted).total_seconds()
        carried_out = "not carried out" if fault == "lose" else "carried out"
        check(f"{name} {fault}: the request was {carried_out}", 0 <= gone < 5, True)


def check_late(name, client, board, sim):
    """Late and doubled replies."""
    serial = board[0]
    sim.post(serial, "faults", delay_ms=400)
    late = raises(TimeoutError, lambda: client.get_event(board, 50, timeout=SHORT))
    check(f"{name} delay: too late for the impatient", late, True)
    begun = time.monotonic()
    got = client.get_event(board, 51).index
    waited = time.monotonic() - begun
    check(f"{name} delay: in time for the patient", (got, waited >= 0.4), (51, True))
    if name == "udp":
        sim.post(serial, "faults", duplicate=1.0)
        got = [client.get_event(board, index).index for index in range(50, 60)]
        check("udp duplicate: each answer is the right one", got, list(range(50, 60)))
    sim.post(serial, "faults")


def check_stale(client, board, sim):
    """Replies in the wrong order, which a client can tell only by what they say. UDP."""
    serial = board[0]
    sim.post(serial, "faults", stale=1.0)
    kept = raises(TimeoutError, lambda: client.get_event(board, 50, timeout=SHORT))
    check("udp stale: the reply is kept back", kept, True)
    sim.post(serial, "faults")
    got = client.get_event(board, 51).index
    check("udp stale: and comes instead of the next", got, 50)
    check("udp stale: once", client.get_event(board, 52).index, 52)

    sim.post(serial, "faults", stale=1.0)
    raises(TimeoutError, lambda: client.get_event(board, 50, timeout=SHORT))
    sim.post(serial, "faults")
    refused = raises(ValueError, lambda: client.get_time(board))
    check("udp stale: another function's reply is refused", refused, True)

    sim.post(serial, "faults", reorder=1.0)
    kept = raises(TimeoutError, lambda: client.get_event(board, 50, timeout=SHORT))
    check("udp reorder: the reply is kept back", kept, True)
    check("udp reorder: and comes after the next", client.get_event(board, 51).index, 51)
    sim.post(serial, "faults", foreign=1.0)
    got = client.get_event(board, 51)
    wanted = sim.ledger.event(serial, 51)
    check("udp foreign: another board's reply comes first", got.controller, serial ^ 1)
    check("udp foreign: with a card of its own", (got.index, got.card), (51, wanted[5] ^ 1))
    sim.post(serial, "faults", elsewhere=True)
    got = client.get_event(board, 52).index
    check("udp elsewhere: a client that looks at no sender is answered", got, 52)
    sim.post(serial, "faults")


def check_clock(name, client, board, sim):
    """A clock that is wrong, runs wrong, was never set."""
    serial = board[0]
    sim.post(serial, "clock", unset=True)
    check(f"{name} clock: never set", client.get_time(board).datetime, None)
    sim.post(serial, "clock", offset_s=-3600, drift_ppm=0)
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    behind = (now - client.get_time(board).datetime).total_seconds()
    check(f"{name} clock: an hour slow", 3595 <= behind < 3605, True)
    sim.post(serial, "clock", unset=False)


def check_cursor(name, client, board, sim):
    """A competing host and the one cursor of the board."""
    client.set_event_index(board, 7)
    sim.post(board[0], "event-index", index=33)
    index = client.get_event_index(board).event_index
    check(f"{name} event-index: moved by a competing host", index, 33)


def check_traps(name, client, board, sim):
    """The log changes while it is read: a chunk is overwritten, then all is gone."""
    serial = board[0]
    got = [of_reply(client.get_event(board, index)) for index in (1, 9, 64)]
    wanted = [sim.ledger.event(serial, index) for index in (1, 9, 64)]
    check(f"{name} trap: what is read before it", got, wanted)
    sim.post(serial, "trap", index=10, then={"generate": 1})
    check(f"{name} trap: not yet", client.get_event(board, 9).index, 9)
    got = of_reply(client.get_event(board, 10))
    check(f"{name} trap: a chunk is overwritten in mid-read", got, OVERWRITTEN)
    got = of_reply(client.get_event(board, 0))
    check(f"{name} trap: the oldest jumps", got, sim.ledger.event(serial, 17))
    got = of_reply(client.get_event(board, 0xFFFFFFFF))
    check(f"{name} trap: the newest", got, sim.ledger.event(serial, 65))
    sim.post(serial, "trap", index=20, then="reset")
    check(f"{name} trap: not yet", client.get_event(board, 19).index, 19)
    got = of_reply(client.get_event(board, 20))
    check(f"{name} trap: the log is emptied in mid-read", got, NOTHING)
    check(f"{name} trap: nothing is left", client.get_event(board, 0xFFFFFFFF).index, 0)


def check_replaced(name, client, board, sim):
    """Another board under the same serial number, which has overtaken the old one."""
    serial = board[0]
    life = sim.post(serial, "replace", preload=100)["life"]
    check(f"{name} replace: nobody has set its clock", client.get_time(board).datetime, None)
    raw = [of_reply(client.get_event(board, index)) for index in (49, 100)]
    wanted = [sim.ledger.event(serial, index, life=life) for index in (49, 100)]
    check(f"{name} replace: a log of its own", raw, wanted)
    check(f"{name} replace: no listener", client.get_listener(board).port, 0)
    check(f"{name} replace: no cursor", client.get_event_index(board).event_index, 0)


def check_wrap(name, client, board, sim):
    """A log on both sides of the wrap of its index."""
    serial = board[0]
    first = of_reply(client.get_event(board, 0))
    check(f"{name} wrap: oldest", first, sim.ledger.event(serial, OLDEST))
    last = of_reply(client.get_event(board, 0xFFFFFFFF))
    check(f"{name} wrap: newest", last, sim.ledger.event(serial, 5))
    between = list(range(OLDEST, LAST + 1)) + list(range(1, 6))
    got = [of_reply(client.get_event(board, index)) for index in between]
    wanted = [sim.ledger.event(serial, index) for index in between]
    check(f"{name} wrap: all {len(got)} stored are those of the ledger", got, wanted)
    got = of_reply(client.get_event(board, OLDEST - 1))
    check(f"{name} wrap: overwritten", got, OVERWRITTEN)
    check(f"{name} wrap: past the newest", of_reply(client.get_event(board, 6)), NOTHING)
    status = of_status(client.get_status(board))
    check(f"{name} wrap: get-status", status, sim.ledger.event(serial, 5))
    for index in (LAST, 5):
        client.set_event_index(board, index)
        got = client.get_event_index(board).event_index
        check(f"{name} wrap: event index {index}", got, index)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        client.set_listener(board, IPv4Address("127.0.0.1"), listener.getsockname()[1])
        client.open_door(board, 1)
        packet = listener.recv(1024)
        check(f"{name} firmware 6.62: first byte of a pushed event", packet[0], 0x19)
        pushed = of_status(decode.event(packet))
        check(f"{name} firmware 6.62: pushed event", pushed, sim.ledger.event(serial, 6))
        for fault, count in (("duplicate_push", 2), ("drop_push", 0)):
            sim.post(serial, "faults", **{fault: 1.0})
            client.open_door(board, 1)
            # One that is not lost marks the end.
            sim.post(serial, "faults")
            client.open_door(board, 2)
            doors = [decode.event(listener.recv(1024)).event_door for _ in range(count + 1)]
            check(f"{name} {fault}: pushed {count} times", doors, [1] * count + [2])


def check_all(protocol, sim):
    """All of it, over one protocol."""
    serial = FAULTY[protocol]
    board = (serial, sim.addresses[serial], protocol)
    client = uhppote.Uhppote(bind="127.0.0.1", listen="127.0.0.1:0")
    check_lost(protocol, client, board, sim)
    check_late(protocol, client, board, sim)
    if protocol == "udp":
        check_stale(client, board, sim)
    check_clock(protocol, client, board, sim)
    check_cursor(protocol, client, board, sim)
    check_traps(protocol, client, board, sim)
    check_replaced(protocol, client, board, sim)
    serial = WRAPPING[protocol]
    check_wrap(protocol, client, (serial, sim.addresses[serial], protocol), sim)
