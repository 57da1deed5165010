#!/usr/bin/env python3
"""
Drives the simulator with an independent client: the `uhppoted` package of PyPI (0.9.1.1).

    pip install uhppoted==0.9.1.1
    python3 tests/peers/uhppoted_client.py --sim target/debug/postern-sim

Starts the simulator by itself, with boards whose small logs overflowed before anyone could connect,
and asks some over UDP and some over TCP; then other boards that misbehave. What a board says about
its events is compared with the simulator's ledger. Prints a line for each check, then `N passed, M
failed`; exit code 0 where nothing failed.
"""

import argparse
import datetime
import socket
import struct
import sys

from ipaddress import IPv4Address

from uhppoted import decode, uhppote
from uhppoted.errors import CardDeleted, CardNotFound, EventNotFound, EventOverwritten

import uhppoted_misbehaviour as misbehaviour
from simulator import Simulator, check, raises, summary
from uhppoted_misbehaviour import of_reply, of_status

BOARDS = {"udp": 405419896, "tcp": 303986753}
PRELOAD = 100
CAPACITY = 64
CHUNK = 16
# 64 are full; each 16 after that drop the 16 oldest: at the 65th, 81st and 97th event.
OLDEST = 3 * CHUNK + 1

CONFIG = f"""
seed = 7
ledger = "ledger.jsonl"
discovery = "127.255.255.255:0"
[defaults]
capacity = {CAPACITY}
chunk = {CHUNK}
zone = "UTC"
preload = {PRELOAD}
cards = [8165537]
"""


def doors(status):
    """Door contacts and buttons."""
    return [getattr(status, f"door_{n}_{what}") for what in ("open", "button") for n in range(1, 5)]


def check_identity(name, client, board, serial):
    """What it is."""
    found = client.get_controller(board)
    check(f"{name} get-controller: serial number", found.controller, serial)
    check(f"{name} get-controller: address", found.ip_address, IPv4Address("127.0.0.1"))
    check(f"{name} get-controller: netmask", found.subnet_mask, IPv4Address("255.255.255.0"))
    check(f"{name} get-controller: gateway", found.gateway, IPv4Address("0.0.0.0"))
    mac = "00:66:19:" + ":".join(f"{byte:02x}" for byte in struct.pack(">I", serial)[1:])
    check(f"{name} get-controller: MAC", found.mac_address, mac)
    check(f"{name} get-controller: version", found.version, "v8.92")
    check(f"{name} get-controller: date", found.date, datetime.date(2018, 11, 5))


