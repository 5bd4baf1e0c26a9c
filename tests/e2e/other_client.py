#!/usr/bin/python3
"""Another client, in another language, written from docs/protocol.md alone.

usage: other_client.py ws://HOST:PORT/ws ACCESS_CODE_FILE DB

Fetches a snapshot, follows, and prints "at CURSOR" after each frame. DB holds
the canonical text of every value, and begins anew with every start. For each
line on stdin it compares every table with GET /db/digest at one cursor and
prints "ok" or "differs: TABLE ...". Ends when stdin does.
"""
import asyncio
import collections
import decimal
import hashlib
import json
import re
import shutil
import sqlite3
import sys
import urllib.request
import websockets

url, code_file, path = sys.argv[1:4]
code = open(code_file).read().strip()
quote = lambda name: '"' + name.replace('"', '""') + '"'


def get(what):
    request = urllib.request.Request(re.sub(r"^ws(://[^/]*)/.*", r"http\1", url) + what)
    request.add_header("Authorization", "Bearer " + code)
    return urllib.request.urlopen(request)


def text_of(wire):  # a value on the wire -> its canonical text, which is what this client stores
    return wire if wire is None or isinstance(wire, str) else json.dumps(wire)


def show(column, held):  # what a snapshot's column holds -> canonical text
    kind = column["class"]
    if held is None or isinstance(held, str):
        return held
    if kind == "boolean":
        return "true" if held else "false"
    if kind == "blob":
        return "\\x" + held.hex()
    if kind == "decimal":
        return "%.*f" % (int((re.findall(r"\d+", column["type"]) + ["0"])[1]), held)
    if kind == "float" and abs(held) == float("inf"):
        return "Infinity" if held > 0 else "-Infinity"
    if kind == "float":
        number = decimal.Decimal(repr(held)).normalize()
        sign, digits, exponent = number.as_tuple()
        point = exponent + len(digits) - 1
        if -4 <= point < (6 if column["type"] == "real" else 15):
            return format(number, "f")
        digits = "".join(map(str, digits))
        return "-" * sign + (digits[0] + "." + digits[1:]).rstrip(".") + "e%+03d" % point
    return str(held)


class Cache:
    def snapshot(self, at):
        with get("/db/download" + (f"?min={at}" if at else "")) as answer, open(path + ".got", "wb") as f:
            shutil.copyfileobj(answer, f)
        got, self.db = sqlite3.connect(path + ".got"), sqlite3.connect(path, isolation_level=None)
        self.db.execute("BEGIN")
        for name, in self.db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            self.db.execute("DROP TABLE " + quote(name))
        self.tables = {name: json.loads(schema) for name, schema in
                       got.execute("SELECT name, schema FROM clinic_sync_table")}
        for table, schema in self.tables.items():
            names = [c["name"] for c in schema["columns"]]
            self.db.execute(f"CREATE TABLE {quote(table)} ({', '.join(quote(n) + ' TEXT' for n in names)}, "
                            f"PRIMARY KEY ({', '.join(map(quote, schema['key']))}))")
            self.db.executemany(f"INSERT INTO {quote(table)} VALUES ({', '.join('?' * len(names))})", (
                [show(c, held) for c, held in zip(schema["columns"], row)] for row in
                got.execute(f"SELECT {', '.join(map(quote, names))} FROM {quote(table)}")))
        for table, key, column, text in got.execute('SELECT "table", key, column, value FROM clinic_sync_exact'):
            self.set(table, json.loads(key), {column: text})
        self.oversize = set(got.execute('SELECT "table", key FROM clinic_sync_oversize'))
        self.cursor, = got.execute("SELECT value FROM clinic_sync_meta WHERE key = 'cursor'").fetchone()
        self.db.execute("COMMIT")

    def run(self, statement, table, key, values=()):  # True if the row is there
        where = " AND ".join(quote(n) + " = ?" for n in key)
        return self.db.execute(f"{statement} WHERE {where}",
                               [*map(text_of, values), *map(text_of, key.values())]).rowcount == 1

    def set(self, table, key, data):
        return self.run(f"UPDATE {quote(table)} SET {', '.join(quote(n) + ' = ?' for n in data)}",
                        table, key, data.values())

    def apply(self, change):
        table, operation, key, data = (change[n] for n in ("table", "operation", "key", "data"))
        large = (table, json.dumps(key, separators=(",", ":"), ensure_ascii=False))
        if operation == "truncate":
            self.db.execute("DELETE FROM " + quote(table))
            self.oversize = {o for o in self.oversize if o[0] != table}
        elif operation == "schema":
            for c in data["columns"]:
                if c["name"] not in [known["name"] for known in self.tables[table]["columns"]]:
                    self.db.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(c['name'])} TEXT")
            self.tables[table] = data
        elif operation == "update":
            assert self.set(table, key, data) or large in self.oversize, f"no row to update in {table}"
        else:
            there = self.run(f"DELETE FROM {quote(table)}", table, key) or large in self.oversize
            assert there or operation != "delete", f"no row to delete in {table}"
            self.oversize.discard(large)
            if operation == "oversize":
                self.oversize.add(large)
            elif data is not None:
                self.db.execute(f"INSERT INTO {quote(table)} ({', '.join(map(quote, data))}) "
                                f"VALUES ({', '.join('?' * len(data))})", [*map(text_of, data.values())])

    def frame(self, changes, cursor):
        self.db.execute("BEGIN")
        for change in changes:
            self.apply(change)
        self.db.execute("COMMIT")
        self.cursor = cursor

    def digest(self, table):
        names = sorted((c["name"] for c in self.tables[table]["columns"]), key=str.encode)
        rows = total = 0
        for row in self.db.execute(f"SELECT {', '.join(map(quote, names))} FROM {quote(table)}"):
            data = b"".join(b"N" if t is None else b"V%d:" % len(t.encode()) + t.encode() for t in row)
            total += int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
            rows += 1
        return rows, "%016x" % (total % 2**64)


