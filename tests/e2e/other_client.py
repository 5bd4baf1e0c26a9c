#!/usr/bin/python3
"""Another client, in another language, written from docs/protocol.md alone.

usage: other_client.py ws://HOST:PORT/ws ACCESS_CODE_FILE DB

Fetches a snapshot, follows, and prints "at CURSOR" after each frame. For each
line on stdin it compares every table with GET /db/digest at one cursor and
prints "ok" or "differs: TABLE ...". Ends when stdin does.
"""
import asyncio
import collections
import decimal
import hashlib
import json
import re
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


def text_of(wire):  # a value on the wire -> its canonical text
    return wire if isinstance(wire, str) else json.dumps(wire)


def bind(column, wire):  # a value on the wire -> what the SQLite column holds
    if wire is None or column["class"] == "text":
        return wire
    if column["class"] == "blob":
        return bytes.fromhex(wire[2:])
    return (float if column["class"] in ("float", "decimal") else int)(wire)


def show(column, held):  # what the SQLite column holds -> canonical text
    kind = column["class"]
    if kind == "boolean":
        return "true" if held else "false"
    if kind == "blob":
        return "\\x" + held.hex()
    if kind == "decimal":
        return "%.*f" % (int((re.findall(r"\d+", column["type"]) + ["0"])[1]), held)
    if kind == "float":
        sign, digits, exponent = decimal.Decimal(repr(held)).normalize().as_tuple()
        if -4 <= exponent + len(digits) - 1 < 15:
            return format(decimal.Decimal(repr(held)).normalize(), "f")
        point = exponent + len(digits) - 1
        digits = "".join(map(str, digits))
        return "-" * sign + digits[0] + ("." + digits[1:]).rstrip(".") + "e%+03d" % point
    return str(held)


