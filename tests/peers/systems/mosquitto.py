"""
Mosquitto with a bridge of QoS 1, as a careful operator sets it up.

Persistence is on and the limits of the queue are lifted: at their default, 1,000 messages, what
exceeds it in an outage is dropped, acknowledged or not. The bridge keeps its session and tries again
after one to five seconds. Mosquitto writes its database at intervals and never in step with a
PUBACK; this rig does not kill it, so that does not show here.
"""

import os
import sys

from .experiment import Sink, System
from .process import HOME, listening
from .publish import publish
from .recorder import Arrivals
from .wire import MqttSource

BROKER = """
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {store}/
autosave_interval 10
{limits}
"""
BRIDGE = """
connection forward
address 127.0.0.1:{sink}
topic {topic} out 1
bridge_protocol_version mqttv311
try_private false
notifications false
cleansession false
keepalive_interval 5
restart_timeout 1 5
"""


class Mosquitto(System):
    """The broker with its bridge."""

    name, title, protocol = "mosquitto", "Mosquitto bridge, QoS 1, queue unlimited", "mqtt"
    limits = "max_queued_messages 0\nmax_queued_bytes 0"

    def __init__(self):
        self.program = self.environment = None

    def install(self, packages):
        """From Debian."""
        self.program, self.environment, _ = packages.program("mosquitto")
        return packages.debian_version("mosquitto")

    async def start(self, run, port, sink):
        """The broker; its bridge is part of it."""
        bridge = BRIDGE.format(sink=sink, topic=MqttSource.TOPIC.decode())
        await self.broker(run, "mosquitto", port, bridge)

    async def broker(self, run, name, port, more):
        """One that listens."""
        text = BROKER.format(port=port, store=run.folder(name), limits=self.limits) + more
        if os.geteuid() == 0:
            # Or it would become a user of its own, whom an unpacked package did not make.
            text = "user root\n" + text
        config = run.dir / f"{name}.conf"
        config.write_text(text)
        broker = run.start(name, [self.program, "-c", config], env=self.environment)
        await listening(broker, port)
        return broker

    async def publish(self, port, window, take, acked):
        """One client with so many messages in flight."""
        await publish(MqttSource(), port, window, take, acked)


class MosquittoDefault(Mosquitto):
    """The same with the queue's default limit."""

    name, title = "mosquitto_default", "Mosquitto bridge, QoS 1, default queue"
    limits = ""


class MosquittoPair(Mosquitto):
    """
    The bridge's target is another Mosquitto, with a subscriber that records. Both are killed and
    replaced: what the target had answered and not yet handed on is gone with it.
    """

    name, title = "mosquitto_pair", "Mosquitto to Mosquitto, queue unlimited"

    async def sink(self, run, name, port):
        broker = await self.broker(run, name, port, "")
        out = run.dir / f"{name}.arrivals"
        command = [sys.executable, "-m", "systems.recorder", "--subscribe", "--port", port]
        subscriber = run.start(f"{name}-subscriber", command + ["--out", out], cwd=HOME)
        up_ns = (await subscriber.ready())["ready_ns"]
        # The broker first: a subscriber that went first would not see its last messages.
        return Sink([broker, subscriber], Arrivals(out), up_ns)
