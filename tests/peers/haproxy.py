#!/usr/bin/env python3
"""
Takes HAProxy with docs/haproxy.cfg through a switchover and a failover of two real servers.

    apt-get install haproxy
    python3 tests/peers/haproxy.py --server target/debug/postern-server

Requests go through the balancer all the while. They must reach server a; then, when an operator says
so, server b; then, when b is killed, a again by itself: each within a bound. No server that is not
active may say that it is; what was connected to the one that stood down is broken off; and with no
active server nobody is reached. Prints a line for each check, then
`N passed, M failed`; exit code 0 where nothing failed. Without HAProxy it says `SKIPPED`; with
POSTERN_REQUIRE=1 that is a failure.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from servers import PATIENCE_S, Servers, free_ports, until
from simulator import check, summary

CONFIGURATION = pathlib.Path(__file__).resolve().parents[2] / "docs" / "haproxy.cfg"
# Half a second at most until HAProxy asks the one server and half a second until it asks the other;
# and a loaded machine.
SWITCHED_WITHIN_S = 5.0


class Proxy:
    """HAProxy with the documented configuration, at addresses of this run."""

    def __init__(self, program, servers):
        pem = servers.root / "lb.pem"
        servers.command("enrol-monitor", "lb", "--dir", servers.root / "b", "--out", pem)
        (self.port,) = free_ports(1)
        text = CONFIGURATION.read_text(encoding="utf-8")
        for before, after in (
            ("bind :7443", f"bind 127.0.0.1:{self.port}"),
            ("/etc/haproxy/postern/ca.crt", str(servers.root / "a" / "ca.crt")),
            ("/etc/haproxy/postern/lb.pem", str(pem)),
            ("a.example:7443", f"127.0.0.1:{servers.ports['a']}"),
            ("b.example:7443", f"127.0.0.1:{servers.ports['b']}"),
            ("a.example", servers.host),
            ("b.example", servers.host),
        ):
            if before not in text:
                raise RuntimeError(f"docs/haproxy.cfg has no {before!r}")
            text = text.replace(before, after)
        self.config, self.log = servers.root / "haproxy.cfg", servers.root / "haproxy.log"
        self.config.write_text(text, encoding="utf-8")
        self.program, self.process = program, None

    def __enter__(self):
        arguments = [self.program, "-f", str(self.config)]
        done = subprocess.run([*arguments, "-c"], capture_output=True, text=True, check=False)
        said = (done.returncode, done.stderr)
        check("haproxy: takes the configuration without a warning", said, (0, ""))
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([*arguments, "-db"], stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE_S)


class Client:
    """An operator's program that knows the balancer alone."""

    def __init__(self, servers, port):
        admin = servers.root / "a" / "admin"
        self.context = ssl.create_default_context(cafile=str(servers.root / "a" / "ca.crt"))
        self.context.load_cert_chain(f"{admin}.crt", f"{admin}.key")
        self.host, self.port = servers.host, port

    def connect(self):
        """A connection through the balancer."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        return self.context.wrap_socket(plain, server_hostname=self.host)

    def ask(self, connection, path="/active"):
        """A status and a body, on a connection that stays."""
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: {self.host}\r\n\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += more(connection)
        head, _, body = got.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        while len(body) < int(fields["content-length"]):
            body += more(connection)
        return int(lines[0].split()[1]), json.loads(body)

    def active(self):
        """Who says that it is active, over a new connection; `None` where nobody does."""
        try:
            with self.connect() as connection:
                status, health = self.ask(connection)
        except OSError:
            return None
        return health if status == 200 else None


def more(connection):
    """The next bytes; an error where there are none."""
    some = connection.recv(65_536)
    if not some:
        raise ConnectionError("it ended")
    return some


class Watch(threading.Thread):
    """Asks through the balancer without a pause, and keeps every answer with its time."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.seen, self.ended = client, [], threading.Event()

    def run(self):
        while not self.ended.is_set():
            answer = self.client.active()
            self.seen.append((time.monotonic(), answer))

    def end(self):
        """No more."""
        self.ended.set()
        self.join(timeout=PATIENCE_S)

    def more(self):
        """Some answers more, and then no more."""
        count = len(self.seen)
        until("some answers more", lambda: len(self.seen) > count + 20)
        self.end()

    def saw(self, name):
        """Whether the latest answer is this server's."""
        return bool(self.seen and self.seen[-1][1] and self.seen[-1][1]["active"] == name)


