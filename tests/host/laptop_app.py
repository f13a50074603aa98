"""An application that knows of no proxy: does its steps one after the other, and prints what came of each as JSON.

  laptop_app.py '[["http", URL], ["until", URL], ["banner", HOST, PORT], ["resolve", HOST, "4"], ["ask", SERVER, NAME],
                  ["udp", HOST, PORT], ["echo", HOST, PORT],
                  ["serve", PORT], ["sleep"], ["term", CODE], ["exit", CODE]]'
"""

import http.server
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request

WAIT = 15


def http_(url):
    try:
        with urllib.request.urlopen(url, timeout=WAIT) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(url):
    """The first answer, of tries for some seconds."""
    end = time.monotonic() + WAIT
    while True:
        try:
            return http_(url)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def banner(host, port):
    """What a server says that speaks first."""
    with socket.create_connection((host, port), WAIT) as client:
        return client.recv(100).decode()


def echo(host, port):
    """Half-closes after a question, then reads to the end."""
    with socket.create_connection((host, port), WAIT) as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(100), b"")).decode()


def resolve(host, family):
    found = socket.getaddrinfo(host, 80, {"4": socket.AF_INET, "6": socket.AF_INET6}[family], socket.SOCK_STREAM)
    return [entry[4][0] for entry in found]


def ask(host, name):
    """The address that a name server has for a name, asked by TCP."""
    question = b"\0\7\1\0\0\1\0\0\0\0\0\0" + b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question += b"\0\0\1\0\1"
    with socket.create_connection((host, 53), WAIT) as client:
        client.sendall(len(question).to_bytes(2, "big") + question)
        answer = client.recv(int.from_bytes(client.recv(2), "big"))
    return socket.inet_ntoa(answer[-4:])


def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(WAIT)
        client.connect((host, port))
        client.send(b"hello")
        return client.recv(100).decode()


def serve(port):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"served on {port}".encode())

        def log_message(self, *words):
            pass
    server = http.server.HTTPServer(("127.0.0.1", port), Handler)
    say("serving")
    server.handle_request()
    return "served"


def sleep():
    say("sleeping")
    signal.pause()


def term(code):
    """From now on SIGTERM ends the program with this exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(code))


def interrupts():
    """Counts SIGINT until SIGHUP comes."""
    count = []
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: count.append(1))
    say("counting")
    while not count:
        signal.pause()
    signal.pause()
    return len(count)


STEPS = {"http": http_, "until": until, "banner": banner, "echo": echo, "resolve": resolve, "ask": ask, "udp": udp, "serve": serve, "sleep": sleep,
         "term": term, "interrupts": interrupts, "exit": sys.exit, "variable": os.environ.get,
         "file": lambda name: open(name).read()}


def say(what):
    print(json.dumps(what), flush=True)


for name, *words in json.loads(sys.argv[1]):
    try:
        say(STEPS[name](*words))
    except OSError as error:
        say(f"{type(error).__name__} {error.errno}")
