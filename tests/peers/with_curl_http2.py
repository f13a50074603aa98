"""curl with HTTP/2 and with TLS of its own: by a port of the service, by authority, by SNI; nginx answers."""

import json
import os
import shutil

from with_curl import MIB, curl, sha

PRIOR = "--http2-prior-knowledge"


def needs():
    return None if shutil.which("curl") else "`curl` is not installed"


def checks(stage, report):
    one_port(stage, report)
    named = ("--connect-to", f"::127.0.0.1:{stage.port['outbound']}")
    by_authority(stage, report, named)
    bridges(stage, report, named)
    passthrough(stage, report, named)
    originated(stage, report)


def one_port(stage, report):
    at = f"http://127.0.0.1:{stage.port['stock']}"
    got = curl(stage, PRIOR, f"{at}/hello")
    report.same("curl --http2-prior-knowledge: GET", (0, "HTTP/2 200", b"HTTP/2.0\n"),
                (got.exit, "".join(got.status_lines).strip(), got.body))
    report.same("curl h2: no header of ours on an answer of the service", [],
                [name for name in got.headers if name.startswith(("outrigger", "via", "x-forwarded"))])
    source = stage.folder / "big2"
    source.write_bytes(os.urandom(16 * MIB))
    got = curl(stage, PRIOR, "-T", source, f"{at}/files/big2")
    report.same("curl h2 -T: 16 MiB up", (0, 201), (got.exit, got.status))
    got = curl(stage, PRIOR, f"{at}/files/big2")
    report.same("curl h2: 16 MiB down, intact", sha(source.read_bytes()), sha(got.body))
    got = curl(stage, PRIOR, "-I", f"{at}/files/big2")
    report.same("curl h2 -I: HEAD with the length and no body", (0, 200, str(16 * MIB)),
                (got.exit, got.status, got.headers.get("content-length")))


def by_authority(stage, report, named):
    got = curl(stage, *named, PRIOR, "http://stock-service/hello")
    report.same("curl h2 on the outbound port: the authority decides", (0, 200, b"HTTP/2.0\n"),
                (got.exit, got.status, got.body))
    for service, reply in {"nobody-knows": (403, "denied"), "absent-service": (503, "connect_failed")}.items():
        got = curl(stage, *named, PRIOR, f"http://{service}/")
        report.same(f"curl h2: our own reply for {service}", ("HTTP/2", *reply, reply[1]),
                    ("".join(got.status_lines[-1:])[:6], got.status, got.headers.get("outrigger-reason"),
                     json.loads(got.body or b"{}").get("error")))
    got = curl(stage, "-x", stage.proxy, "-p", PRIOR, f"http://stock-service:{stage.port['h2c']}/hello")
    report.same("curl h2 through CONNECT", (0, 200, b"HTTP/2.0\n"), (got.exit, got.status, got.body))


def bridges(stage, report, named):
    got = curl(stage, "--http1.1", "-x", stage.proxy, "http://stock-service/hello")
    report.same("curl --http1.1 to a service that speaks HTTP/2 only", (0, "HTTP/1.1 200 OK", b"HTTP/2.0\n"),
                (got.exit, "".join(got.status_lines), got.body))
    big = os.urandom(5 * MIB + 1)
    got = curl(stage, "--http1.1", "-T", "-", f"http://127.0.0.1:{stage.port['stock']}/files/piped2", stdin=big)
    stored = stage.folder / "www/files/piped2"
    report.same("curl --http1.1 -T -: a chunked upload to HTTP/2", (0, 201, sha(big)),
                (got.exit, got.status, stored.exists() and sha(stored.read_bytes())))
    got = curl(stage, *named, PRIOR, "-d", "amount=12", "http://legacy-service/echo?a=%2F")
    told = json.loads(got.body or b"{}")
    report.same("curl h2 to a service that speaks HTTP/1: method, path, body and host",
                ("POST", "/echo?a=%2F", sha(b"amount=12"), "legacy-service"),
                (*[told.get(key) for key in ("method", "path", "sha256")], dict(told.get("headers", [])).get("host")))
    got = curl(stage, *named, PRIOR, "-T", "-", "http://legacy-service/echo", stdin=big)
    report.same("curl h2 -T -: an upload without a length to HTTP/1", sha(big), json.loads(got.body or b"{}").get("sha256"))


def passthrough(stage, report, named):
    """The TLS is curl's and nginx's; the proxy reads no more than the name in the ClientHello."""
    secret = ("--cacert", stage.folder / "cert.pem")
    got = curl(stage, *named, *secret, "https://vault-service/hello")
    report.same("curl https:// on the outbound port: SNI decides, and ALPN is nginx's",
                (0, "HTTP/2 200", b"hello\n"),
                (got.exit, "".join(got.status_lines).strip(), got.body))
    got = curl(stage, *named, *secret, "--http1.1", "https://vault-service/hello")
    report.same("curl --http1.1 https://", (0, "HTTP/1.1 200 OK", b"hello\n"),
                (got.exit, "".join(got.status_lines), got.body))
    many = ["https://vault-service/hello", "-o", "/dev/null"] * 200
    got = curl(stage, *named, *secret, "-Z", "--parallel-max", "50", "-w", "%{http_code} %{http_version}\n", *many)
    report.same("curl -Z https://: 200 calls in parallel", (0, {"200 2"}, 200),
                (got.exit, set(got.written.splitlines()), len(got.written.splitlines())))
    source = stage.folder / "big2"
    got = curl(stage, *named, *secret, "-T", source, "https://vault-service/files/big3")
    report.same("curl https://: 16 MiB up", (0, 201), (got.exit, got.status))
    got = curl(stage, *named, *secret, "https://vault-service/files/big3")
    report.same("curl https://: 16 MiB down, intact", sha(source.read_bytes()), sha(got.body))
    got = curl(stage, *named, "-k", "https://nobody-knows/")
    report.same("curl https:// to an unknown name: no handshake", (35, 0), (got.exit, got.status))


def originated(stage, report):
    """The TLS is the proxy's: nginx wants its certificate, and says what it saw."""
    at = f"http://127.0.0.1:{stage.port['ledger']}/who"
    got = curl(stage, "--http1.1", at)
    report.same("curl to a service with `tls`: the server knows us", (0, 200, b"CN=first"),
                (got.exit, got.status, got.body[:8]))
    got = curl(stage, PRIOR, at)
    report.same("curl h2 to a service with `tls`: ALPN picks HTTP/2", (0, 200, b"CN=first HTTP/2.0"),
                (got.exit, got.status, got.body))