def is_broken_off(connection):
    """Whether the other end has ended a connection; waits for it."""
    connection.settimeout(SWITCHED_WITHIN_S)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def run(program, servers):
    """Both changes of the role, and what is seen of them."""
    until("both stores are in sync", lambda: servers.status("a")["copies"] == 2)
    with Proxy(program, servers) as proxy:
        client = Client(servers, proxy.port)
        down = "Server postern/b is DOWN"
        until("HAProxy has asked both", lambda: down in proxy.log.read_text("utf-8"))
        until("server a is reached", client.active)
        by_hand(servers, client)
        by_itself(servers, client)

        # A standby without a majority is asked for nothing, whatever becomes of the active server.
        servers.kill("w")
        servers.kill("a")
        until("HAProxy has seen it", lambda: client.active() is None)
        reached = [client.active() for _ in range(20)]
        check("without an active server: nobody is reached", reached, [None] * 20)
        states = [each["state"] for each in statuses(servers, "b")]
        check("server b: stands by all the while", states, ["standby"])


def statuses(servers, name):
    """What the servers that can be reached say of themselves."""
    seen = json.loads(servers.command("status", "--dir", servers.root / name, "--json"))
    return [server["status"] for server in seen["servers"] if server["status"]]


def by_hand(servers, client):
    """An operator says who is active."""
    watch = Watch(client)
    held = client.connect()
    check("before: a connection that stays reaches a", client.ask(held)[1]["active"], "a")
    watch.start()
    until("some answers", lambda: len(watch.seen) > 20)
    begun = time.monotonic()
    servers.command("failover", "--to", "b", "--dir", servers.root / "b", "--yes")
    until("server b is reached", lambda: watch.saw("b"))
    check("afterwards: what was connected to a is broken off", is_broken_off(held), True)
    watch.more()
    judge("switchover", watch, begun, "a", "b")


def by_itself(servers, client):
    """The active server is killed, and the other one takes over."""
    servers.command("rules", "--dir", servers.root / "b", "--mode", "automatic", "--yes")
    until("both stores are in sync", lambda: servers.status("b")["copies"] == 2)
    until("server b is reached", client.active)
    watch = Watch(client)
    watch.start()
    until("some answers", lambda: len(watch.seen) > 20)
    begun = time.monotonic()
    servers.kill("b")
    until("server a is reached", lambda: watch.saw("a"))
    servers.start("b")
    until("server b stands by", lambda: servers.status("b")["state"] == "standby")
    watch.more()
    judge("failover", watch, begun, "b", "a")


def judge(what, watch, begun, before, after):
    """Who answered when."""
    answers = [(at, answer) for at, answer in watch.seen if answer]
    states = {answer["state"] for _, answer in answers}
    check(f"{what}: every yes is an active server's", states, {"active"})
    names = [answer["active"] for _, answer in answers]
    turns = [name for name, last in zip(names, [None, *names]) if name != last]
    wanted = [before, after]
    check(f"{what}: {before} was reached, then {after}, and never {before} again", turns, wanted)
    terms = [answer["role_term"] for _, answer in answers]
    check(f"{what}: role terms rise, and only rise", (sorted(terms), len(set(terms))), (terms, 2))
    first = next(at for at, answer in answers if answer["active"] == after)
    last = max(at for at, answer in answers if answer["active"] == before)
    none = sum(1 for _, answer in watch.seen if not answer)
    print(f"      {len(watch.seen)} requests, {none} without a yes")
    print(f"      {after} was reached {first - begun:.2f} s after it began")
    print(f"      {first - last:.2f} s between the last yes of {before} and the first of {after}")
    check(f"{what}: {after} was reached within the bound", first - begun < SWITCHED_WITHIN_S, True)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--server", required=True, help="the program postern-server")
    args = parser.parse_args()
    # Debian has it where ordinary users do not look.
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        print("SKIPPED: there is no haproxy\nhint: apt-get install haproxy", file=sys.stderr)
        print("0 passed, 0 failed, 1 skipped")
        return 1 if os.environ.get("POSTERN_REQUIRE") == "1" else 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as root, Servers(
        args.server, root, "localhost", witness=True
    ) as servers:
        run(program, servers)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