cache, seen, moved = Cache(), collections.deque(maxlen=1000), asyncio.Event()
stop_at = None  # the cursor where the file must stand still
jumps = 0  # snapshots after the first: any cursor may have been passed by


async def follow(ws):
    global jumps
    staged = []
    async for text in ws:
        message = json.loads(text)
        if message["type"] == "resync_required":
            cache.snapshot(message["at"])
            jumps += 1
            moved.set()
            await ws.send(json.dumps({"type": "request_sync", "cursor": cache.cursor, "tables": None}))
        elif message["type"] == "error" and message["code"] != "database_unavailable":
            sys.exit("refused: " + message["message"])
        elif message["type"] in ("database_change", "heartbeat"):
            assert message["from"] == cache.cursor, "a frame from somewhere else"
            staged += message.get("changes", [])
            if message.get("last", True):
                cache.frame(staged, message["to"])
                staged = []
                seen.append(cache.cursor)
                moved.set()
                print("at", cache.cursor, flush=True)
                while cache.cursor == stop_at:
                    await asyncio.sleep(0.001)


async def compare():
    global stop_at
    for _ in range(10):
        before = jumps
        answer = await asyncio.to_thread(get, "/db/digest")
        wanted = stop_at = json.loads(await asyncio.to_thread(answer.readline))["cursor"]
        while cache.cursor != wanted and wanted not in seen and jumps == before:
            moved.clear()
            await moved.wait()
        if cache.cursor == wanted:
            break
    lines = [json.loads(line) for line in (await asyncio.to_thread(answer.read)).splitlines()]
    assert lines[-1] == {"done": True}, "the digest ended too early"
    different = [t["table"] for t in lines[:-1] if cache.digest(t["table"]) != (t["rows"], t["hash"])]
    stop_at = None
    print("differs: " + " ".join(different) if different else "ok", flush=True)


async def main():
    async with websockets.connect(url, subprotocols=["clinic-sync.v1"], max_size=None) as ws:
        cache.snapshot(None)
        await ws.send(json.dumps({"type": "client_info", "device_id": "other-client", "access_code": code}))
        await ws.send(json.dumps({"type": "request_sync", "cursor": cache.cursor, "tables": None}))
        follower = asyncio.create_task(follow(ws))
        while await asyncio.to_thread(sys.stdin.readline):
            checker = asyncio.create_task(compare())
            await asyncio.wait([follower, checker], return_when=asyncio.FIRST_COMPLETED)
            if follower.done():
                return follower.result()
            checker.result()
        follower.cancel()

asyncio.run(main())
