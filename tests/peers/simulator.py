"""
What the programs with an independent client share: a simulator of their own, its ledger and its
control API, and the counting of checks.
"""

import datetime
import json
import os
import signal
import struct
import subprocess
import tempfile
import urllib.request

passed = 0
failed = 0


def check(name, got, wanted):
    """Compares, counts and says so."""
    global passed, failed
    if got == wanted:
        passed += 1
        print(f"ok    {name}")
    else:
        failed += 1
        print(f"FAIL  {name}: got {got!r}, wanted {wanted!r}")


def raises(error, call):
    """Whether a call raises exactly this error."""
    try:
        call()
    except error:
        return True
    return False


class Ledger:
    """The ground truth, read again for each question."""

    def __init__(self, path):
        self.path = path

    def event(self, serial, index, life=0):
        """The fields of an event in the order of the wire, from its record bytes."""
        with open(self.path, encoding="utf-8") as file:
            for line in map(json.loads, file):
                key = (line["controller"], line["life"], line.get("index"))
                if key == (f"uhppote-{serial}", life, index):
                    return fields(bytes.fromhex(line["raw"]))
        return None


    def shown(self, serial):
        """What a Modbus unit and its readers showed: source, what, number, card."""
        with open(self.path, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        name = f"modbus-{serial}"
        return [
            (line["source"], line["what"], line.get("number"), line.get("card"))
            for line in lines
            if line["controller"].split(".")[0] == name
        ]


def fields(raw):
    """Record bytes: index, type, granted, door, direction, card, time, reason."""
    index, kind, granted, door, direction, card = struct.unpack_from("<IBBBBI", raw)
    time = None  # of a clock that was never set
    if any(raw[12:19]):
        time = datetime.datetime.strptime(raw[12:19].hex(), "%Y%m%d%H%M%S")
    return (index, kind, granted == 1, door, direction, card, time, raw[19])


class Simulator:
    """A running simulator; leaving the context stops it and checks that it stops cleanly."""

    def __init__(self, program, config):
        self.program = os.path.abspath(program)
        self.config = config

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "sim.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.config)
        command = [self.program, "run", "--json", "-c", path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ready = json.loads(self.process.stdout.readline())
        self.api = ready["api"]
        self.discovery = ready["discovery"]
        self.addresses = {board["serial"]: board["address"] for board in ready["controllers"]}
        self.lines = {line["name"]: line for line in ready["lines"]}
        self.ledger = Ledger(ready["ledger"])
        return self

    def post(self, serial, what, **fields):
        """Asks the control API for something; answers with its reply."""
        url = f"http://{self.api}/controllers/{serial}/{what}"
        with urllib.request.urlopen(url, json.dumps(fields).encode(), timeout=10) as reply:
            return json.load(reply)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=10)
        self.process.stdout.close()
        self.folder.cleanup()
        check("simulator: stops cleanly", code, 0)


def summary():
    """Says how many checks there were; answers with the exit code."""
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