def check_clock(name, client, board, serial):
    """Its clock, right at first, then as it was set."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    shown = client.get_time(board)
    check(f"{name} get-time: serial number", shown.controller, serial)
    check(f"{name} get-time: right", abs((shown.datetime - now).total_seconds()) < 5, True)
    wanted = datetime.datetime(2022, 8, 23, 9, 49, 3)
    check(f"{name} set-time: echo", client.set_time(board, wanted).datetime, wanted)
    gone = (client.get_time(board).datetime - wanted).total_seconds()
    check(f"{name} get-time: goes on from what was set", 0 <= gone < 5, True)


def check_log(name, client, board, serial, ledger):
    """Its log: both ends, all between, and what lies outside."""
    first = of_reply(client.get_event(board, 0))
    check(f"{name} get-event: oldest", first, ledger.event(serial, OLDEST))
    last = of_reply(client.get_event(board, 0xFFFFFFFF))
    check(f"{name} get-event: newest", last, ledger.event(serial, PRELOAD))
    between = range(OLDEST, PRELOAD + 1)
    got = [of_reply(client.get_event(board, index)) for index in between]
    wanted = [ledger.event(serial, index) for index in between]
    check(f"{name} get-event: all {len(got)} stored are those of the ledger", got, wanted)
    reasons = {event[7] for event in got}
    check(f"{name} get-event: some were granted, some denied", reasons, {1, 6})

    zero = (0, 0, False, 0, 0, 0, None, 0)
    check(f"{name} get-event: past the newest", of_reply(client.get_event(board, 101)), zero)
    overwritten = (0, 0xFF, False, 0, 0, 0, None, 0)
    for index in (1, OLDEST - 1):
        got = of_reply(client.get_event(board, index))
        check(f"{name} get-event: overwritten {index}", got, overwritten)
    gone = raises(EventNotFound, lambda: client.get_event_record(board, PRELOAD + 1))
    check(f"{name} get-event-record: past the newest", gone, True)
    gone = raises(EventOverwritten, lambda: client.get_event_record(board, OLDEST - 1))
    check(f"{name} get-event-record: overwritten", gone, True)


def check_status(name, client, board, serial, ledger):
    """Its status: the newest event, the doors, the clock."""
    status = client.get_status(board)
    check(f"{name} get-status: serial number", status.controller, serial)
    check(f"{name} get-status: newest event", of_status(status), ledger.event(serial, PRELOAD))
    check(f"{name} get-status: doors and buttons", doors(status), [False] * 8)
    check(f"{name} get-status: date", status.system_date, datetime.date(2022, 8, 23))
    check(f"{name} get-status: time", (status.system_time.hour, status.system_time.minute), (9, 49))
    check(f"{name} get-status: error", status.system_error, 0)
    check(f"{name} get-status: relays and inputs", (status.relays, status.inputs), (0, 0))
    record = client.get_status_record(board)
    check(f"{name} get-status-record: newest event", record.event.index, PRELOAD)


def check_cursor(name, client, board):
    """The cursor that hosts share on the board."""
    check(f"{name} get-event-index: at first", client.get_event_index(board).event_index, 0)
    check(f"{name} set-event-index: changed", client.set_event_index(board, 77).updated, True)
    check(f"{name} get-event-index: as set", client.get_event_index(board).event_index, 77)
    check(f"{name} set-event-index: the same", client.set_event_index(board, 77).updated, False)


def check_cards(name, client, board):
    """Its cards."""
    days = (datetime.date(2022, 1, 1), datetime.date(2022, 12, 31))
    check(f"{name} get-cards: at first", client.get_cards(board).cards, 1)
    stored = client.put_card(board, 8165538, *days, 0, 1, 29, 0, 7531).stored
    check(f"{name} put-card", stored, True)
    check(f"{name} get-cards: one more", client.get_cards(board).cards, 2)
    wanted = (8165538, *days, 0, 1, 29, 0, 7531)
    for what, card in (
        ("get-card", client.get_card(board, 8165538)),
        ("get-card-by-index", client.get_card_by_index(board, 2)),
    ):
        got = (card.card_number, card.start_date, card.end_date)
        got += (card.door_1, card.door_2, card.door_3, card.door_4, card.pin)
        check(f"{name} {what}", got, wanted)
    check(f"{name} get-card: unknown", client.get_card(board, 1).card_number, 0)
    gone = raises(CardNotFound, lambda: client.get_card_record(board, 1))
    check(f"{name} get-card-record: unknown", gone, True)
    check(f"{name} delete-card", client.delete_card(board, 8165538).deleted, True)
    check(f"{name} delete-card: twice", client.delete_card(board, 8165538).deleted, False)
    check(f"{name} get-card: deleted", client.get_card(board, 8165538).card_number, 0)
    deleted = raises(CardDeleted, lambda: client.get_card_record_by_index(board, 2))
    check(f"{name} get-card-record-by-index: deleted", deleted, True)
    beyond = raises(CardNotFound, lambda: client.get_card_record_by_index(board, 3))
    check(f"{name} get-card-record-by-index: past the end", beyond, True)
    check(f"{name} delete-all-cards", client.delete_all_cards(board).deleted, True)
    check(f"{name} get-cards: none left", client.get_cards(board).cards, 0)


def check_settings(name, client, board):
    """A few of its settings."""
    door = client.set_door_control(board, 3, 2, 10)
    check(f"{name} set-door", (door.door, door.mode, door.delay), (3, 2, 10))
    door = client.get_door_control(board, 3)
    check(f"{name} get-door", (door.door, door.mode, door.delay), (3, 2, 10))
    check(f"{name} set-antipassback", client.set_antipassback(board, 2).ok, True)
    check(f"{name} get-antipassback", client.get_antipassback(board).antipassback, 2)
    check(f"{name} set-interlock", client.set_interlock(board, 4).ok, True)
    check(f"{name} set-pc-control", client.set_pc_control(board, False).ok, True)


def check_doors_and_pushes(name, client, board, serial, ledger):
    """An opened door: its event in the log, and pushed to a listener."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        port = listener.getsockname()[1]
        check(f"{name} set-listener", client.set_listener(board, IPv4Address("127.0.0.1"), port).ok, True)
        told = client.get_listener(board)
        told = (told.address, told.port, told.interval)
        check(f"{name} get-listener", told, (IPv4Address("127.0.0.1"), port, 0))

        opened = client.open_door(board, 3)
        check(f"{name} open-door", (opened.controller, opened.opened), (serial, True))
        wanted = ledger.event(serial, PRELOAD + 1)
        shape = (wanted[0], wanted[1], wanted[2], wanted[3], wanted[7])
        check(f"{name} open-door: in the ledger", shape, (PRELOAD + 1, 2, True, 3, 0x2C))
        got = of_reply(client.get_event(board, PRELOAD + 1))
        check(f"{name} open-door: in the log", got, wanted)
        event = decode.event(listener.recv(1024))
        check(f"{name} pushed event: serial number", event.controller, serial)
        check(f"{name} pushed event: the event", of_status(event), wanted)
        check(f"{name} pushed event: sequence", event.sequence_no, 1)

        asked = client.record_special_events(board, True).updated
        check(f"{name} record-special-events", asked, True)
        client.open_door(board, 2)
        reasons = [decode.event(listener.recv(1024)).event_reason for _ in range(3)]
        check(f"{name} pushed events: opened by a host, open, closed", reasons, [0x2C, 0x17, 0x18])
        check(f"{name} open-door: no such door", client.open_door(board, 5).opened, False)


