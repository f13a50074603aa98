#!/usr/bin/env python3
"""Applications for the rehearsal of a pod's life; each call is on a connection of its own, and given up by nobody.

  pod_app.py caller URL [--after 2]      calls from its very first moment; after SIGTERM for a while more; then a summary
  pod_app.py once URL                    one call: the status, or the name of what went wrong
  pod_app.py idle                        nothing at all
  pod_app.py load FILE --count 300       orders at the addresses that the file lists at that moment; then a summary
"""

import argparse
import collections
import json
import pathlib
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url, method="GET"):
    try:
        with OPENER.open(urllib.request.Request(url, method=method, data=b"{}" if method == "POST" else None)) as answer:
            answer.read()
            return str(answer.status)
    except urllib.error.HTTPError as refused:
        return f"{refused.code} {refused.read().decode(errors='replace').strip()}"
    except OSError as error:
        return type(getattr(error, "reason", error)).__name__


def caller(url, after):
    print(f"first: {call(url)}", flush=True)
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    counts, late, end = collections.Counter(), 0, None
    while end is None or time.monotonic() < end:
        counts[call(url)] += 1
        late += end is not None
        if end is None and told.is_set():
            end = time.monotonic() + after
        time.sleep(0.005)
    print(json.dumps({"counts": counts, "after": late}), flush=True)


def load(file, count):
    counts, threads = collections.Counter(), []

    def order(address):
        counts[call(f"http://{address}/orders", "POST")] += 1

    for _ in range(count):
        address = random.choice(pathlib.Path(file).read_text().split())
        threads.append(threading.Thread(target=order, args=[address]))
        threads[-1].start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    print(json.dumps({"counts": counts}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["caller", "once", "idle", "load"])
    parser.add_argument("to", nargs="?")
    parser.add_argument("--after", type=float, default=2)
    parser.add_argument("--count", type=int, default=300)
    words = parser.parse_args()
    if words.role == "caller":
        caller(words.to, words.after)
    elif words.role == "once":
        print(call(words.to))
    elif words.role == "load":
        load(words.to, words.count)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.pause()


if __name__ == "__main__":
    main()
