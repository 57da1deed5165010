"""
The bytes of the three protocols that a recorder or a publisher speaks: MQTT 3.1.1, RELP, and lines.

Pure: bytes in, messages and answers out. `…Sink` is the receiving side, which `recorder` puts on a
socket; `…Source` the sending side, which `publish` drives. Only what the compared systems use is
here, and anything else raises `WireError`: a rig that guesses would count wrongly.
"""

import struct


class WireError(Exception):
    """The other side said what this rig does not know."""


class Buffered:
    """Collects bytes until `take` finds a whole frame at an offset; never copies the rest twice."""

    def __init__(self):
        self.buffer = b""

    def frames(self, data):
        """The frames that are complete by now."""
        self.buffer += data
        at = 0
        while (frame := self.take(at)) is not None:
            at, content = frame
            yield content
        self.buffer = self.buffer[at:]


class Mqtt(Buffered):
    """MQTT control packets as (first byte, rest)."""

    def take(self, at):
        """One packet: its length has one to four bytes of seven bits."""
        buffer, length = self.buffer, 0
        for step in range(4):
            if len(buffer) < at + 2 + step:
                return None
            byte = buffer[at + 1 + step]
            length |= (byte & 0x7F) << 7 * step
            if byte < 0x80:
                begin = at + 2 + step
                end = begin + length
                return (end, (buffer[at], buffer[begin:end])) if len(buffer) >= end else None
        raise WireError("an MQTT length of more than four bytes")

    @staticmethod
    def packet(first, body):
        """The bytes of a packet."""
        length, left = b"", len(body)
        while True:
            left, low = left >> 7, left & 0x7F
            length += bytes([low | (0x80 if left else 0)])
            if not left:
                return bytes([first]) + length + body


class MqttSink(Mqtt):
    """A broker to whom one client publishes. It remembers no session, as a new broker would not."""

    def feed(self, data):
        """Messages, and what has to be answered once they are recorded."""
        messages, answer = [], b""
        for first, body in self.frames(data):
            kind = first >> 4
            if kind == 1:
                answer += b"\x20\x02\x00\x00"
            elif kind == 3:
                payload, puback = published(first, body)
                messages.append(payload)
                answer += puback
            elif kind == 8:
                answer += b"\x90\x03" + body[:2] + b"\x01"
            elif kind == 10:
                answer += b"\xb0\x02" + body[:2]
            elif kind == 12:
                answer += b"\xd0\x00"
            elif kind != 14:
                raise WireError(f"an MQTT packet of type {kind}")
        return messages, answer


def published(first, body):
    """The payload of a PUBLISH, and the PUBACK where it wants one."""
    begin = 2 + struct.unpack_from(">H", body)[0]
    qos = first >> 1 & 3
    if qos == 0:
        return body[begin:], b""
    if qos == 1:
        return body[begin + 2 :], b"\x40\x02" + body[begin : begin + 2]
    raise WireError("a PUBLISH of QoS 2")


class MqttSubscriber(Mqtt):
    """A client that takes what a broker has, with QoS 1 and a session that is kept."""

    subscribed = False

    def hello(self):
        """CONNECT and SUBSCRIBE."""
        name, topic = b"subscriber", MqttSource.TOPIC
        connect = b"\x00\x04MQTT\x04\x00\x00\x00" + struct.pack(">H", len(name)) + name
        subscribe = b"\x00\x01" + struct.pack(">H", len(topic)) + topic + b"\x01"
        return self.packet(0x10, connect) + self.packet(0x82, subscribe)

    def feed(self, data):
        """Messages, and what has to be answered once they are recorded."""
        messages, answer = [], b""
        for first, body in self.frames(data):
            kind = first >> 4
            if kind == 3:
                payload, puback = published(first, body)
                messages.append(payload)
                answer += puback
            elif kind == 9 and body[2] == 1:
                self.subscribed = True
            elif kind != 2 or body[1] != 0:
                raise WireError(f"the MQTT packet {first:#04x} {body.hex()}")
        return messages, answer


