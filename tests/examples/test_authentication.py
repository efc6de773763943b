"""The ways of docs/authentication.md: who is refused, and what ends a login while connected."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from flask import Flask
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from tests.examples.launch import EXAMPLES, example, program
from tests.examples.visitors import connect, cookie_of, join, refusal, relay_both_ways
from tests.integration.clients import Client, Driver
from tests.integration.servers import BIN, Running, free_port
from tests.timing import DEADLINE

SECRET = "of this test alone, and long enough"
ELSEWHERE = "https://elsewhere.example"


def gone(client: Client) -> str:
    return str(client.wait("disconnect")["reason"])


def post(server: Running, path: str, cookie: str = "", **form: str) -> Any:
    data, headers = urllib.parse.urlencode(form).encode(), {"Cookie": cookie}
    asked = urllib.request.Request(f"{server.url}{path}", data, headers, method="POST")
    with urllib.request.urlopen(asked, timeout=DEADLINE) as response:
        return response.read()


# -- a session ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session_server() -> Iterator[Running]:
    with example("session_auth.py", SECRET_KEY=SECRET) as server:
        yield server


def log_in(server: Running, name: str, password: str) -> dict[str, Any]:
    form = urllib.parse.urlencode({"name": name, "password": password}).encode()
    return cookie_of(urllib.request.Request(f"{server.url}/login", form))


def test_who_has_logged_in_is_known_by_the_session(node: Driver, session_server: Running) -> None:
    ada = connect(node, session_server, **log_in(session_server, "ada", "lovelace"))
    bob = connect(node, session_server, **log_in(session_server, "bob", "babbage"))
    join(ada)
    join(bob, name="ada, says bob")
    assert ada.wait_for("user-connected") == [{"id": bob.id, "name": "bob"}]
    relay_both_ways(ada, bob)


@pytest.mark.parametrize(("name", "password"), [("ada", "babbage"), ("eve", "lovelace")])
def test_a_wrong_password_gets_no_session(
    session_server: Running, name: str, password: str
) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        log_in(session_server, name, password)


def test_without_a_session_of_this_app_nobody_connects(
    node: Driver, session_server: Running
) -> None:
    forged = Flask(__name__)
    forged.secret_key = "another one"
    serializer = forged.session_interface.get_signing_serializer(forged)
    cookie = f"session={serializer.dumps({'user': 'ada'})}"
    for headers in ({}, {"Cookie": "session=junk"}, {"Cookie": cookie}):
        refused = refusal(node, session_server, extraHeaders=headers)
        assert refused == ("log in first", {"code": "login"})


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_page_of_another_site_cannot_use_the_cookie(
    node: Driver, session_server: Running, transport: str
) -> None:
    cookie = log_in(session_server, "ada", "lovelace")["extraHeaders"]
    for origin, comes_in in ((session_server.url, True), (ELSEWHERE, False)):
        headers = {**cookie, "Origin": origin}
        client = node.open(session_server.url, transports=[transport], extraHeaders=headers)
        if comes_in:
            client.wait("connect")
        else:
            assert "error" in client.wait("connect_error")["message"]


def test_the_cookie_is_not_sent_by_other_sites(session_server: Running) -> None:
    form = urllib.parse.urlencode({"name": "ada", "password": "lovelace"}).encode()
    asked = urllib.request.Request(f"{session_server.url}/login", form)
    with urllib.request.urlopen(asked, timeout=DEADLINE) as response:
        cookie = response.headers["Set-Cookie"]
    assert "SameSite=Lax" in cookie and "HttpOnly" in cookie


def test_a_logout_ends_the_sockets_of_the_user_alone(node: Driver, session_server: Running) -> None:
    cookie = log_in(session_server, "ada", "lovelace")
    tab, other_tab = (connect(node, session_server, **cookie) for _ in range(2))
    bob = connect(node, session_server, **log_in(session_server, "bob", "babbage"))
    assert post(session_server, "/logout", cookie["extraHeaders"]["Cookie"]) == b"goodbye"
    assert {gone(tab), gone(other_tab)} == {"io server disconnect"}
    join(bob)  # is answered


# -- a JSON Web Token --------------------------------------------------------------------------


def jwt_of(key: str = SECRET, lasts: float = 3600, **claims: Any) -> str:
    return jwt.encode({"sub": "ada", "exp": time.time() + lasts, **claims}, key, "HS256")


@pytest.fixture(scope="module")
def jwt_server() -> Iterator[Running]:
    with example("jwt_auth.py", JWT_SECRET=SECRET) as server:
        yield server


def test_who_has_a_token_is_known_by_it(node: Driver, jwt_server: Running) -> None:
    a = connect(node, jwt_server, auth={"token": jwt_of()})
    b = connect(node, jwt_server, auth={"token": jwt_of(sub="bob")})
    join(a)
    join(b, name="ada, says bob")
    assert a.wait_for("user-connected") == [{"id": b.id, "name": "bob"}]
    relay_both_ways(a, b)


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"token": None},
        {"token": {"sub": "ada"}},
        {"token": "no token"},
        {"token": "\ud800"},
        {"token": jwt_of(key="another's secret, and as long as it")},
        {"token": jwt_of(lasts=-60)},
        {"token": jwt.encode({"sub": "ada"}, SECRET, "HS256")},
        {"token": jwt.encode({"sub": "ada", "exp": time.time() + 3600}, None, "none")},
    ],
    ids=[
        *("none", "null", "no text", "junk", "no character"),
        *("another's", "expired", "endless", "unsigned"),
    ],
)
def test_a_token_that_is_not_valid_is_refused(
    node: Driver, jwt_server: Running, auth: dict[str, Any]
) -> None:
    refused = refusal(node, jwt_server, auth=auth)
    assert refused == ("invalid token", {"code": "token"})


def test_a_connection_ends_with_its_token_unless_it_is_renewed(
    node: Driver, jwt_server: Running
) -> None:
    a = connect(node, jwt_server, auth={"token": jwt_of()})
    b = connect(node, jwt_server, auth={"token": jwt_of()})
    for wrong in (jwt_of(sub="bob"), jwt_of(lasts=-1), "junk", None):
        assert a.call("renew", wrong) == {"error": "invalid token"}
    longer = jwt_of(lasts=7200)
    assert a.call("renew", longer) == {"expires": jwt.decode(longer, SECRET, ["HS256"])["exp"]}
    # What is tried is a short one; on a busy machine it may be over before it arrives.
    while "error" in b.call("renew", jwt_of(lasts=2)):
        pass
    assert b.wait_for("token-expired") == []
    assert gone(b) == "io server disconnect"
    join(a)  # is answered


def test_the_example_prints_a_token_to_try(node: Driver) -> None:
    with example("jwt_auth.py") as server:
        printed = re.search(r"a token for an hour: (\S+)", server.log())
        assert printed is not None
        connect(node, server, auth={"token": printed[1]})


# -- a token for one connection ----------------------------------------------------------------


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    file, port = tmp_path_factory.mktemp("tokens") / "tokens.sqlite3", free_port()
    command = [str(BIN / "gunicorn"), "-k", "gevent", "-w", "2", "-b", f"127.0.0.1:{port}"]
    environ = {"SECRET_KEY": SECRET, "USED_TOKENS": str(file)}
    run = program([*command, "one_time_token:app"], environ=environ, port=port, cwd=EXAMPLES)
    with run as server:
        yield server


def ticket(server: Running, user: str) -> dict[str, Any]:
    cookie = cookie_of(f"{server.url}/login/{user}")["extraHeaders"]["Cookie"]
    return {"auth": json.loads(post(server, "/socket-token", cookie))}


def test_a_token_works_once_in_all_workers(node: Driver, workers: Running) -> None:
    opened: set[str] = set()
    end = time.monotonic() + DEADLINE
    while len(opened) < 2:  # until each of the workers has taken a token
        assert time.monotonic() < end, "one worker takes all clients"
        auth = ticket(workers, "ada")
        some = [node.open(workers.url, transports=["websocket"], **auth) for _ in range(4)]
        for client in some:
            client.wait_until(lambda client=client: outcome(client), "answer to its token")
        (one,) = (client for client in some if outcome(client) == "connect")
        opened.add(one.id[:4])
        refused = [each for each in some if each is not one]
        assert {each.wait("connect_error")["message"] for each in refused} == {"invalid token"}
        one.disconnect()


def outcome(client: Client) -> str:
    kinds = [
        each["type"] for each in client.reports if each["type"] in ("connect", "connect_error")
    ]
    return kinds[0] if kinds else ""


def test_who_has_a_new_token_is_known_by_it(node: Driver, workers: Running) -> None:
    a, b = (connect(node, workers, **ticket(workers, name)) for name in ("ada", "bob"))
    join(a)
    join(b, name="ada, says bob")
    assert a.wait_for("user-connected") == [{"id": b.id, "name": "bob"}]


def test_a_token_of_another_kind_or_too_old_is_refused(
    node: Driver, workers: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {"user": "ada", "number": "1"}
    forged = URLSafeTimedSerializer("another one", salt="socket").dumps(good)
    other_use = URLSafeTimedSerializer(SECRET, salt="reset of the password").dumps(good)
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: int(time.time()) - 60)
    old = URLSafeTimedSerializer(SECRET, salt="socket").dumps(good)
    for token in (forged, other_use, old, "junk", "\ud800", "", None, 5):
        refused = refusal(node, workers, auth={"token": token})
        assert refused == ("invalid token", {"code": "token"})
    assert refusal(node, workers) == ("invalid token", {"code": "token"})


def test_only_who_has_logged_in_gets_a_token(workers: Running) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        post(workers, "/socket-token")
