"""MySQL: PyMySQL and a real MariaDB, which speaks first: the client waits until it has been greeted."""

import os
import shutil
import socket
import time


START = """
mariadb-install-db --no-defaults --datadir={home} --auth-root-authentication-method=normal --skip-test-db {user}
exec mariadbd --no-defaults --datadir={home} --port={port} --bind-address=127.0.0.1 --socket={home}/socket \
  --pid-file={home}/pid --skip-name-resolve --innodb-flush-log-at-trx-commit=0 --max-allowed-packet=64M {user}
"""


def needs():
    try:
        import pymysql  # noqa: F401
    except ImportError:
        return "Python's `pymysql` is not installed"
    absent = [program for program in ("mariadbd", "mariadb-install-db", "my_print_defaults") if not shutil.which(program)]
    return f"`{absent[0]}` is not installed" if absent else None


def prepare(stage):
    home = stage.folder / "mysql"
    words = {"home": home, "port": stage.port["mysql-server"], "user": "--user=root" if os.geteuid() == 0 else ""}
    stage.mysql = stage.launch("mysql", ["sh", "-ec", START.format(**words)])


def checks(stage, report):
    import pymysql
    stage.wait("mysql", stage.mysql, stage.port["mysql-server"])

    def open_one():
        return pymysql.connect(host="127.0.0.1", port=stage.port["mysql"], user="root", connect_timeout=10, read_timeout=10,
                               autocommit=True)

    with open_one() as client, client.cursor() as cursor:
        statements(cursor, report)
    greeted(stage, report)


def statements(cursor, report):
    ask = lambda *words: cursor.execute(*words) and cursor.fetchall()
    report.same("mysql: SELECT", ((42,),), ask("SELECT %s + 2", (40,)))
    cursor.execute("CREATE DATABASE shop")
    cursor.execute("CREATE TABLE shop.orders (number INT PRIMARY KEY, what LONGBLOB)")
    big = os.urandom(5 << 20)
    cursor.execute("INSERT INTO shop.orders VALUES (1, %s)", (big,))
    report.holds("mysql: 5 MiB in a row is intact", ask("SELECT what FROM shop.orders") == ((big,),), "other bytes")
    cursor.executemany("INSERT INTO shop.orders VALUES (%s, '')", [(number,) for number in range(2, 2000)])
    report.same("mysql: many rows", tuple((number,) for number in range(1, 2000)),
                ask("SELECT number FROM shop.orders ORDER BY number"))


def greeted(stage, report):
    """Only the first connection is held up for the proxy to see who speaks first: 50 ms."""
    took = []
    for _ in range(10):
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", stage.port["mysql"]), 10) as client:
            client.recv(1)
        took.append(time.monotonic() - begun)
    report.holds("mysql: that the server speaks first is remembered: no connection waits for it again",
                 sorted(took)[len(took) // 2] < 0.04, [f"{one * 1000:.0f} ms" for one in took], "half of them within 40 ms")
