"""The credentials that the unit tests expect are those that openssl computes."""

from __future__ import annotations

import base64
import subprocess

import pytest

from tests.values import TURN_VECTORS


def openssl_hmac(secret: str, username: str) -> str:
    """The credential as another tool computes it."""
    digest = subprocess.run(
        ["openssl", "dgst", "-sha1", "-hmac", secret, "-binary"],
        input=username.encode(),
        capture_output=True,
        check=True,
    ).stdout
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize(("secret", "ttl", "user", "username", "credential"), TURN_VECTORS)
def test_the_vectors_are_what_openssl_computes_here(
    secret: str, ttl: int, user: str | None, username: str, credential: str
) -> None:
    assert openssl_hmac(secret, username) == credential
