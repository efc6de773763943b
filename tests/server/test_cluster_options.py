"""Where a server's cluster is named: the option, the environment, the Flask app's config."""

from __future__ import annotations

import os

import flask
import pytest
import socketio

from rtcio_sync import OptionError, Server

URL = "redis://user:hush@redis.example:6379/0"


def url_of(server: Server) -> str | None:
    hosts = server._node.hosts if server._node is not None else None
    return None if hosts is None else hosts.url


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTCIO_CLUSTER", raising=False)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "rediss://redis.example/1",
        "unix:///run/redis.sock",
        "valkey://redis.example",
        "redis+sentinel://one:26379,two:26379/main/0",
        "rediss+cluster://one:6379,two:6379",
    ],
)
def test_the_option_names_a_redis(url: str) -> None:
    assert url_of(Server(cluster=url)) == url


def test_without_it_the_environment_does_and_then_the_apps_config(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = flask.Flask("app")
    app.config["RTCIO_CLUSTER"] = URL
    server = Server(app=app)
    assert url_of(server) == URL
    late = Server()
    assert url_of(late) is None
    other = flask.Flask("other")
    other.config["RTCIO_CLUSTER"] = URL
    late.init_app(other)
    assert url_of(late) == URL
    monkeypatch.setenv("RTCIO_CLUSTER", "redis://other.example")
    assert url_of(Server(app=copy_of(app))) == "redis://other.example"
    assert url_of(Server(cluster="redis://third.example")) == "redis://third.example"
    monkeypatch.setenv("RTCIO_CLUSTER", "off")
    assert Server(app=copy_of(app))._node is None


def copy_of(app: flask.Flask) -> flask.Flask:
    made = flask.Flask("copy")
    made.config["RTCIO_CLUSTER"] = app.config["RTCIO_CLUSTER"]
    return made


@pytest.mark.parametrize("off", ["off", "0", "no", "False", " OFF "])
def test_the_environment_may_keep_a_server_alone(off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTCIO_CLUSTER", off)
    assert Server()._node is None


def test_the_apps_config_may_keep_a_server_alone() -> None:
    app = flask.Flask("app")
    app.config["RTCIO_CLUSTER"] = "off"
    server = Server()
    server.init_app(app)
    node = server._node
    assert node is not None and not node.begin(os.getpid())
    assert node.bus is None
    server.stop()


@pytest.mark.parametrize("on", ["", "on", "1", "yes"])
def test_the_environment_may_say_what_is_so_by_default(
    on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTCIO_CLUSTER", on)
    server = Server()
    assert server._node is not None and url_of(server) is None


@pytest.mark.parametrize(
    "wrong", ["redis.example:6379", "http://hush@redis.example", "redis://", 5]
)
def test_another_value_is_refused_and_not_shown(
    wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError) as refused:
        Server(cluster=wrong)
    assert "hush" not in str(refused.value)
    if isinstance(wrong, str):
        monkeypatch.setenv("RTCIO_CLUSTER", wrong)
        with pytest.raises(OptionError, match="RTCIO_CLUSTER"):
            Server()


@pytest.mark.parametrize(
    "options",
    [
        {"cluster": False, "cluster_required": True},
        {"cluster": True, "cluster_secret": "0123456789abcdef"},
        {"cluster": URL, "cluster_prefix": "{tag}"},
        {"cluster": URL, "cluster_prefix": ""},
        {"cluster": URL, "cluster_secret": "short"},
        {"cluster": URL, "cluster_required": 1},
        {"cluster": URL, "async_mode": "threading"},
        {"cluster": "redis+sentinel://one:26379"},
        {"client_manager": socketio.PubSubManager(), "cluster_required": True},
        {"cluster": "redis://host:port/0"},
    ],
)
def test_what_contradicts_or_cannot_be_read_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Server(**options)


def serve_once(server: Server) -> None:
    server.listen(0, "127.0.0.1", ready=lambda port: server.stop())


def test_a_cluster_that_is_required_and_that_nothing_names_fails_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As with cluster=os.environ.get("REDIS_URL") where the variable was forgotten.
    server = Server(cluster=None, cluster_required=True)
    with pytest.raises(OptionError, match="set RTCIO_CLUSTER, which may also be off"):
        serve_once(server)
    with pytest.raises(OptionError, match="nothing names the cluster"):
        server.eio.first_request({})
    monkeypatch.setenv("RTCIO_CLUSTER", "off")
    serve_once(Server(cluster_required=True))


def test_another_option_of_a_cluster_that_nothing_names_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def told(**options: object) -> list[str]:
        caplog.clear()
        serve_once(Server(**options))
        return [each.message for each in caplog.records if "cluster_" in each.message]

    (line,) = told(cluster_prefix="calls", cluster_address="10.0.0.5:8000")
    assert line.startswith("cluster_address has no effect")
    assert told() == []
    app = flask.Flask("app")
    app.config["RTCIO_CLUSTER"] = "off"
    assert told(cluster_prefix="calls", app=app) == []


def test_neither_the_address_nor_the_secret_is_shown() -> None:
    server = Server(cluster=URL, cluster_secret="0123456789abcdef")
    assert "hush" not in repr(server._node.hosts)
    assert "0123456789abcdef" not in repr(server.options)


def test_the_key_of_passwords_is_the_same_on_all_hosts_with_the_same_secret() -> None:
    def key(**options: object) -> bytes:
        return Server(cluster=URL, **options)._node.hosts.secret

    assert key() == key() != key(cluster_prefix="other")
    secret = "0123456789abcdef"
    assert key(cluster_secret=secret) == key(cluster_secret=secret.encode()) != key()


def test_a_server_that_serves_nobody_yet_is_alone_and_its_figures_say_so() -> None:
    server = Server(cluster=URL)
    figures = server.stats()
    assert (figures["workers"], figures["nodes"], figures["degraded"]) == (1, 1, False)
    assert server.test_client().connected
    assert server.stats(cluster=True) == server.stats(cluster="host")
