#!/usr/bin/env python3
"""An app beside a sync: writes tables of its own and reads the synced ones all along.

app_writer.py FILE STOP_FILE BUSY_TIMEOUT_S

Ends when STOP_FILE is there, and prints what it did as one line of JSON. Whatever SQLite
refuses is an error: an app of this kind has no second attempt.
"""
import json
import os
import sqlite3
import sys
import time

path, stop, timeout = sys.argv[1], sys.argv[2], float(sys.argv[3])
writer = sqlite3.connect(path, timeout=timeout, isolation_level=None)
reader = sqlite3.connect(path, timeout=timeout, isolation_level=None)
done = {"written": 0, "read": 0, "errors": [], "longest_write_ms": 0, "torn": 0, "sqlite": sqlite3.sqlite_version}


def attempt(what, action):
    began = time.monotonic()
    try:
        action()
        return (time.monotonic() - began) * 1000
    except sqlite3.Error as error:
        done["errors"].append(f"{what}: {error}")
        return 0


def write():
    number = done["written"]
    writer.execute("BEGIN IMMEDIATE")
    writer.execute(
        "INSERT INTO sync_log (tableName, recordId, action, timestamp) VALUES ('app', ?, 'insert', 'now')",
        (str(number),),
    )
    writer.execute(
        "INSERT INTO generated_documents (id, documentType, fileName, generatedAt) VALUES (?, 'receipt', 'f', 'now')",
        (f"doc-{number}",),
    )
    writer.execute("COMMIT")
    done["written"] += 1


def read():
    # one look at the file: the bill and its items belong together
    reader.execute("BEGIN")
    total = reader.execute("SELECT count(*), sum(subtotal) FROM patient_bills").fetchone()
    again = reader.execute("SELECT count(*), sum(subtotal) FROM patient_bills").fetchone()
    reader.execute("COMMIT")
    done["torn"] += total != again
    done["read"] += 1


while not os.path.exists(stop):
    done["longest_write_ms"] = max(done["longest_write_ms"], round(attempt("write", write)))
    attempt("read", read)
    time.sleep(0.002)  # a busy app, but not one that never lets go
print(json.dumps(done))
