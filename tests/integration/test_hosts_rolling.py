"""A rolling deploy: each host is replaced by a new one, and its clients keep their sessions.

`ROLLING=full` (`make rolling`) is the long form: four hosts, 1,000 clients.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.clients import SEQ, Client, Driver
from tests.integration.crowd import crowd
from tests.integration.hosts import BACK, Cluster, cluster, returns
from tests.integration.line import Line
from tests.integration.many_workers import nginx
from tests.integration.redis_server import redis_server
from tests.integration.servers import Running, free_port, running
from tests.timing import DEADLINE

FULL = os.environ.get("ROLLING") == "full"

#: Hosts, clients, and milliseconds between two messages of each.
SIZE = (4, 1000, 2000) if FULL else (2, 40, 100)

AT_A_TIME = 10  # messages


class Talk:
    """Numbered events to the room of all, and relays to each, from some of the clients."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients
        self.sent: Counter[str] = Counter()

    def say(self, senders: list[Client]) -> None:
        for sender in senders:
            start, name = self.sent[sender.name], sender.name
            sender.burst("to", "tea", name, SEQ, count=AT_A_TIME, start=start)
            for other in self.clients:
                if other is not sender:
                    envelope = sender.envelope(other, [name, SEQ])
                    sender.burst("#rtcio:message", envelope, count=AT_A_TIME, start=start)
            self.sent[name] += AT_A_TIME

    def arrives_once_in_order(self) -> None:
        for client in self.clients:
            others = [other for other in self.clients if other is not client]
            client.fence(*others)
        for client in self.clients:
            for sender, count in self.sent.items():
                if sender != client.name:
                    client.wait_for(sender, count)
                    numbers = list(range(count))
                    assert [number for (number,) in client.received(sender)] == numbers
                    found = [data for data in client.relayed() if data[0] == sender]
                    assert [number for _, number in found] == numbers


def test_hosts_are_replaced_one_after_the_other_and_every_session_goes_on() -> None:
    with Driver() as driver, redis_server() as redis, ExitStack() as stack:

        def start(*ways: str) -> Cluster:
            options = {"connection_state_recovery": True, "nodes": 0}
            return stack.enter_context(cluster(redis, *ways, **options))

        made = start("listen", "listen")
        made.await_nodes(2)
        hosts = made.hosts
        lines = [stack.enter_context(Line(hosts[number % 2].port)) for number in range(6)]
        clients = [driver.connect(each.url, transports=["websocket"], **BACK) for each in lines]
        sids = [client.id for client in clients]
        where = [hosts[number % 2] for number in range(6)]
        for client in clients:
            assert client.call("join", "tea") == "ok"
        talk = Talk(clients)
        talk.arrives_once_in_order()
        for old in list(hosts):
            (new,) = start("listen").hosts
            hosts.append(new)
            Cluster([new], redis).await_nodes(3)
            moving = [number for number in range(6) if where[number] is old]
            stay = [client for number, client in enumerate(clients) if number not in moving]
            for place, number in enumerate(moving):
                where[number] = [each for each in hosts if each is not old][place % 2]
                lines[number].lead_to(where[number].port)
            before = [len(returns(client)) for client in clients]
            old.process.send_signal(signal.SIGTERM)
            end = time.monotonic() + DEADLINE
            while any(len(returns(clients[number])) == before[number] for number in moving):
                assert time.monotonic() < end, [returns(client) for client in clients]
                talk.say(stay)
                time.sleep(0.1)
            assert old.process.wait(DEADLINE) == 0
            hosts.remove(old)
            talk.arrives_once_in_order()
        assert [client.id for client in clients] == sids
        for client in clients:
            assert returns(client).count(False) == 1
            assert client.received("#rtcio:peer-left") == []
        driver.forget_all()  # before their hosts stop


@pytest.mark.timeout(16 * DEADLINE)
def test_calls_behind_a_round_robin_go_on_while_all_hosts_are_replaced(tmp_path: Path) -> None:
    count, clients, every = SIZE
    with redis_server() as redis, ExitStack() as stack:

        def start(port: int) -> Running:
            options = {"connection_state_recovery": True, "cluster": redis}
            address = f"127.0.0.1:{port}"
            how = running("listen", "many_workers", port=port, cluster_address=address, **options)
            return stack.enter_context(how)

        hosts = [start(free_port()) for _ in range(count)]
        Cluster(hosts, redis).await_nodes(count)
        url = stack.enter_context(nginx(hosts[0], tmp_path, *hosts[1:]))
        there = stack.enter_context(crowd(url, clients * 9 // 10, clients // 10, every, back=True))
        for old in list(hosts):
            time.sleep(1)  # they talk
            assert old.terminate(timeout=4 * DEADLINE) == 0
            hosts.remove(old)
            hosts.append(start(old.port))
            Cluster(hosts, redis).await_nodes(count)
        time.sleep(1)
        found = there.assert_undisturbed()
    cuts = Counter(found["cuts"])
    print(f"{found['sent']} sent, clients by disconnects {cuts}, longest {found['longest']} ms")
    print(f"{found['lost']} lost that clients sent as they lost their connections")
    # nginx drops them as the old host ends its half: some two for each line that is lost.
    assert found["lost"] <= 2 * sum(found["cuts"])
    # Those on polling notice nothing; the others as often as a host leaves that they are on.
    refused = sum(found["refused"])
    print(f"{refused} POSTs that nginx answered with 502, since a host had just ended")
    assert refused <= count
    assert cuts[0] + refused >= clients // 10 and 1 <= max(cuts) <= count
