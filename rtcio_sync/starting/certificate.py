"""A certificate for development, made on the spot: browsers give a camera only to https pages.

The program ``openssl`` makes it. Browsers show a warning once, because nobody has signed it.
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..errors import OptionError
from .addresses import default_host, lan_address

__all__ = ["handed_on", "self_signed", "tls_arguments"]

DAYS = 30
START_WITHIN = 60.0  # seconds for openssl; it needs 0.1 on a machine that is not busy

#: Where the files are that a parent process has made, so that a reload keeps the certificate.
_FOLDER = "_RTCIO_SELF_SIGNED"

_CONFIG = """
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = rtcio-sync, self-signed
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""


@contextmanager
def tls_arguments(
    cert: str | None, key: str | None, *, signed_here: bool, host: str
) -> Iterator[dict[str, str]]:
    """The TLS arguments of `Server.listen` for ``--cert``, ``--key`` and ``--self-signed``.

    Empty without any of them. Raises `OptionError` if they contradict each other.
    """
    if signed_here and (cert or key):
        raise OptionError("--self-signed makes a certificate: leave out --cert and --key")
    if key and not cert:
        raise OptionError("--key needs --cert")
    if signed_here:
        with self_signed(host) as (certfile, keyfile):
            yield {"certfile": certfile, "keyfile": keyfile}
    else:
        given = {"certfile": cert, "keyfile": key}
        yield {name: value for name, value in given.items() if value}


@contextmanager
def self_signed(host: str = "") -> Iterator[tuple[str, str]]:
    """The paths of a certificate and of its key, in PEM; both are removed at the end.

    It is valid for this machine's names and addresses, and for ``host``. A process that was started
    with `handed_on` has that of its parent. Raises `OptionError` if it cannot be made.
    """
    made = os.environ.pop(_FOLDER, None)  # it is not for what the app starts
    if made is not None:
        yield _files(Path(made))
        return
    with tempfile.TemporaryDirectory(prefix="rtcio-sync-") as folder:  # for this user only
        _make(Path(folder), _names(host))
        yield _files(Path(folder))


def handed_on(tls: Mapping[str, str]) -> dict[str, str]:
    """Variables for a child that is to have the self-signed certificate of these arguments.

    ``tls``: what `tls_arguments` gave with ``signed_here``.
    """
    return {_FOLDER: os.path.dirname(tls["certfile"])}


def _files(folder: Path) -> tuple[str, str]:
    return str(folder / "cert.pem"), str(folder / "key.pem")


def _names(host: str) -> list[str]:
    """Distinct names and addresses, this machine's and ``host``."""
    found = ["localhost", "127.0.0.1", "::1", default_host(), lan_address() or "", host]
    return [name for name in dict.fromkeys(found) if name]


def _make(folder: Path, names: Iterable[str]) -> None:
    config = folder / "openssl.cnf"
    config.write_text(_CONFIG.format(names=", ".join(map(_alternative, names))), encoding="ascii")
    cert, key = _files(folder)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256"]
    command += ["-days", str(DAYS), "-config", str(config), "-out", cert, "-keyout", key]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_WITHIN)
    except FileNotFoundError:
        raise OptionError(
            "a self-signed certificate needs the program openssl: install it, or give the files of "
            "a certificate with --cert and --key"
        ) from None
    except subprocess.TimeoutExpired:
        raise OptionError(f"openssl made no certificate within {START_WITHIN:.0f} s") from None
    if done.returncode != 0:
        raise OptionError(f"openssl made no certificate: {done.stderr.strip()[-200:]}")


def _alternative(name: str) -> str:
    """One subject alternative name, as openssl's configuration has it (RFC 5280, 4.2.1.6)."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        pass
    if name.isascii():
        return f"DNS:{name}"
    try:
        return f"DNS:{name.encode('idna').decode('ascii')}"
    except UnicodeError:
        raise OptionError(
            f"cannot make a certificate for {name!r}: it is not a host's name"
        ) from None
