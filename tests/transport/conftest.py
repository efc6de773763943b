"""TLS for the tests of transports."""

from __future__ import annotations

import ssl
from typing import Any

import gevent.ssl
import pytest
import trustme


@pytest.fixture(scope="session")
def contexts() -> tuple[Any, Any]:
    """The TLS contexts of a server and of a client that trusts it."""
    authority = trustme.CA()
    server = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client
