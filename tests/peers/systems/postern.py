"""
Postern itself: simulated boards, a gateway, two servers; the active one is killed, the other made
active.

Its round follows `experiment` as closely as it can. A transaction counts as acknowledged when the
gateway tells that the controller's cursor stands on it or behind it. Two things differ, and the
figures are to be read with them:

- Its producers are controllers that the gateway asks, one record a request, so there are no 64
  publishers; how fast they are read is `journalled_per_s`.
- Server B ran all the time as the standby. It is "up" when the command that makes it active is
  given, and the gateway sends it everything it lacks, also what A had: each server is to be whole
  by itself. So `twice` (at A and B together) is about what A had, by design, `absent_at_b` is what
  tells of loss, and `twice_at_b` of doubles; `resent_to_b` are copies that B was sent and dropped.
"""

import asyncio
import datetime
import json
import shutil
import subprocess
import time
import urllib.request

from .count import count
from .experiment import OUTAGE_S, Result, Round, median, rate
from .install import Missing, output, say
from .process import RigError, Run, free_ports, until

PROGRAMS = ["postern", "postern-server", "postern-sim"]
PACKAGES = ["postern-gateway", "postern-server", "postern-sim"]
BOARDS = 8
FIRST_SERIAL = 405419001
READ_WITHIN_S = 90
DRAINED_WITHIN_S = 60
BUILD_WITHIN_S = 1500

BOARD = '\n[[controller]]\nserial = {serial}\ncapacity = 200000\nchunk = 2048\nzone = "UTC"\n'
LINE = (
    '\n[[controller]]\nserial = {serial}\naddress = "{address}"\ntransport = "udp"\n'
    'zone = "UTC"\npoll_ms = 100\ntimeout_ms = 1000\n'
)


class Postern:
    """The programs of this workspace."""

    name, title = "postern", "Postern, two servers"

    def __init__(self, workspace, bin_dir):
        self.workspace, self.bin_dir = workspace, bin_dir
        self.programs = {}

    def install(self, _packages):
        """Built from the sources as they are, unless a directory was named."""
        if self.bin_dir:
            self.programs = {name: self.bin_dir.resolve() / name for name in PROGRAMS}
        else:
            self.programs = build(self.workspace)
        for path in self.programs.values():
            if not path.exists():
                raise Missing(f"{path} is not there")
        return output([self.programs["postern"], "--version"]).split()[-1]

    def measure(self, base, args):
        """All rounds."""
        result, speeds, resent = Result(self.name, self.title), [], 0
        for number in range(args.rounds):
            site = Site(self.programs, base / f"round-{number + 1}", args.messages)
            result.rounds.append(asyncio.run(site.round()))
            speeds.append(site.journalled_per_s)
            resent += site.resent_to_b
        result.more = {"journalled_per_s": median(speeds), "resent_to_b": resent}
        return result


def build(workspace):
    """Release programs, and where cargo put them."""
    if shutil.which("cargo") is None:
        raise Missing("no cargo to build Postern with, and no --bin-dir")
    say("building Postern (release)")
    command = ["cargo", "build", "--release", "--quiet", "--bins"]
    command += ["--message-format=json-render-diagnostics"]
    for package in PACKAGES:
        command += ["-p", package]
    done = subprocess.run(
        command, cwd=workspace, stdout=subprocess.PIPE, timeout=BUILD_WITHIN_S, check=False
    )
    if done.returncode != 0:
        raise RigError(f"{' '.join(command)} ended with {done.returncode}")
    built = {}
    for line in done.stdout.splitlines():
        about = json.loads(line)
        if about.get("executable"):
            built[about["target"]["name"]] = workspace / about["executable"]
    return {name: built[name] for name in PROGRAMS}