class Cache:
    def snapshot(self, at):
        with get("/db/download" + (f"?min={at}" if at else "")) as answer, open(path, "wb") as f:
            f.write(answer.read())
        self.db = sqlite3.connect(path, isolation_level=None)
        # two rows may swap a unique value inside a frame
        for name, in self.db.execute("SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE UNIQUE%'").fetchall():
            self.db.execute("DROP INDEX " + quote(name))
        self.cursor, = self.db.execute("SELECT value FROM clinic_sync_meta WHERE key = 'cursor'").fetchone()
        self.tables = {name: json.loads(schema) for name, schema in
                       self.db.execute("SELECT name, schema FROM clinic_sync_table")}

    def set(self, table, key, data):  # set these columns; True if the row was there
        columns = [c for c in self.tables[table]["columns"] if c["name"] in data]
        values = [bind(c, data[c["name"]]) for c in columns]
        for c, value in zip(columns, values):
            wire = data[c["name"]]
            self.db.execute('DELETE FROM clinic_sync_exact WHERE "table" = ? AND key = ? AND column = ?',
                            (table, key, c["name"]))
            if wire is not None and show(c, value) != text_of(wire):
                self.db.execute("INSERT INTO clinic_sync_exact VALUES (?, ?, ?, ?)",
                                (table, key, c["name"], text_of(wire)))
        names = ", ".join(quote(c["name"]) + " = ?" for c in columns)
        where, wanted = self.where(table, json.loads(key))
        return columns, values, self.db.execute(f"UPDATE {quote(table)} SET {names} WHERE {where}",
                                                values + wanted).rowcount == 1

    def where(self, table, key):
        columns = [c for c in self.tables[table]["columns"] if c["name"] in key]
        return (" AND ".join(quote(c["name"]) + " = ?" for c in columns),
                [bind(c, key[c["name"]]) for c in columns])

    def remove(self, table, key):  # True if the row was there, or was known to be too large
        where, wanted = self.where(table, json.loads(key))
        there = self.db.execute(f"DELETE FROM {quote(table)} WHERE {where}", wanted).rowcount
        self.db.execute('DELETE FROM clinic_sync_exact WHERE "table" = ? AND key = ?', (table, key))
        return there + self.db.execute('DELETE FROM clinic_sync_oversize WHERE "table" = ? AND key = ?',
                                       (table, key)).rowcount > 0

    def apply(self, change):
        table, operation, data = change["table"], change["operation"], change["data"]
        key = json.dumps(change["key"], separators=(",", ":"), ensure_ascii=False)
        if operation == "truncate":
            self.db.execute("DELETE FROM " + quote(table))
            for side in ("exact", "oversize"):
                self.db.execute(f'DELETE FROM clinic_sync_{side} WHERE "table" = ?', (table,))
        elif operation == "schema":
            known = [c["name"] for c in self.tables[table]["columns"]]
            kinds = {"text": "TEXT", "blob": "BLOB", "float": "REAL", "decimal": "REAL"}
            for c in data["columns"]:
                if c["name"] not in known:
                    self.db.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(c['name'])} "
                                    + kinds.get(c["class"], "INTEGER"))
            self.tables[table] = data
            self.db.execute("UPDATE clinic_sync_table SET schema = ? WHERE name = ?", (json.dumps(data), table))
        elif operation == "update":
            if not self.set(table, key, data)[2]:
                assert self.db.execute('SELECT 1 FROM clinic_sync_oversize WHERE "table" = ? AND key = ?',
                                       (table, key)).fetchone(), f"no row to update in {table}"
        else:
            there = self.remove(table, key)
            assert there or operation != "delete", f"no row to delete in {table}"
            if operation == "oversize":
                self.db.execute("INSERT INTO clinic_sync_oversize VALUES (?, ?)", (table, key))
            elif data is not None:
                columns, values, _ = self.set(table, key, data)
                self.db.execute(f"INSERT INTO {quote(table)} ({', '.join(quote(c['name']) for c in columns)}) "
                                f"VALUES ({', '.join('?' * len(columns))})", values)

    def frame(self, changes, cursor):
        self.db.execute("BEGIN")
        for change in changes:
            self.apply(change)
        self.db.execute("UPDATE clinic_sync_meta SET value = ? WHERE key = 'cursor'", (cursor,))
        self.db.execute("COMMIT")
        self.cursor = cursor

    def digest(self, table):
        columns = sorted(self.tables[table]["columns"], key=lambda c: c["name"].encode())
        exact = {(key, column): value for key, column, value in self.db.execute(
            'SELECT key, column, value FROM clinic_sync_exact WHERE "table" = ?', (table,))}
        rows = total = 0
        for row in self.db.execute(f"SELECT {', '.join(quote(c['name']) for c in columns)} FROM {quote(table)}"):
            held = {c["name"]: value for c, value in zip(columns, row)}
            texts = {c["name"]: None if held[c["name"]] is None else show(c, held[c["name"]]) for c in columns}
            if exact:
                kinds = {c["name"]: c["class"] for c in columns}
                key = {n: json.loads(texts[n]) if kinds[n] in ("boolean", "integer") else texts[n]
                       for n in self.tables[table]["key"]}
                key = json.dumps(key, separators=(",", ":"), ensure_ascii=False)
                texts.update({n: exact[key, n] for n in texts if (key, n) in exact})
            data = b"".join(b"N" if t is None else b"V%d:" % len(t.encode()) + t.encode() for t in texts.values())
            total += int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
            rows += 1
        return rows, "%016x" % (total % 2**64)


cache, seen, moved = Cache(), collections.deque(maxlen=1000), asyncio.Event()
stop_at = None  # the cursor where the file must stand still


async def follow(ws):
    staged = []
    async for text in ws:
        message = json.loads(text)
        if message["type"] == "resync_required":
            cache.snapshot(message["at"])
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
        answer = await asyncio.to_thread(get, "/db/digest")
        wanted = stop_at = json.loads(await asyncio.to_thread(answer.readline))["cursor"]
        while cache.cursor != wanted and wanted not in seen:
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
