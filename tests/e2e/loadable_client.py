#!/usr/bin/python3
"""An app with an SQLite and a WebSocket of its own, synced by clinic_cache.so.

usage: loadable_client.py OPTIONS CODE_FILE DB EXTENSION

OPTIONS is the JSON of clinic_cache_open(), with url. Loads the extension into
its connection to DB and syncs. Prints "event JSON" for each event, and for each
line on stdin, an SQL statement run on the same connection, "rows JSON" or "error
TEXT". A message that is refused (the app is in a transaction, say) is given
again later: "refused TEXT". Ends when stdin does.
"""
import asyncio
import json
import os
import re
import shutil
import sqlite3
import sys
import urllib.error
import urllib.request
import websockets

options, code_file, path, extension = sys.argv[1:5]
options = dict(json.loads(options), access_code=open(code_file).read().strip())
db = sqlite3.connect(path, isolation_level=None, timeout=10)
db.enable_load_extension(True)
db.load_extension(extension)


class Refused(Exception):
    """Nothing was done; the same call can be made again."""


def call(name, *values):
    try:
        return db.execute(f"SELECT clinic_cache_{name}({', '.join('?' * len(values))})", values).fetchone()[0]
    except sqlite3.OperationalError as error:
        if "nothing was lost" in str(error):
            raise Refused(str(error)) from None
        raise


async def insist(name, *values):
    said = False
    while True:
        try:
            return call(name, *values)
        except Refused as error:
            if not said:
                print("refused", error, flush=True)
            said = True
            await asyncio.sleep(0.01)


def tell():
    for event in json.loads(call("events")):
        print("event", json.dumps(event), flush=True)


def fetch(todo):
    """GET into the file; what is missing afterwards, or None."""
    request = urllib.request.Request(re.sub(r"^ws(://[^/]*)/.*", r"http\1", options["url"]) + todo["path"])
    request.add_header("Authorization", "Bearer " + options["access_code"])
    try:
        with urllib.request.urlopen(request) as answer, open(todo["file"], "wb") as f:
            shutil.copyfileobj(answer, f)
            length = int(answer.headers["Content-Length"])
    except urllib.error.HTTPError as error:
        return error.code, error.reason
    except OSError as error:
        return 0, str(error)
    return None if os.path.getsize(todo["file"]) == length else (0, "it broke off")


class Link:
    """The WebSocket; one at a time."""
    ws = None

    async def run(self, url):
        code, reason = 0, ""
        try:
            async with websockets.connect(url, subprotocols=["clinic-sync.v1"], max_size=None) as ws:
                await insist("connected")
                self.ws = ws
                await self.send()
                async for message in ws:
                    await insist("receive", message)
                    await self.send()
                    tell()
        except websockets.ConnectionClosed as closed:
            code, reason = closed.code or 0, closed.reason
        except (OSError, asyncio.TimeoutError, websockets.WebSocketException, sqlite3.OperationalError) as error:
            reason = str(error)
        self.ws = None
        await insist("disconnected", code, reason)

    async def send(self):
        while self.ws:
            frame = call("next_frame")
            if frame is None:
                return
            await self.ws.send(frame)


async def sync():
    link, running, download = Link(), None, None
    while True:
        tell()
        todo = json.loads(await insist("next_action"))
        if todo["action"] == "stop":
            print("stopped:", todo["error"], flush=True)
            return
        if todo["action"] == "connect":
            running = asyncio.create_task(link.run(todo["url"]))
        elif todo["action"] == "fetch_snapshot":
            download = asyncio.create_task(asyncio.to_thread(fetch, todo))
        else:
            tasks = {task for task in (running, download) if task and not task.done()}
            await asyncio.wait(tasks or {asyncio.create_task(asyncio.sleep(1))},
                               timeout=min(todo["wait_ms"], 50) / 1000, return_when=asyncio.FIRST_COMPLETED)
        if download and download.done():
            missing, download = download.result(), None
            try:
                await insist(*(["snapshot_failed", *missing] if missing else ["snapshot_fetched"]))
            except sqlite3.OperationalError as error:
                print("error", error, flush=True)
        if not await insist("tick") and link.ws:
            await link.ws.close()
        await link.send()


async def serve(lines):
    while line := await asyncio.to_thread(lines.readline):
        try:
            print("rows", json.dumps(db.execute(line).fetchall()), flush=True)
        except sqlite3.Error as error:
            print("error", error, flush=True)


async def main():
    call("open", json.dumps(options))
    syncing = asyncio.create_task(sync())
    serving = asyncio.create_task(serve(sys.stdin))
    await asyncio.wait([syncing, serving], return_when=asyncio.FIRST_COMPLETED)
    stopped = syncing.done() and syncing.result() is None
    db.close()
    os._exit(1 if stopped else 0)  # a thread may still wait for stdin

asyncio.run(main())
