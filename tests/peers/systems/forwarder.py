"""
Carries messages from JetStream to a sink, as small as one would write it for production.

    python3 -m systems.forwarder --nats 4222 --sink 20001

A batch is pulled, sent, and acknowledged to JetStream once the sink has answered every message of
it. A sink that is gone is tried again until it is back, with the same batch, while JetStream is told
that the work goes on. So nothing is lost; what the sink had received before it could answer comes
twice. It prints one line of JSON when its consumer is there.
"""

import argparse
import asyncio
import json
import sys

import nats
from nats.js.api import AckPolicy, ConsumerConfig

from .delivery import Delivery

BATCH = 256
# JetStream's default of 30 s; it is told of work in progress well before.
ACK_WAIT_S = 30
PROGRESS_EVERY_S = 10


async def carry(sink, messages):
    """One batch, to the end."""
    delivery = asyncio.ensure_future(sink.deliver([message.data for message in messages]))
    while not (await asyncio.wait([delivery], timeout=PROGRESS_EVERY_S))[0]:
        for message in messages:
            await message.in_progress()
    delivery.result()
    for message in messages:
        await message.ack()


async def forward(nats_port, sink_port):
    """Until it is killed."""
    client = await nats.connect(f"nats://127.0.0.1:{nats_port}")
    config = ConsumerConfig(
        ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S, max_ack_pending=4 * BATCH
    )
    stream = client.jetstream()
    consumer = await stream.pull_subscribe("events", durable="forwarder", config=config)
    sys.stdout.write(json.dumps({"ready": True}) + "\n")
    sys.stdout.flush()
    sink = Delivery(sink_port)
    while True:
        try:
            messages = await consumer.fetch(BATCH, timeout=1)
        except nats.errors.TimeoutError:
            continue
        await carry(sink, messages)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Forwards a JetStream stream to a sink.")
    parser.add_argument("--nats", type=int, required=True)
    parser.add_argument("--sink", type=int, required=True)
    args = parser.parse_args()
    asyncio.run(forward(args.nats, args.sink))


if __name__ == "__main__":
    main()
