#!/usr/bin/python3
"""Compares docs/protocol.schema.json with docs/protocol.md and with recorded messages; prints TAP.

usage: schema_check.py SCHEMA PROTOCOL_MD RECORD [TYPE ...]

RECORD is what frame_recorder.py wrote. Each TYPE must occur in it.
"""
import collections
import json
import re
import sys
import jsonschema

schema = json.load(open(sys.argv[1]))
protocol = open(sys.argv[2]).read()
record = [json.loads(line) for line in open(sys.argv[3])]
expected = sys.argv[4:]
count = 0


def ok(passed, name, *reasons):
    global count
    count += 1
    print(f"{'ok' if passed else 'not ok'} {count} - {name}")
    for reason in reasons if not passed else ():
        print("# " + str(reason).replace("\n", "\n# "))


def validator(name):
    part = {"$ref": "#/definitions/" + name, "definitions": schema["definitions"]}
    return jsonschema.Draft7Validator(part)


def problems(name, message):
    """Says where and by which rule, never the value: it may be a patient's."""
    return [f"{'.'.join(map(str, e.absolute_path)) or 'message'}: {e.validator} {json.dumps(e.schema)[:120]}"
            for e in validator(name).iter_errors(message)]


jsonschema.Draft7Validator.check_schema(schema)
messages = {name: part["x-sender"] for name, part in schema["definitions"].items() if "x-sender" in part}
ok([part["$ref"] for part in schema["oneOf"]] == ["#/definitions/" + name for name in messages],
   "the schema lists all its messages")

sections = dict(re.findall(r"^### (relay|device) → \w+\n(.*?)(?=^##)", protocol, re.M | re.S))
described = {name: sender for sender, text in sections.items() for name in re.findall(r"(?:\A|\n)\n`(\w+)`:", text)}
ok(described == messages, "every message described has a schema, and the other way round",
   f"described: {described}", f"schema: {messages}")
operations = re.findall(r"^\| `(\w+)` \| (?:the key|null) \|", protocol, re.M)
ok(sorted(operations) == sorted(schema["definitions"]["change"]["properties"]["operation"]["enum"]),
   "the operations are the same")
codes = re.findall(r"^\| `(\w+)` \| (?:\d{4}|–) \|", protocol, re.M)
ok(sorted(codes) == sorted(schema["definitions"]["error"]["properties"]["code"]["enum"]),
   "the error codes are the same")

# the examples write … where it does not matter what stands there
examples = [json.loads(block.replace("…", "0")) for block in re.findall(r"^```json\n(.*?)^```", protocol, re.M | re.S)]
for example in examples:
    name = example.get("type", "schema_object")
    found = problems(name, example)
    ok(not found, f"the example of {name} is valid", *found)

seen = collections.Counter()
for line in record:
    message = json.loads(line["message"])
    name = message.get("type")
    found = ["no such message from the " + line["sender"]]
    if messages.get(name) == line["sender"]:
        found = problems(name, message)
    if found:
        ok(False, f"a recorded {name} is valid", *found)
    seen[name] += 1
    for change in message.get("changes", []):
        seen[change.get("operation")] += 1
ok(record, f"{len(record)} recorded messages are valid")
for name in expected:
    ok(seen[name], f"{name} was seen ({seen[name]} times)")
print(f"1..{count}")
