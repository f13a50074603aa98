"""The certificate towards a service is replaced under load: no call fails, and the server sees first one, then the other."""

import collections
import http.client
import json
import subprocess
import threading

import certificates
from client import HERE, environment
from report import eventually

NEEDS = "node"


def checks(stage, report):
    seen, failed, stop = collections.Counter(), [], threading.Event()
    callers = [threading.Thread(target=caller, args=(stage, seen, failed, stop)) for _ in range(4)]
    node = subprocess.Popen(["node", HERE / "rotation_load.mjs", str(stage.port["ledger"])], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, env=environment())
    for one in callers:
        one.start()
    try:
        rounds(stage, report, seen)
    finally:
        stop.set()
        for one in callers:
            one.join()
        told = node.communicate(timeout=15)[0]
    report.same("rotation: no HTTP/1 call failed", [], failed[:5])
    told = json.loads(told or "{}")
    report.same("rotation: no HTTP/2 call failed", [], told.get("failed"))
    report.same("rotation: HTTP/2 calls came under both names", {"CN=first", "CN=second"}, set(told.get("seen", ())))


def rounds(stage, report, seen):
    if not eventually(lambda: seen["CN=first"] > 100, 10):
        return report.holds("rotation: calls run with the first certificate", False, dict(seen))
    certificates.use(stage.folder, "second")
    report.holds("rotation: the server sees the second", eventually(lambda: seen["CN=second"] > 100, 15), dict(seen))
    report.holds("rotation: and then no other", eventually(lambda: only(seen, "CN=second"), 10), dict(seen))
    certificates.use(stage.folder, "first")
    return report.holds("rotation: and back", eventually(lambda: only(seen, "CN=first"), 15), dict(seen))


def caller(stage, seen, failed, stop):
    connection = http.client.HTTPConnection("127.0.0.1", stage.port["ledger"], timeout=10)
    while not stop.is_set() and not failed:
        try:
            connection.request("GET", "/who")
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status == 200:
                seen[text.split()[0]] += 1
            else:
                failed.append((answer.status, text))
        except (OSError, http.client.HTTPException) as error:
            failed.append(repr(error))
    connection.close()


def only(seen, name):
    """Whether the next 200 calls come under that name alone."""
    before = dict(seen)
    if not eventually(lambda: sum(seen.values()) - sum(before.values()) > 200, 5):
        return False
    return all(seen[other] == before.get(other, 0) for other in list(seen) if other != name)
