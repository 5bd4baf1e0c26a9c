#!/usr/bin/python3
"""Serves a page and opens it in a headless Chromium that a test can ask.

usage: browser_driver.py BROWSER DIRECTORY PAGE

Serves PAGE, whatever path is asked for, on 127.0.0.1 and prints "serving PORT". Then
takes lines of JSON from standard input; the answer to the nth is JSON in DIRECTORY/answer.n:
    {"open": "http://…"}    a fresh page; null when it is loaded
    {"js": "expression"}    its value in the page
Ends, and the browser with it, when standard input does.
"""
import asyncio
import functools
import http.server
import itertools
import json
import os
import subprocess
import sys
import threading

import websockets

browser, directory, page = sys.argv[1:]


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        with open(page, "rb") as file:
            self.wfile.write(file.read())

    def log_message(self, *_):
        pass


async def devtools_address(process):
    """Of the browser's control socket, which it names on its standard error."""
    while line := await asyncio.to_thread(process.stderr.readline):
        if b"DevTools listening on " in line:
            return line.split()[-1].decode()
    raise SystemExit("the browser ended")


class Browser:
    def __init__(self, socket):
        self.socket, self.numbers, self.session = socket, itertools.count(1), None

    async def ask(self, method, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        await self.socket.send(json.dumps(message))
        while (answer := json.loads(await self.socket.recv())).get("id") != number:
            pass
        if "error" in answer:
            raise SystemExit(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def open(self, url):
        self.session = None
        target = (await self.ask("Target.createTarget", url=url))["targetId"]
        self.session = (await self.ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        # it is a blank one before it is this one
        while not await self.evaluate("document.readyState == 'complete' && location.href != 'about:blank'"):
            pass

    async def evaluate(self, js):
        result = await self.ask("Runtime.evaluate", expression=js, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            return {"exception": result["exceptionDetails"]["exception"].get("description")}
        return result["result"].get("value")


async def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    process = subprocess.Popen(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={directory}"],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "HOME": directory})
    try:
        address = await devtools_address(process)
        # nobody reads the rest of what it says, but its pipe must not fill up
        threading.Thread(target=functools.partial(process.stderr.read), daemon=True).start()
        async with websockets.connect(address, max_size=None) as socket:
            control = Browser(socket)
            print("serving", server.server_address[1], flush=True)
            for number in itertools.count(1):
                line = await asyncio.to_thread(sys.stdin.readline)
                if not line:
                    break
                command = json.loads(line)
                answer = await (control.open(command["open"]) if "open" in command
                                else control.evaluate(command["js"]))
                path = f"{directory}/answer.{number}"
                with open(path + ".part", "w") as file:
                    json.dump(answer, file)
                os.rename(path + ".part", path)
    finally:
        process.kill()
        process.wait()

asyncio.run(main())