class MqttSource(Mqtt):
    """A client that publishes with QoS 1."""

    TOPIC = b"events"

    def hello(self):
        """CONNECT: clean session, no keep-alive."""
        name = b"producer"
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(name)) + name
        return self.packet(0x10, body)

    def message(self, key, payload):
        """PUBLISH under the packet id that belongs to `key`."""
        topic = struct.pack(">H", len(self.TOPIC)) + self.TOPIC
        return self.packet(0x32, topic + struct.pack(">H", key) + payload)

    # Packet ids are 16 bits wide; 0 is none.
    LAST_KEY = 0xFFFF

    def feed(self, data):
        """Which messages were acknowledged; `None` for the answer to `hello`."""
        for first, body in self.frames(data):
            if first == 0x20 and body[1] == 0:
                yield None
            elif first == 0x40:
                yield struct.unpack(">H", body)[0]
            else:
                raise WireError(f"the MQTT packet {first:#04x} {body.hex()}")


class Relp(Buffered):
    """RELP frames as (transaction, command, data)."""

    def take(self, at):
        """`TXNR SP COMMAND SP LENGTH [SP DATA] LF`; nothing stands between LENGTH 0 and LF."""
        head = self.buffer[at : at + 64].split(b" ", 2)
        if len(head) < 3:
            return None
        digits = head[2].replace(b"\n", b" ").split(b" ", 1)
        if len(digits) < 2:
            return None
        length = int(digits[0])
        begin = at + len(head[0]) + len(head[1]) + len(digits[0]) + 2 + (1 if length else 0)
        end = begin + length + 1
        if len(self.buffer) < end:
            return None
        if self.buffer[end - 1 : end] != b"\n":
            raise WireError(f"a RELP frame that does not end: {self.buffer[at:end]!r}")
        return end, (int(head[0]), head[1], self.buffer[begin : begin + length])

    @staticmethod
    def frame(transaction, command, data):
        """The bytes of a frame."""
        space = b" " if data else b""
        return b"%d %s %d%s%s\n" % (transaction, command, len(data), space, data)


OFFERS = b"relp_version=0\nrelp_software=rig,1,none\ncommands=syslog"


class RelpSink(Relp):
    """A server that takes log messages."""

    def feed(self, data):
        """Messages, and what has to be answered once they are recorded."""
        messages, answer = [], b""
        for transaction, command, body in self.frames(data):
            if command == b"open":
                answer += self.frame(transaction, b"rsp", b"200 OK\n" + OFFERS)
            elif command == b"syslog":
                messages.append(body)
                answer += self.frame(transaction, b"rsp", b"200 OK")
            elif command == b"close":
                answer += self.frame(transaction, b"rsp", b"") + self.frame(0, b"serverclose", b"")
            else:
                raise WireError(f"the RELP command {command!r}")
        return messages, answer


class RelpSource(Relp):
    """A client that sends log messages."""

    def hello(self):
        """The session's first frame, transaction 1."""
        return self.frame(1, b"open", OFFERS)

    def message(self, key, payload):
        """A log message: facility user, severity notice."""
        log = b"<13>1 2026-01-01T00:00:00Z site producer - - - " + payload
        return self.frame(key + 1, b"syslog", log)

    LAST_KEY = 999_999_998

    def feed(self, data):
        """Which messages were acknowledged; `None` for the answer to `hello`."""
        for transaction, command, body in self.frames(data):
            if command != b"rsp" or not body.startswith(b"200"):
                raise WireError(f"the RELP frame {command!r} {body!r}")
            yield transaction - 1 if transaction > 1 else None


class LineSink(Buffered):
    """Lines, each answered with a dot: what our own small forwarder talks."""

    def take(self, at):
        """A line."""
        end = self.buffer.find(b"\n", at)
        return (end + 1, self.buffer[at:end]) if end >= 0 else None

    def feed(self, data):
        """Messages, and what has to be answered once they are recorded."""
        messages = list(self.frames(data))
        return messages, b"." * len(messages)


SINKS = {"mqtt": MqttSink, "relp": RelpSink, "lines": LineSink}
