"""A site with two real servers, and a witness where one is wanted, for peers that ask them."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

from simulator import check

PATIENCE_S = 30


class Servers:
    """A site with two running servers; leaving the context ends them."""

    def __init__(self, program, root, host="127.0.0.1", witness=False):
        self.program, self.root = os.path.abspath(program), pathlib.Path(root)
        self.names = ("a", "b", "w") if witness else ("a", "b")
        # What their certificates name; they listen on loopback in any case.
        self.host = host
        self.running, self.ports = {}, {}

    def command(self, *arguments):
        """What a command of the program prints."""
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{arguments[0]} failed with {done.returncode}: {done.stderr}")
        return done.stdout

    def found(self):
        """Makes the site, with both servers and the witness."""
        a, b = self.root / "a", self.root / "b"
        self.ports = dict(zip(self.names, free_ports(len(self.names))))

        def where(name):
            port = self.ports[name]
            return ("--address", f"{self.host}:{port}", "--listen", f"127.0.0.1:{port}")

        first = ("--site", "north", "--group", "main", "--name", "a")
        self.command("init", "--dir", a, *first, *where("a"))
        second = ("--join", a, "--name", "b")
        self.command("init", "--dir", b, *second, *where("b"))
        if "w" in self.names:
            third = ("--witness", "--join", a, "--join", b, "--name", "w")
            self.command("init", "--dir", self.root / "w", *third, *where("w"))
        self.url = f"https://{self.host}:{self.ports['a']}"

    def start(self, name):
        """Starts a server or the witness and waits until it says that it is ready."""
        run = "witness" if name == "w" else "run"
        command = [self.program, "--log", "warn", run, "--dir", str(self.root / name), "--json"]
        with open(self.root / f"{name}.log", "a", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.running[name] = process
        ready = json.loads(process.stdout.readline())
        kind = "witness" if name == "w" else "server"
        check(f"{kind} {name}: ready", ready[kind], name)

    def status(self, name):
        """What a server says of itself."""
        seen = json.loads(self.command("status", "--dir", self.root / name, "--json"))
        statuses = (server["status"] for server in seen["servers"] if server["status"])
        return next(status for status in statuses if status["server"] == name)

    def stop(self):
        """Ends the servers as an operator does; answers with their exit codes."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(timeout=PATIENCE_S) for process in self.running.values()]
        self.end()
        return codes

    def kill(self, name):
        """Ends one without warning."""
        process = self.running.pop(name)
        process.kill()
        process.wait()
        process.stdout.close()

    def end(self):
        """Nothing is left behind."""
        for name in list(self.running):
            self.kill(name)

    def __enter__(self):
        try:
            self.found()
            for name in self.names:
                self.start(name)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()

    def logs(self):
        """The end of what the servers logged."""
        texts = ((self.root / f"{name}.log").read_text(encoding="utf-8") for name in self.names)
        return "\n".join(text[-4_000:] for text in texts)


def free_ports(count):
    """Ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def until(what, holds):
    """Waits until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain: {what}")
        time.sleep(0.1)
