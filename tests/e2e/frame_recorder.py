#!/usr/bin/python3
"""Stands between devices and a relay and writes every WebSocket message to a file.

usage: frame_recorder.py RELAY_PORT FILE

Prints "listening PORT". Bytes pass unchanged in both directions, HTTP too; each
message becomes one line {"sender": "relay" or "device", "message": "..."}.
Ends when stdin does.
"""
import asyncio
import json
import sys

relay_port, path = int(sys.argv[1]), sys.argv[2]
record = open(path, "a", buffering=1)


class Messages:
    """Takes one direction's bytes apart: an HTTP head, then (if it upgrades) frames."""

    def __init__(self, sender):
        self.sender, self.buffer, self.message = sender, b"", b""
        self.upgraded = None  # not known before the head is complete

    def feed(self, data):
        if self.upgraded is False:
            return
        self.buffer += data
        if self.upgraded is None:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self.upgraded = b"upgrade: websocket" in head.lower()
            self.buffer = rest
        while self.upgraded and self.frame():
            pass

    def frame(self):
        """Takes one frame off the buffer; False when it is not complete."""
        b = self.buffer
        if len(b) < 2:
            return False
        length, at = b[1] & 127, 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(b[at:at + size], "big"), at + size
        mask = b[at:at + 4] if b[1] & 128 else None
        at += 4 if mask is not None else 0
        if len(b) < at + length:
            return False
        payload, self.buffer = b[at:at + length], b[at + length:]
        if mask:
            key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
            payload = (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")
        if b[0] & 15 in (0, 1):
            self.message += payload
            if b[0] & 128:
                record.write(json.dumps({"sender": self.sender, "message": self.message.decode()}) + "\n")
                self.message = b""
        return True


async def pump(reader, writer, messages):
    try:
        while data := await reader.read(65536):
            messages.feed(data)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    try:
        relay_reader, relay_writer = await asyncio.open_connection("127.0.0.1", relay_port)
    except OSError:
        return writer.close()
    await asyncio.gather(pump(reader, relay_writer, Messages("device")),
                         pump(relay_reader, writer, Messages("relay")))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
