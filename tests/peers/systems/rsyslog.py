"""
rsyslog that takes log messages over RELP and forwards them over RELP.

The forwarding action has a disk-assisted queue as rsyslog's documentation advises for reliable
forwarding, whose files are synced, and is retried for ever. Before it lies rsyslog's main queue as
it is by default, in memory: a message is answered once it is there.
"""

import time

from .experiment import Sink, System
from .install import Missing
from .process import listening
from .publish import publish
from .recorder import Arrivals
from .wire import RelpSource

CONFIG = """
global(workDirectory="{store}" maxMessageSize="8k")
module(load="imrelp")
module(load="omrelp")
template(name="forwarded" type="string" string="<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% %APP-NAME% - - - %msg%")
ruleset(name="in" {ruleset}) {{
  action(type="omrelp" target="127.0.0.1" port="{sink}" template="forwarded"
    action.resumeRetryCount="-1" action.resumeInterval="1" {action})
}}
input(type="imrelp" port="{port}" address="127.0.0.1" ruleset="in")
"""

QUEUE = """
    queue.type="{kind}" queue.filename="{name}" queue.checkpointInterval="{checkpoint}"
    queue.syncQueueFiles="on" queue.saveOnShutdown="on" queue.maxDiskSpace="1g"
"""
# As the page of imrelp shows it: what comes goes through the main queue, which is in memory.
RECEIVER = """
global(workDirectory="{store}" maxMessageSize="8k")
module(load="imrelp")
template(name="recorded" type="string" string="%timegenerated:::date-unixtimestamp%%timegenerated:::date-subseconds%000 %msg%\\n")
action(type="omfile" file="{out}" template="recorded")
input(type="imrelp" port="{port}" address="127.0.0.1")
"""


class Rsyslog(System):
    """One rsyslogd."""

    name, title, protocol = "rsyslog", "rsyslog, RELP, disk-assisted queue", "relp"
    ruleset, action = "", QUEUE.format(kind="LinkedList", name="forward", checkpoint=100)

    def __init__(self):
        self.program = self.environment = self.modules = None

    def install(self, packages):
        """From Debian."""
        self.program, self.environment, libraries = packages.program("rsyslogd")
        places = [path / "rsyslog" for path in libraries]
        self.modules = next((path for path in places if (path / "omrelp.so").exists()), None)
        if self.modules is None:
            raise Missing("rsyslog is there, its package rsyslog-relp is not")
        return packages.debian_version("rsyslog")

    async def start(self, run, port, sink):
        """The one that stores and forwards."""
        text = CONFIG.format(
            port=port,
            sink=sink,
            store=run.folder("rsyslog"),
            ruleset=self.ruleset,
            action=self.action,
        )
        await self.daemon(run, "rsyslogd", port, text)

    async def daemon(self, run, name, port, text):
        """In the foreground, with no file of the system's own rsyslog."""
        config = run.dir / f"{name}.conf"
        config.write_text(text)
        command = [self.program, "-n", "-f", config, "-i", "NONE", "-M", f"{self.modules}/"]
        process = run.start(name, command, env=self.environment)
        await listening(process, port)
        return process

    async def publish(self, port, window, take, acked):
        """One session with so many messages in flight."""
        await publish(RelpSource(), port, window, take, acked)


class RsyslogDisk(Rsyslog):
    """
    What comes goes into a queue that is only on disk and synced after each message, so an answer
    means that it is there. Draining costs the same syncs again: a round would take minutes, so only
    the acknowledgements are measured.
    """

    has_rounds = False
    name, title = "rsyslog_disk", "rsyslog, RELP, disk queue synced per message"
    ruleset, action = QUEUE.format(kind="Disk", name="main", checkpoint=1), ""


class RsyslogPair(Rsyslog):
    """The target is another rsyslogd, which writes to a file behind its default queue."""

    name, title = "rsyslog_pair", "rsyslog to rsyslog, disk-assisted queue"

    async def sink(self, run, name, port):
        out = run.dir / f"{name}.arrivals"
        text = RECEIVER.format(port=port, store=run.folder(name), out=out)
        process = await self.daemon(run, name, port, text)
        return Sink([process], Arrivals(out), time.time_ns())
