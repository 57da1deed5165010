"""
Processes, ports and waiting, for everything that a round starts.

Each process leads a group of its own, writes to a log in the round's directory, and is ended by its
id: when the round is over, whatever became of it, and by the kernel where this program itself is
killed. Nothing that anyone else started is ever signalled.
"""

import asyncio
import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

# Where `python3 -m systems.…` is found.
HOME = Path(__file__).resolve().parents[1]

# A process that listens does so within this, on a loaded machine of two cores.
READY_WITHIN_S = 30
# Below the ports that the system gives to clients, so that no outgoing connection can sit on a
# sink's port while that sink is dead.
FIRST_PORT, LAST_PORT = 20_000, 31_000
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class RigError(Exception):
    """The rig failed: nothing is said about the system."""


def die_with_parent():
    """In the child: SIGKILL when the parent ends, however it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Process:
    """A child and its log."""

    def __init__(self, name, command, log, env=None, cwd=None):
        self.name, self.log = name, log
        with open(log, "wb") as stderr:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        os.set_blocking(self.child.stdout.fileno(), False)
        self.printed = b""

    def read(self):
        """What it has printed so far. Has to be called now and then where it prints much."""
        while more := self.child.stdout.read():
            self.printed += more
        return self.printed

    def check(self):
        """Raises where it has ended by itself."""
        if (code := self.child.poll()) is not None:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                tail = "".join(file.readlines()[-8:]) + self.read().decode(errors="replace")[-500:]
            raise RigError(f"{self.name} ended with {code}\n{tail}hint: its log is {self.log}")

    async def ready(self):
        """The JSON of its first line."""

        def line():
            self.check()
            head, found, _ = self.read().partition(b"\n")
            return json.loads(head) if found else None

        return await until(f"{self.name} to be ready", line, READY_WITHIN_S)

    def kill(self):
        """SIGKILL, to its whole group; waits until it is gone."""
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
        self.child.stdout.close()


class Run:
    """A round's directory, processes and ports. Used with `with`."""

    def __init__(self, directory):
        self.dir = directory
        self.processes = []
        directory.mkdir(parents=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()

    def start(self, name, command, **more):
        """Starts a process whose log is `NAME.log`."""
        process = Process(name, command, self.dir / f"{name}.log", **more)
        self.processes.append(process)
        return process

    def folder(self, name):
        """A directory of its own for a store."""
        path = self.dir / name
        path.mkdir()
        return path


def free_ports(many):
    """Ports of loopback that nobody listens on, all different."""
    found, port = [], FIRST_PORT + os.getpid() * 8 % (LAST_PORT - FIRST_PORT)
    for _ in range(LAST_PORT - FIRST_PORT):
        port = port + 1 if port < LAST_PORT else FIRST_PORT
        # Both, since a simulated board listens on the same number twice.
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == many:
            return found
    raise RigError(f"no {many} free ports from {FIRST_PORT} to {LAST_PORT}")


async def until(what, look, within, every=0.02):
    """Waits for a level: calls `look` until it gives something that is true."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise RigError(f"waited {within} s for {what}")
        await asyncio.sleep(every)
    return seen


async def listening(process, port):
    """Waits until a server that says nothing about it accepts connections."""

    def look():
        process.check()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await until(f"{process.name} to listen", look, READY_WITHIN_S)
