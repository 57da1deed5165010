#!/usr/bin/env python3
"""
Asks real servers whatever PyPI's schemathesis (4.32.5) makes up from their OpenAPI document.

    pip install schemathesis==4.32.5
    python3 tests/peers/schemathesis_server.py --server target/debug/postern-server

Founds a site in a temporary directory, starts both servers on loopback, and runs schemathesis four times
against the active one: with a gateway's certificate, an operator's, a server's and a monitor's. Afterwards
the servers must be what they were, hold the same, and have stored nothing but the document's
example. Prints a line for each check, then `N passed, M failed`; exit code 0 where nothing failed.
"""

import argparse
import base64
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from servers import Servers, until
from simulator import check, summary

HERE = pathlib.Path(__file__).resolve().parent
# What is made up for each operation and certificate, beside each limit and one beyond.
EXAMPLES = 10
# Each of the four runs; one takes a third of it where nothing else runs.
RUN_S = 75
EXAMPLE_JOURNAL = "07070707-0707-0707-0707-070707070707"


def pem(kind, text):
    """DER in base64 as PEM."""
    lines = base64.encodebytes(base64.b64decode(text)).decode()
    return f"-----BEGIN {kind}-----\n{lines}-----END {kind}-----\n"


def certificates(servers):
    """Where each role's certificate lies. An operator finds what the gateway stored before."""
    root = servers.root
    bundle = root / "hall.json"
    servers.command("enrol", "hall", "--dir", root / "a", "--out", bundle)
    gateway = json.loads(bundle.read_text(encoding="utf-8"))
    certificate = pem("CERTIFICATE", gateway["certificate"])
    (root / "hall.crt").write_text(certificate, encoding="utf-8")
    (root / "hall.key").write_text(pem("PRIVATE KEY", gateway["key"]), encoding="utf-8")
    # Certificate and key in one file are found in it by either name.
    servers.command("enrol-monitor", "lb", "--dir", root / "a", "--out", root / "lb.crt")
    (root / "lb.key").write_text((root / "lb.crt").read_text(encoding="utf-8"), encoding="utf-8")
    return {
        "gateway": root / "hall",
        "operator": root / "a" / "admin",
        "server": root / "b" / "server",
        "monitor": root / "lb",
    }


def configuration(document, role):
    """The common one; what is refused to a role anyway is asked for as is right alone."""
    methods = (operation for path in document["paths"].values() for operation in path.values())
    others = [
        operation["operationId"]
        for operation in methods
        if not any(role in requirement["certificate"] for requirement in operation["security"])
    ]
    common = (HERE / "schemathesis.toml").read_text(encoding="utf-8")
    own = f"[[operations]]\ninclude-operation-id = {json.dumps(others)}\n"
    return common + "\n" + own + 'generation.mode = "positive"\n'


def ask(servers, role, credential, document, examples):
    """One run of schemathesis; answers with what its hooks have seen."""
    root = servers.root
    folder, seen, backups = root / f"run-{role}", root / f"{role}.json", root / "backups"
    folder.mkdir()
    backups.mkdir(exist_ok=True)
    config, described = folder / "schemathesis.toml", root / "openapi.json"
    config.write_text(configuration(document, role), encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", config, "run", described, "--no-color"]
    command += ["--url", servers.url, "--tls-verify", root / "a" / "ca.crt"]
    command += ["--request-cert", f"{credential}.crt", "--request-cert-key", f"{credential}.key"]
    command += ["--max-examples", examples, "--continue-on-failure"]
    variables = {
        "SCHEMATHESIS_HOOKS": HERE / "schemathesis_hooks.py",
        "POSTERN_ROLE": role,
        "POSTERN_BACKUPS": backups,
        "POSTERN_SEEN": seen,
    }
    with open(folder / "output", "w+", encoding="utf-8") as output:
        try:
            code = subprocess.run(
                list(map(str, command)),
                cwd=folder,
                env={**os.environ, **{name: str(value) for name, value in variables.items()}},
                timeout=RUN_S,
                check=False,
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"no end within {RUN_S} s"
        output.seek(0)
        if code != 0:
            print(output.read(), servers.logs(), sep="\n")
    check(f"{role}: schemathesis finds nothing", code, 0)
    nothing = {"statuses": {}, "reached": []}
    return json.loads(seen.read_text(encoding="utf-8")) if seen.exists() else nothing


def run(servers, examples):
    """Asks in each role; answers with how much was asked."""
    text = servers.command("openapi")
    (servers.root / "openapi.json").write_text(text, encoding="utf-8")
    document = json.loads(text)
    operations = sum(len(methods) for methods in document["paths"].values())
    until("both stores are in sync", lambda: servers.status("a")["copies"] == 2)
    before = servers.status("a")
    total = 0
    for role, credential in certificates(servers).items():
        begun = time.monotonic()
        seen = ask(servers, role, credential, document, examples)
        took, count = time.monotonic() - begun, sum(seen["statuses"].values())
        by_status = ", ".join(f"{n} of {status}" for status, n in sorted(seen["statuses"].items()))
        reached = f"{len(seen['reached'])} operations succeeded"
        print(f"      {role}: {count} answers in {took:.0f} s: {by_status}; {reached}")
        total += count
    aftermath(servers, before)
    print(f"{operations} operations, {total} answers")


def aftermath(servers, before):
    """The servers are what they were, and hold nothing that nobody sent."""
    until("b is in sync", lambda: len(servers.status("a")["in_sync"]) == 2)
    after = servers.status("a")
    for what in ("state", "active", "role_term", "store"):
        check(f"afterwards: {what}", after[what], before[what])
    check("afterwards: state of b", servers.status("b")["state"], "standby")
    until("both hold the same", lambda: servers.status("a")["log"] == servers.status("b")["log"])
    lines = servers.command("export", "--dir", servers.root / "a", "--format", "jsonl")
    # A gateway may begin a journal anywhere, with bytes that nobody can read: those are kept.
    items = [item for item in map(json.loads, lines.splitlines()) if item["kind"] != "unreadable"]
    journals = [item["journal"] for item in items]
    check("stored: the document's example alone", journals, [EXAMPLE_JOURNAL])
    check("servers: stop cleanly", servers.stop(), [0, 0])
    for name in ("a", "b"):
        copy = servers.root / f"{name}.copy"
        servers.command("backup", "create", "--dir", servers.root / name, "--out", copy)
        # Fails, and so does all of this, where it is not sound.
        servers.command("backup", "verify", copy, "--full")
        print(f"ok    store of {name}: sound")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--server", required=True, help="the program postern-server")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="made up for each operation")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as root, Servers(args.server, root) as servers:
        run(servers, args.examples)
    return summary()


if __name__ == "__main__":
    sys.exit(main())
