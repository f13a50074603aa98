"""PostgreSQL: psycopg and a real server. The client speaks first, with a question that no detection knows."""

import hashlib
import os
import pathlib
import subprocess
import threading


START = """
{bin}/initdb -D {data} -U postgres -A trust --no-sync -E UTF8 --no-instructions
exec {bin}/postgres -D {data} -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off
"""


def needs():
    try:
        import psycopg  # noqa: F401
    except (ImportError, OSError):
        return "Python's `psycopg` is not installed"
    return None if programs() else "`postgresql` is not installed"


def programs():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def prepare(stage):
    home = stage.folder / "postgres"
    home.mkdir()
    user = {}
    if os.geteuid() == 0:                                    # it refuses to run as root
        user = {"user": "postgres", "group": "postgres", "cwd": home}
        subprocess.run(["chown", "postgres:postgres", home], check=True)
    words = {"bin": programs(), "data": home / "data", "port": stage.port["postgres-server"]}
    stage.postgres = stage.launch("postgres", ["sh", "-ec", START.format(**words)], **user)


def checks(stage, report):
    import psycopg
    stage.wait("postgres", stage.postgres, stage.port["postgres-server"])
    open_one = lambda: psycopg.connect(host="127.0.0.1", port=stage.port["postgres"], user="postgres", dbname="postgres",
                                       connect_timeout=10, autocommit=True)
    with open_one() as client:
        statements(psycopg, client, report)
        copies(client, report)
        news(open_one, client, report)
        cancelled(psycopg, client, report)
    report.same("postgres: 20 connections, one after the other", [20] * 20, [one_query(open_one) for _ in range(20)])


def one_query(open_one):
    with open_one() as client:
        return client.execute("SELECT 4 * 5").fetchone()[0]


def statements(psycopg, client, report):
    report.same("postgres: SELECT", (42,), client.execute("SELECT %s + 2", (40,)).fetchone())
    client.execute("CREATE TABLE orders (number int PRIMARY KEY, what bytea)")
    big = os.urandom(1 << 20)
    client.execute("INSERT INTO orders VALUES (1, %s)", (big,))
    report.same("postgres: 1 MiB in a row is intact", hashlib.sha256(big).hexdigest(),
                client.execute("SELECT encode(sha256(what), 'hex') FROM orders").fetchone()[0])
    report.holds("postgres: and comes back", client.execute("SELECT what FROM orders").fetchone()[0] == big, "other bytes")
    with client.pipeline(), client.cursor() as cursor:
        cursor.executemany("INSERT INTO orders VALUES (%s, '')", [(number,) for number in range(2, 500)])
    report.same("postgres: a pipeline of INSERTs", (499,), client.execute("SELECT count(*) FROM orders").fetchone())
    try:
        with client.transaction():
            client.execute("DELETE FROM orders")
            got = client.execute("SELECT 1 / 0").fetchone()
    except psycopg.errors.DivisionByZero:
        got = "an error"
    report.same("postgres: an error comes through", "an error", got)
    report.same("postgres: and the transaction is rolled back", (499,),
                client.execute("SELECT count(*) FROM orders").fetchone())


def copies(client, report):
    client.execute("CREATE TABLE lines (line text)")
    with client.cursor() as cursor:
        with cursor.copy("COPY lines FROM STDIN") as copy:
            for number in range(50_000):
                copy.write_row((f"line {number} " + "x" * 40,))
        with cursor.copy("COPY lines TO STDOUT") as copy:
            rows = sum(1 for _ in copy.rows())
    report.same("postgres: COPY of 50,000 lines there and back", 50_000, rows)


def news(open_one, client, report):
    client.execute("LISTEN news")
    with open_one() as other:
        other.execute("NOTIFY news, 'tea is ready'")
    got = [note.payload for note in client.notifies(timeout=5, stop_after=1)]
    report.same("postgres: NOTIFY arrives unasked", ["tea is ready"], got)


def cancelled(psycopg, client, report):
    """The request to cancel is a connection of its own, of 16 bytes and no answer."""
    asked = threading.Timer(0.3, client.cancel)
    asked.start()
    try:
        client.execute("SELECT pg_sleep(20)")
        got = "it ended"
    except psycopg.errors.QueryCanceled:
        got = "cancelled"
    asked.join()
    report.same("postgres: a running query is cancelled", "cancelled", got)
