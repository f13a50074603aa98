"""Redis: the client from PyPI, a real server behind a port of the service. Nothing says which protocol it is."""

import os
import shutil
import threading


def needs():
    try:
        import redis  # noqa: F401
    except ImportError:
        return "Python's `redis` is not installed"
    return None if shutil.which("redis-server") else "`redis-server` is not installed"


def prepare(stage):
    stage.redis = stage.launch("redis", ["redis-server", "--port", stage.port["redis-server"], "--bind", "127.0.0.1",
                                         "--save", "", "--appendonly", "no", "--dir", stage.folder])


def checks(stage, report):
    import redis
    stage.wait("redis", stage.redis, stage.port["redis-server"])
    with redis.Redis(port=stage.port["redis"], socket_timeout=10) as client:
        values(client, report)
        pipelines(client, report)
        waiting(client, report)
        published(redis, stage, client, report)
    crowd(redis, stage, report)


def values(client, report):
    report.same("redis: PING", True, client.ping())
    client.set("tea", "green")
    report.same("redis: GET what was SET", b"green", client.get("tea"))
    big = os.urandom(1 << 20)
    client.set("big", big)
    report.holds("redis: a value of 1 MiB is intact", client.get("big") == big, "other bytes")
    report.holds("redis: the server names who is connected", client.client_list(), "nobody")


def pipelines(client, report):
    with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.set(f"n{number}", number)
            pipe.get(f"n{number}")
        got = pipe.execute()
    report.same("redis: 2,000 commands in one pipeline, in order", [str(number).encode() for number in range(1000)],
                got[1::2])
    with client.pipeline(transaction=True) as pipe:
        report.same("redis: a transaction", [1, 2, 3], pipe.incr("sum").incr("sum").incr("sum").execute())


def waiting(client, report):
    pushed = threading.Timer(0.4, lambda: client.rpush("orders", "tea"))
    pushed.start()
    report.same("redis: a command that blocks is answered when something comes", (b"orders", b"tea"),
                client.blpop("orders", timeout=5))
    pushed.join()


def published(redis, stage, client, report):
    with redis.Redis(port=stage.port["redis"], socket_timeout=10) as listener, listener.pubsub() as topic:
        topic.subscribe("news")
        topic.get_message(timeout=5)                         # the confirmation
        for number in range(100):
            client.publish("news", f"{number}")
        got = [topic.get_message(timeout=5)["data"] for _ in range(100)]
    report.same("redis: what is published arrives unasked, in order", [str(number).encode() for number in range(100)],
                got)


def crowd(redis, stage, report):
    """Connections that come and go."""
    got = []
    for number in range(50):
        with redis.Redis(port=stage.port["redis"], socket_timeout=10) as client:
            got.append(client.echo(f"{number}"))
    report.same("redis: 50 connections, one after the other", [str(number).encode() for number in range(50)], got)
