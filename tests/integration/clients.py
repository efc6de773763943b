"""Real socket.io-client sockets, as blocking Python objects; `node/driver.js` is the other end.

Nothing here sleeps to let something happen: each wait is for a report and ends with it. That
nothing was heard is shown by a fence: a message sent after the one that must not arrive, on the
same way, has arrived.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.timing import DEADLINE

NODE_DIR = Path(__file__).parent / "node"

Report = dict[str, Any]


class Driver:
    """One Node process with any number of socket.io-client sockets in it.

    ``suspend()`` stops the whole process, so that its TCP connections stay open and nobody answers
    on them: what a pulled cable looks like from the server.
    """

    def __init__(self, within: Sequence[str] = ()) -> None:
        """``within``: a command that runs it somewhere else."""
        if not (NODE_DIR / "node_modules").is_dir():
            raise RuntimeError(f"run `npm ci` in {NODE_DIR} first (`make test` does)")
        self._process = subprocess.Popen(
            [*within, "node", str(NODE_DIR / "driver.js")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._news = threading.Condition()
        self._clients: dict[str, Client] = {}
        #: Of commands that could not be done.
        self.errors: list[str] = []
        self._numbers = itertools.count(1)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def open(
        self,
        url: str,
        *,
        namespace: str = "/",
        shares: Client | None = None,
        **options: Any,
    ) -> Client:
        """Open a socket and return without waiting for it to connect.

        `options` are socket.io-client's own (``transports``, ``auth``, ``extraHeaders``, ``ca`` …),
        with ``parser="msgpack"`` for its MessagePack parser. Reconnection is off unless asked for.
        `shares` is a socket whose connection this one of another namespace uses too.
        """
        name = f"c{next(self._numbers)}"
        client = Client(self, name, self._news)
        self._clients[name] = client
        options.setdefault("reconnection", False)
        self.command(
            "open",
            name,
            url=url,
            namespace=namespace,
            shares=shares.name if shares else None,
            options=options,
        )
        return client

    def connect(self, url: str, *, namespace: str = "/", **options: Any) -> Client:
        """Open a socket and wait until it is connected, and upgraded where it will be."""
        client = self.open(url, namespace=namespace, **options)
        client.wait("connect")
        if options.get("transports", ["polling", "websocket"]) == ["polling", "websocket"]:
            client.wait("upgrade")
        return client

    def command(self, cmd: str, socket: str, **fields: Any) -> None:
        line = json.dumps({"cmd": cmd, "socket": socket, **fields}, default=_to_json)
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def forget_all(self) -> None:
        """Close every socket, so that the next test starts without any."""
        for name in list(self._clients):
            self.command("forget", name)
            del self._clients[name]
        self.errors.clear()

    def suspend(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process.poll() is None:
            self.resume()
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            report = json.loads(line, object_hook=_from_json)
            client = self._clients.get(report["socket"])
            if client is None:
                continue
            with self._news:
                if report["type"] == "driver_error":
                    self.errors.append(f"{client.name}: {report['message']}")
                client.reports.append(report)
                self._news.notify_all()


class Client:
    """One socket.io-client socket. Its ``reports`` are all that happened to it, in order."""

    def __init__(self, driver: Driver, name: str, news: threading.Condition) -> None:
        self.name = name
        self.reports: list[Report] = []
        self._driver = driver
        self._news = news
        self._tokens = itertools.count(1)

    @property
    def id(self) -> str:
        """The sid of the latest connection."""
        found = [report["id"] for report in self.reports if report["type"] == "connect"]
        if not found:
            raise AssertionError(f"{self.name} has not connected: {self.reports}")
        return str(found[-1])

    @property
    def transport(self) -> str:
        """The transport in use at this moment."""
        before = len(self._of("transport"))
        self._driver.command("transport", self.name)
        return str(self.wait("transport", count=before + 1)["transport"])

    # What is done

    def emit(self, event: str, *args: Any) -> None:
        self._driver.command("emit", self.name, event=event, args=args)

    def ask(self, event: str, *args: Any) -> int:
        """Emit with an acknowledgement wanted, and return what `answer` takes."""
        token = next(self._tokens)
        self._driver.command("emit", self.name, event=event, args=args, token=token)
        return token

    def answer(self, token: int, timeout: float = DEADLINE) -> list[Any]:
        """The arguments of the acknowledgement."""
        return list(self.answer_report(token, timeout)["args"])

    def answer_report(self, token: int, timeout: float = DEADLINE) -> Report:
        return self.wait("ack", timeout=timeout, token=token)

    def call(self, event: str, *args: Any, timeout: float = DEADLINE) -> Any:
        """Emit, wait for the acknowledgement and return its only argument, None for none."""
        values = self.answer(self.ask(event, *args), timeout)
        assert len(values) <= 1, f"{len(values)} values acknowledged instead of one: {values}"
        return values[0] if values else None

    def burst(self, event: str, *args: Any, count: int, start: int = 0) -> None:
        """Emit `count` times in one tick; `SEQ` in the arguments is the message's number."""
        self._driver.command("burst", self.name, event=event, args=args, count=count, start=start)

    def sequence(self, *emits: tuple[Any, ...]) -> None:
        """Emit each ``(event, *args)`` in one tick."""
        self._driver.command(
            "sequence", self.name, emits=[{"event": event, "args": args} for event, *args in emits]
        )

    def relay(self, target: Client | str, data: Any) -> None:
        """Send an envelope with `data`, as rtc.io does."""
        self.emit("#rtcio:message", self.envelope(target, data))

    def envelope(self, target: Client | str, data: Any) -> dict[str, Any]:
        return {
            "source": self.id,
            "target": target.id if isinstance(target, Client) else target,
            "data": data,
        }

    def packet(self, **packet: Any) -> None:
        """Send a Socket.IO packet that socket.io-client's own checks would not let pass."""
        self._driver.command("packet", self.name, packet=packet)

    def answers(self, event: str, *args: Any) -> None:
        """Acknowledge each `event` from now on, where an acknowledgement is asked for."""
        before = len(self._of("answers", event=event))
        self._driver.command("answer", self.name, event=event, args=args)
        self.wait("answers", count=before + 1, event=event)

    def connect(self) -> None:
        self._driver.command("connect", self.name)

    def disconnect(self) -> None:
        self._driver.command("disconnect", self.name)

    def close_engine(self) -> None:
        self._driver.command("closeEngine", self.name)

    def kill(self, *, reset: bool = False) -> None:
        """End the TCP connection without a close frame: by FIN, or by RST with `reset`."""
        self._driver.command("kill", self.name, reset=reset)

    def pause(self) -> None:
        """Stop reading from TCP."""
        self._driver.command("pause", self.name)

    def unpause(self) -> None:
        self._driver.command("resume", self.name)

    # What is heard

    def received(self, event: str | None = None) -> list[Any]:
        """The arguments of each `event` so far, or ``(event, arguments)`` of all events."""
        with self._news:
            heard = [report for report in self.reports if report["type"] == "event"]
        if event is None:
            return [(report["event"], report["args"]) for report in heard]
        return [report["args"] for report in heard if report["event"] == event]

    def relayed(self) -> list[Any]:
        """The ``data`` of each relayed message so far, fences apart."""
        data = [args[0]["data"] for args in self.received("#rtcio:message")]
        return [item for item in data if not (isinstance(item, dict) and "fence" in item)]

    def wait_for(self, event: str, count: int = 1, timeout: float = DEADLINE) -> list[Any]:
        """Wait until `event` was heard `count` times; the arguments of the last of these."""
        return list(self.wait("event", count=count, timeout=timeout, event=event)["args"])

    def wait(self, kind: str, count: int = 1, timeout: float = DEADLINE, **match: Any) -> Report:
        """Wait for the `count`-th report of a kind whose fields are as in `match`."""

        def counted() -> Report | None:
            found = self._of(kind, **match)
            return found[count - 1] if len(found) >= count else None

        report: Report = self.wait_until(counted, f"{kind} {match or ''} x{count}", timeout)
        return report

    def wait_until(
        self, condition: Callable[[], Any], description: str, timeout: float = DEADLINE
    ) -> Any:
        """Wait until `condition`, looked at after each report, is true; its value."""
        end = time.monotonic() + timeout
        with self._news:
            while True:
                value = condition()
                if value:
                    return value
                assert not self._driver.errors, self._driver.errors
                left = end - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    last = json.dumps(self.reports[-20:], default=_to_json)
                    raise AssertionError(
                        f"{self.name}: no {description} within {timeout} s; last reports: {last}"
                    )

    def fence(self, *others: Client) -> None:
        """Return once all that this socket sent the others before has arrived, if it ever will."""
        for other in others:
            envelope = self.envelope(other, {"fence": f"{self.name}-{next(self._tokens)}"})
            self.emit("#rtcio:message", envelope)
            other.wait("event", event="#rtcio:message", args=[envelope])

    def _of(self, kind: str, **match: Any) -> list[Report]:
        return [
            report
            for report in list(self.reports)
            if report["type"] == kind
            and all(report.get(field) == value for field, value in match.items())
        ]


#: Stands for the number of the message in the arguments of a burst.
SEQ = {"$seq": True}


def _to_json(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return {"$bin": base64.b64encode(value).decode()}
    raise TypeError(f"cannot tell Node about {type(value).__name__}")


def _from_json(value: dict[str, Any]) -> Any:
    if value.keys() == {"$bin"}:
        return base64.b64decode(value["$bin"])
    return value


def meet(a: Client, b: Client) -> None:
    """Until they hear each other: what was published before a process has subscribed is lost."""
    for sender, receiver in ((a, b), (b, a)):
        end = time.monotonic() + DEADLINE
        while not receiver.received("#rtcio:message"):
            assert time.monotonic() < end, "the processes do not hear each other"
            sender.relay(receiver, {"fence": "of both processes"})
            time.sleep(0.1)
