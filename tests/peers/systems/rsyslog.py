"""
rsyslog that takes log messages over RELP and forwards them over RELP.

The forwarding action has a disk-assisted queue as rsyslog's documentation advises for reliable
forwarding, whose files are synced, and is retried for ever. The input's rule set has no queue of
its own before that: what was answered is in the action's queue.
"""

from .install import Missing
from .process import listening
from .publish import publish
from .wire import RelpSource

CONFIG = """
global(workDirectory="{store}" maxMessageSize="8k")
module(load="imrelp")
module(load="omrelp")
template(name="forwarded" type="string" string="<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% %APP-NAME% - - - %msg%")
ruleset(name="in" queue.type="Direct") {{
  action(type="omrelp" target="127.0.0.1" port="{sink}" template="forwarded"
    queue.type="{queue}" queue.filename="forward" queue.saveOnShutdown="on"
    queue.maxDiskSpace="1g" queue.syncQueueFiles="on" queue.checkpointInterval="{checkpoint}"
    action.resumeRetryCount="-1" action.resumeInterval="1")
}}
input(type="imrelp" port="{port}" address="127.0.0.1" ruleset="in")
"""


class Rsyslog:
    """One rsyslogd."""

    name, title, protocol = "rsyslog", "rsyslog, RELP, disk-assisted queue", "relp"
    queue, checkpoint = "LinkedList", 100

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
        """In the foreground, with no file of the system's own rsyslog."""
        config = run.dir / "rsyslog.conf"
        store = run.folder("rsyslog")
        text = CONFIG.format(
            port=port, sink=sink, store=store, queue=self.queue, checkpoint=self.checkpoint
        )
        config.write_text(text)
        command = [self.program, "-n", "-f", config, "-i", "NONE", "-M", f"{self.modules}/"]
        server = run.start("rsyslogd", command, env=self.environment)
        await listening(server, port)

    async def publish(self, port, window, take, acked):
        """One session with so many messages in flight."""
        await publish(RelpSource(), port, window, take, acked)


class RsyslogDisk(Rsyslog):
    """
    The same with a queue that is only on disk and synced after each message. Draining costs the same
    syncs again: a round would take minutes, so only the acknowledgements are measured.
    """

    protocol = None
    name, title = "rsyslog_disk", "rsyslog, RELP, disk queue synced per message"
    queue, checkpoint = "Disk", 1
