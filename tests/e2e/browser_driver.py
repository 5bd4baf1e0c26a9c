#!/usr/bin/python3
"""Serves a page and opens it in a headless Chromium that a test can ask.

usage: browser_driver.py BROWSER DIRECTORY PAGE

Serves PAGE, whatever path is asked for, on 127.0.0.1 and prints "serving PORT". Then
takes lines of JSON from standard input; the answer to the nth is JSON in DIRECTORY/answer.n:
    {"open": "http://…"}    a fresh page; null when it is loaded
    {"js": "expression"}    its value in the page
Ends, and the browser with it, when standard input does, or when it is killed.
"""
import http.server
import itertools
import json
import os
import subprocess
import sys
import threading

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


class Browser:
    """Chromium on two pipes: messages of JSON, each ended by a NUL. It ends when they are closed."""

    def __init__(self):
        read_end, self.commands = os.pipe()
        self.answers, write_end = os.pipe()
        self.numbers, self.session, self.rest = itertools.count(1), None, b""
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec 3<&{read_end} 4>&{write_end}; exec "$0" "$@"', browser, "--headless",
             "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={directory}"],
            stdin=subprocess.DEVNULL, pass_fds=(read_end, write_end), env={**os.environ, "HOME": directory})
        os.close(read_end)
        os.close(write_end)

    def close(self):
        os.close(self.commands)
        os.close(self.answers)
        self.process.wait()

    def receive(self):
        while b"\0" not in self.rest:
            data = os.read(self.answers, 1 << 20)
            if not data:
                raise SystemExit("the browser ended")
            self.rest += data
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def ask(self, method, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data):]
        while (answer := self.receive()).get("id") != number:
            pass
        if "error" in answer:
            raise SystemExit(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, url):
        self.session = None
        target = self.ask("Target.createTarget", url=url)["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        # it is a blank one before it is this one
        while not self.evaluate("document.readyState == 'complete' && location.href != 'about:blank'"):
            pass

    def evaluate(self, js):
        result = self.ask("Runtime.evaluate", expression=js, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            return {"exception": result["exceptionDetails"]["exception"].get("description")}
        return result["result"].get("value")


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    control = Browser()
    control.ask("Browser.getVersion")
    print("serving", server.server_address[1], flush=True)
    for number, line in enumerate(sys.stdin, 1):
        command = json.loads(line)
        answer = control.open(command["open"]) if "open" in command else control.evaluate(command["js"])
        path = f"{directory}/answer.{number}"
        with open(path + ".part", "w") as file:
            json.dump(answer, file)
        os.rename(path + ".part", path)
    control.close()

main()
