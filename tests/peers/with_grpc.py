"""gRPC: Python's grpcio calls a server by Node's grpc-js. By a port of the service, by authority, by CONNECT."""

import hashlib
import json
import os
import threading
import time

import grpc_client
from client import HERE, environment, needs_npm
from grpc_client import Catalog, trailing
from report import eventually

MIB = 1 << 20


def needs():
    return grpc_client.needs() or needs_npm("@grpc/grpc-js")


def prepare(stage):
    if not hasattr(stage, "catalog"):                        # with_grpc_rules has the same server
        words = [stage.port["catalog-server"], stage.port["sealed"], stage.folder / "certificates"]
        stage.catalog = stage.launch("catalog", ["node", HERE / "grpc_server.mjs", *words], env=environment())


def checks(stage, report):
    stage.wait("catalog", stage.catalog, stage.port["catalog-server"])
    with Catalog(stage.port["catalog"]) as client:
        unary(client, report)
        streams(client, report)
        conversation(client, report)
        ends(client, report)
        together(client, report)
    with Catalog(stage.port["outbound"], authority="catalog-service") as client:
        report.same("grpc by authority: a unary call", b"tea", client.echo(b"tea", timeout=10))
        report.same("grpc by authority: a conversation", [b"a", b"b"], list(client.talk(iter([b"a", b"b"]), timeout=10)))
        report.same("grpc by authority: a refusal", "NOT_FOUND", status(client, client.refuse))
    with Catalog(f"catalog-service:{stage.port['catalog-server']}", proxy=stage.proxy) as client:
        report.same("grpc through CONNECT: a unary call", b"tea", client.echo(b"tea", timeout=10))
        report.same("grpc through CONNECT: what is found in the tunnel is retried too", {"seen": 3},
                    client.ask("Find", key="tunnel", fail=2)[0])
    with Catalog(stage.port["outbound"], authority="sealed-service") as client:
        report.same("grpc to a server with TLS: a unary call", b"tea", client.echo(b"tea", timeout=10))
        report.same("grpc to a server with TLS: a conversation", [b"a", b"b"],
                    list(client.talk(iter([b"a", b"b"]), timeout=10)))
        report.same("grpc to a server with TLS: a refusal", "NOT_FOUND", status(client, client.refuse))


def unary(client, report):
    raw = bytes(range(256))
    sent = [("x-word", "milk"), ("x-word", "sugar"), ("x-raw-bin", raw)]
    message, call = client.echo.with_call(b"tea", timeout=10, metadata=sent)
    report.same("grpc: a unary call", b"tea", message)
    report.same("grpc: metadata before the answer", ["milk, sugar"],
                [", ".join(value for key, value in call.initial_metadata() if key == "x-word")])
    report.same("grpc: binary metadata after it", raw, trailing(call, "x-raw-bin"))
    report.same("grpc: an empty message", b"", client.echo(b"", timeout=10))
    big = os.urandom(16 * MIB)
    report.holds("grpc: a message of 16 MiB there and back", client.echo(big, timeout=20) == big, "other bytes")


def streams(client, report):
    pieces = [os.urandom(100_000) for _ in range(50)]
    whole = hashlib.sha256(b"".join(pieces)).hexdigest()
    report.same("grpc: a stream to the server", {"count": 50, "length": 5_000_000, "sha256": whole},
                json.loads(client.sum(iter(pieces), timeout=20)))
    got = list(client.list(json.dumps({"count": 300, "size": 30_000}).encode(), timeout=20))
    report.holds("grpc: a stream from the server, in order",
                 got == [bytes([number % 256]) * 30_000 for number in range(300)], f"{len(got)} messages")


def conversation(client, report):
    """Each message waits for the answer to the one before it: neither side may be held back."""
    turn, got = threading.Semaphore(1), []

    def questions():
        for number in range(50):
            turn.acquire()
            yield f"{number}".encode()

    for answer in client.talk(questions(), timeout=20):
        got.append(answer)
        turn.release()
    report.same("grpc: a conversation, turn by turn", [f"{number}".encode() for number in range(50)], got)
    report.same("grpc: 1,000 messages of one byte", [b"."] * 1000, list(client.talk(iter([b"."] * 1000), timeout=20)))


def ends(client, report):
    try:
        client.refuse(b"", timeout=10)
    except client.grpc.RpcError as error:
        report.same("grpc: status, text and details", ("NOT_FOUND", "no such tea: \u2615 100 %", bytes(range(256))),
                    (error.code().name, error.details(), trailing(error, "grpc-status-details-bin")))
    report.same("grpc: a method that does not exist", "UNIMPLEMENTED", client.code("Nobody"))
    begun = time.monotonic()
    report.same("grpc: the caller's own deadline", "DEADLINE_EXCEEDED", client.code("Nap", key="own", timeout=0.2))
    report.holds("grpc: is kept", time.monotonic() - begun < 1, f"{time.monotonic() - begun:.2f} s")
    report.holds("grpc: the server knew the deadline", 0 < client.told("own")["left"][0] <= 210, client.told("own"))
    call = client.nap.future(b'{"key": "left"}')
    report.holds("grpc: a call is under way", eventually(lambda: client.told("left")), None)
    call.cancel()
    report.holds("grpc: the server sees that it is cancelled", eventually(lambda: client.told("left")["cancelled"] == 1),
                 client.told("left"))


def together(client, report):
    calls = [client.echo.future(f"{number}".encode(), timeout=20) for number in range(500)]
    report.same("grpc: 500 calls at once, each answer to its own question", [f"{number}".encode() for number in range(500)],
                [call.result() for call in calls])


def status(client, method):
    try:
        method(b"", timeout=10)
    except client.grpc.RpcError as error:
        return error.code().name
    return "OK"