class Site:
    """One round in a directory of its own."""

    def __init__(self, programs, directory, messages):
        self.programs, self.dir = programs, directory
        self.each = messages // BOARDS
        self.run, self.api = None, None
        self.journalled_per_s, self.resent_to_b = 0.0, 0

    async def round(self):
        """See `experiment`."""
        total = self.each * BOARDS
        with Run(self.dir) as self.run:
            server_a = await self.start()
            half = self.each // 2
            self.generate(half)
            await until(
                "server A to have a quarter", lambda: self.stored() >= total // 4, READ_WITHIN_S
            )
            await until(
                "the first half to be read", lambda: self.head() >= half * BOARDS, READ_WITHIN_S
            )

            begun = time.monotonic()
            self.generate(self.each - half)
            trigger = half * BOARDS + total // 16
            await until("a sixteenth more", lambda: self.head() >= trigger, READ_WITHIN_S, 0.005)
            server_a.kill()
            killed = time.monotonic()
            await until("every log to be read", lambda: self.head() >= total, READ_WITHIN_S, 0.005)
            self.journalled_per_s = (self.each - half) * BOARDS / (time.monotonic() - begun)
            await asyncio.sleep(max(0.0, killed + OUTAGE_S - time.monotonic()))

            up_ms = time.time() * 1000
            self.server("failover", "b", "--to", "b", "--yes", "--force", "--json")
            await until("server B to have all", self.drained, DRAINED_WITHIN_S)
            acked = self.acked()
            rows_b = self.rows("b")
            self.resent_to_b = sum(item["doubles"] for item in self.journals("b"))
            await self.start_server("a", "a-again")
            rows_a = self.rows("a")
        return self.judge(acked, rows_a, rows_b, up_ms)

    def judge(self, acked, rows_a, rows_b, up_ms):
        """Both stores against what was acknowledged."""
        sent = {(board, index) for board in self.boards() for index in range(1, self.each + 1)}
        counted = count(sent, acked, map(identity, rows_a), map(identity, rows_b))
        if counted.unknown:
            raise RigError(f"{counted.unknown} transactions that no board made, see {self.dir}")
        times = sorted(milliseconds(row["stored_at"]) for row in rows_b)
        if not times:
            return Round(counted, None, None)
        return Round(counted, max(0.0, times[0] - up_ms) / 1000, rate(times, 1e3))

    async def start(self):
        """Boards, servers, gateway; returns server A's process."""
        config = 'seed = 7\nledger = "ledger.jsonl"\n'
        config += "".join(BOARD.format(serial=FIRST_SERIAL + number) for number in range(BOARDS))
        (self.dir / "sim.toml").write_text(config)
        command = [self.programs["postern-sim"], "run", "--json", "-c", self.dir / "sim.toml"]
        ready = await self.run.start("sim", command).ready()
        self.api = ready["api"]

        at_a, at_b = (f"127.0.0.1:{port}" for port in free_ports(2))
        where = ["--address", at_a, "--listen", at_a]
        self.server("init", "a", "--site", "north", "--group", "main", "--name", "a", *where)
        where = ["--address", at_b, "--listen", at_b]
        self.server("init", "b", "--join", self.dir / "a", "--name", "b", *where)
        self.server("enrol", "a", "hall", "--out", self.dir / "hall.bundle.json")
        server_a = await self.start_server("a", "a")
        await self.start_server("b", "b")

        config = 'bundle = "hall.bundle.json"\ndata_dir = "data"\n'
        config += "".join(LINE.format(**board) for board in ready["controllers"])
        (self.dir / "postern.toml").write_text(config)
        command = [self.programs["postern"], "run", "--json", "-c", self.dir / "postern.toml"]
        await self.run.start("gateway", command).ready()
        return server_a

    async def start_server(self, name, log):
        """A server, ready."""
        command = [self.programs["postern-server"], "run", "--json", "--dir", self.dir / name]
        process = self.run.start(f"server-{log}", command)
        await process.ready()
        return process

    def server(self, command, name, *more):
        """A command of a server's; what it prints."""
        return ask([self.programs["postern-server"], command, "--dir", self.dir / name, *more])

    def gateway(self, command):
        """A reading command of the gateway's."""
        config = self.dir / "postern.toml"
        return json.loads(ask([self.programs["postern"], command, "--json", "-c", config]))

    def generate(self, many):
        """So many swipes at each board."""
        for board in range(FIRST_SERIAL, FIRST_SERIAL + BOARDS):
            request = urllib.request.Request(
                f"http://{self.api}/controllers/{board}/generate",
                data=json.dumps({"count": many}).encode(),
                headers={"content-type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=30).close()

    def boards(self):
        """Their names."""
        return [f"uhppote-{FIRST_SERIAL + number}" for number in range(BOARDS)]

    def acked(self):
        """What the gateway tells that it has, by its cursors."""
        lines = self.gateway("controllers")["controllers"]
        return {
            (line["controller"], index)
            for line in lines
            for index in range(1, (line["cursor"] or 0) + 1)
        }

    def head(self):
        """How many transactions the gateway has journalled."""
        return self.gateway("status")["journal"]["head"]

    def stored(self):
        """How many of them the active server has."""
        return self.gateway("status")["uplink"]["stored"] or 0

    def drained(self):
        """Whether server B has the whole journal."""
        status = self.gateway("status")
        at_b = {item["journal"]: item["stored"] for item in self.journals("b")}
        return at_b.get(status["journal"]["id"]) == status["journal"]["head"]

    def journals(self, name):
        """What a server knows of journals."""
        return json.loads(self.server("journals", name, "--json"))["items"]

    def rows(self, name):
        """Every transaction of a controller's that a server holds; not the gateway's own notes."""
        lines = self.server("query", name, "--all", "--jsonl").splitlines()
        return [row for row in map(json.loads, lines) if row["index"] is not None]


def ask(command):
    """A command that fails only where the rig does."""
    try:
        return output(command)
    except Missing as error:
        raise RigError(str(error)) from error


def identity(row):
    """Which transaction a row is."""
    return row["controller"], row["index"]


def milliseconds(text):
    """A time of RFC 3339 in UTC, since 1970."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000
