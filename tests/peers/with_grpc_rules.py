"""The rules about gRPC: retries, pushback, deadlines, breaker, our own replies. Python's grpcio calls Node's grpc-js."""

import itertools
import queue
import time

from grpc_client import Catalog, trailing
from report import eventually
from with_grpc import needs, prepare  # noqa: F401


def checks(stage, report):
    stage.wait("catalog", stage.catalog, stage.port["catalog-server"])
    with Catalog(stage.port["catalog"]) as client:
        retries(stage, client, report)
        pushback(stage, client, report)
        deadlines(client, report)
        live_stream(client, report)
    with Catalog(stage.port["outbound"], authority="brittle-service") as client:
        breaker(stage, client, report)
    own_replies(stage, report)


def decided(stage, decision):
    return stage.metric("outrigger_retries_total", service="catalog-service", decision=decision)


def retries(stage, client, report):
    before = decided(stage, "retried")
    report.same("grpc rules: UNAVAILABLE twice on an idempotent route, the caller sees one OK", {"seen": 3},
                client.ask("Find", key="find", fail=2)[0])
    report.same("grpc rules: two retries are counted", 2, decided(stage, "retried") - before)
    report.same("grpc rules: the same with the status after a response head", {"seen": 2},
                client.ask("Find", key="head", fail=1, head=True)[0])
    before = decided(stage, "skipped_not_idempotent")
    report.same("grpc rules: on a route that is not idempotent the caller sees UNAVAILABLE", "UNAVAILABLE",
                client.code("Place", key="place", fail=2))
    report.same("grpc rules: after one attempt", 1, len(client.told("place")["at"]))
    report.same("grpc rules: why there was no other is counted", 1, decided(stage, "skipped_not_idempotent") - before)
    _, call = client.ask("Find", key="always", fail=99)
    report.same("grpc rules: UNAVAILABLE always: 1 + 3 attempts, the server's own status",
                ("UNAVAILABLE", "not yet", None, 4),
                (call.code().name, call.details(), trailing(call, "outrigger-reason"), len(client.told("always")["at"])))


def pushback(stage, client, report):
    report.same("grpc rules: pushback of 150 ms, and it works", {"seen": 2},
                client.ask("Find", key="later", fail=1, pushback=150)[0])
    at = client.told("later")["at"]
    report.holds("grpc rules: the pushback is obeyed", 140 <= at[1] - at[0] <= 1000, f"{at[1] - at[0]:.0f} ms", "150 ms")
    before = decided(stage, "skipped_pushback")
    report.same("grpc rules: negative pushback", "UNAVAILABLE", client.code("Find", key="never", fail=1, pushback=-1))
    report.same("grpc rules: means one attempt", 1, len(client.told("never")["at"]))
    client.ask("Find", key="odd", fail=1, pushback="soon")   # grpcio itself makes an INTERNAL of it
    report.same("grpc rules: so does one that is no number", 1, len(client.told("odd")["at"]))
    report.same("grpc rules: both are counted", 2, decided(stage, "skipped_pushback") - before)


def deadlines(client, report):
    report.same("grpc rules: the second attempt works", {"seen": 2},
                client.ask("Find", key="less", fail=1, late=300, timeout=5)[0])
    first, second = client.told("less")["left"]
    report.holds("grpc rules: each attempt is told what is left of the caller's deadline",
                 4000 < first <= 5050 and second <= first - 280, (first, second), "5 s, and 300 ms less")
    begun = time.monotonic()
    call = client.nap.future(b'{"key": "nap"}')              # without a deadline of its own
    ended = eventually(call.done)
    took = time.monotonic() - begun
    if not ended:
        call.cancel()
    report.same("grpc rules: the route's timeout", ("DEADLINE_EXCEEDED", "deadline_exceeded"),
                (call.code().name, trailing(call, "outrigger-reason")))
    report.holds("grpc rules: after 400 ms", 0.35 < took < 1.5, f"{took:.2f} s")
    report.same("grpc rules: the server was told no deadline of ours", [None], client.told("nap")["left"])
    report.holds("grpc rules: and sees that the call is cancelled", eventually(lambda: client.told("nap")["cancelled"] == 1),
                 client.told("nap"))


def live_stream(client, report):
    """The route's timeout is 300 ms."""
    messages = queue.Queue()
    begun, got = time.monotonic(), []
    answers = client.talk(iter(messages.get, None), timeout=20)
    for number in itertools.count():
        messages.put(f"{number}".encode())
        got.append(next(answers))
        if time.monotonic() - begun > 1:
            break
        time.sleep(0.1)
    messages.put(None)
    report.same("grpc rules: a live stream of a second on a route with a timeout of 300 ms ends well", ([], "OK"),
                (list(answers), answers.code().name))
    report.same("grpc rules: with all its answers", [f"{number}".encode() for number in range(len(got))], got)


def breaker(stage, client, report):
    calls = [client.ask("Place", key="brittle", fail=99)[1] for _ in range(6)]
    report.same("grpc rules: three UNAVAILABLE open the breaker, though each was an HTTP 200",
                [("UNAVAILABLE", None)] * 3 + [("UNAVAILABLE", "breaker_open")] * 3,
                [(call.code().name, trailing(call, "outrigger-reason")) for call in calls])
    report.same("grpc rules: it shows", 1, stage.metric("outrigger_breaker_state", service="brittle-service"))
    with Catalog(stage.port["catalog"]) as other:
        report.same("grpc rules: the server saw three", 3, len(other.told("brittle")["at"]))


def own_replies(stage, report):
    replies = {"absent-service": ("UNAVAILABLE", "connect_failed"), "nobody-knows": ("PERMISSION_DENIED", "denied")}
    for service, reply in replies.items():
        with Catalog(stage.port["outbound"], authority=service) as client:
            _, call = client.ask("Find", key="none", fail=0)
            report.same(f"grpc rules: our own reply for {service}", reply,
                        (call.code().name, trailing(call, "outrigger-reason")))
            report.holds("grpc rules: it says why in words", len(call.details() or "") > 10, call.details())
