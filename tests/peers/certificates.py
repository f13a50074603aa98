"""Certificates by the openssl command: one that signs itself, and an authority with a server and two clients."""

import subprocess

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]


def make(folder):
    """FOLDER/cert.pem and key.pem of vault-service; FOLDER/certificates for `tls`."""
    request(folder / "cert.pem", folder / "key.pem", "vault-service", "subjectAltName=DNS:vault-service")
    home = folder / "certificates"
    home.mkdir()
    ca = ["-CA", home / "ca.pem", "-CAkey", home / "ca.key"]
    request(home / "ca.pem", home / "ca.key", "peers authority", "keyUsage=keyCertSign")
    request(home / "server.pem", home / "server.key", "ledger", "subjectAltName=DNS:ledger.internal", *ca)
    for name in ("first", "second"):
        request(home / f"{name}.pem", home / f"{name}.key", name, "extendedKeyUsage=clientAuth", *ca)
    use(folder, "first")


def use(folder, name):
    """Puts that client's certificate where the proxy looks for it: the key first, as a deployment may do it."""
    home = folder / "certificates"
    for kind in ("key", "pem"):
        fresh = home / f"fresh.{kind}"
        fresh.write_bytes((home / f"{name}.{kind}").read_bytes())
        fresh.rename(home / f"client.{kind}")


def request(certificate, key, name, extension, *signer):
    own = [] if not signer else ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(["openssl", "req", "-x509", *KEY, "-keyout", key, "-out", certificate, "-subj", f"/CN={name}",
                    "-addext", extension, *own, *signer], check=True, capture_output=True, timeout=20)