def check_reset(name, client, board, serial, ledger):
    """Restored defaults: an empty log that begins again at 1."""
    check(f"{name} restore-default-parameters", client.restore_default_parameters(board).reset, True)
    empty = raises(EventNotFound, lambda: client.get_event_record(board, 0xFFFFFFFF))
    check(f"{name} restore-default-parameters: empty log", empty, True)
    check(f"{name} restore-default-parameters: listener", client.get_listener(board).port, 0)
    client.open_door(board, 1)
    got = of_reply(client.get_event(board, 0xFFFFFFFF))
    check(f"{name} restore-default-parameters: index 1 again", got, ledger.event(serial, 1, life=1))
    check(f"{name} restore-default-parameters: one event", got[0], 1)


def check_board(protocol, serial, address, ledger):
    """All of one board, over one protocol."""
    client = uhppote.Uhppote(bind="127.0.0.1", broadcast=address, listen="127.0.0.1:0")
    board = (serial, address, protocol)
    check_identity(protocol, client, board, serial)
    check_clock(protocol, client, board, serial)
    check_log(protocol, client, board, serial, ledger)
    check_status(protocol, client, board, serial, ledger)
    check_cursor(protocol, client, board)
    check_cards(protocol, client, board)
    check_settings(protocol, client, board)
    check_doors_and_pushes(protocol, client, board, serial, ledger)
    check_reset(protocol, client, board, serial, ledger)
    if protocol == "udp":
        stranger = (serial + 1, address, protocol)
        silent = raises(OSError, lambda: client.get_time(stranger, timeout=0.3))
        check("udp get-time: another board's request is not answered", silent, True)


def check_discovery(sim):
    """A broadcast: every board answers, and a request for one is answered by that one."""
    client = uhppote.Uhppote(bind="127.0.0.1", broadcast=sim.discovery, listen="127.0.0.1:0")
    found = sorted(reply.controller for reply in client.get_all_controllers(timeout=0.3))
    check("broadcast get-all-controllers: every board", found, sorted(sim.addresses))
    for serial in BOARDS.values():
        check(f"broadcast get-time: {serial} alone", client.get_time(serial).controller, serial)


def main():
    """Starts the simulator, checks all boards, stops it."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--sim", required=True, help="path of the simulator's binary")
    config = CONFIG + "".join(f"[[controller]]\nserial = {serial}\n" for serial in BOARDS.values())
    with Simulator(parser.parse_args().sim, config + misbehaviour.CONFIG) as sim:
        check_discovery(sim)
        for protocol, serial in BOARDS.items():
            check_board(protocol, serial, sim.addresses[serial], sim.ledger)
            misbehaviour.check_all(protocol, sim)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
