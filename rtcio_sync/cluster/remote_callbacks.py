"""Callbacks of events that went to other nodes, and questions to them. # hub or greenlet"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ..adapter.callbacks import Owed
from ..adapter.server_call import Waiter
from ..hub.thread import refuse_in_hub
from .handover_messages import Parted, Pending
from .messages import Kind, Lost, Struct

__all__ = ["Answers", "Asked", "Callbacks", "Questions", "RemoteCallback", "RemoteWaiter"]


class Asked:
    """One callback, and who may still answer: nodes, and sockets that have moved from one."""

    __slots__ = ("callback", "nodes")

    def __init__(self, callback: Callable[..., Any], nodes: Iterable[str]) -> None:
        self.callback = callback
        self.nodes = set(nodes)


class Callbacks:
    """The callbacks that other nodes' clients may answer.

    ``most``: over so many, the oldest is forgotten (``forgot()``), but for those of `Waiter`s,
    which have a time-out.
    """

    def __init__(self, most: int, forgot: Callable[[], None]) -> None:
        self._most = most
        self._forgot = forgot
        self._numbers = itertools.count(1)
        self._asked: dict[int, Asked] = {}

    def ask(self, callback: Callable[..., Any], nodes: list[str]) -> int:
        """Keeps a callback; returns its number."""
        number = next(self._numbers)
        self._asked[number] = Asked(callback, nodes)
        if isinstance(callback, Waiter):
            callback.asked += nodes
        elif len(self._asked) > self._most:
            self._forget_oldest()
        return number

    def _forget_oldest(self) -> None:
        for number, asked in self._asked.items():
            if not isinstance(asked.callback, Waiter):
                del self._asked[number]
                self._forgot()
                return

    def callback(self, number: int) -> Callable[..., Any] | None:
        """The callback of an answer."""
        found = self._asked.get(number)
        return None if found is None else found.callback

    def lost(self, node: str, number: int) -> None:
        """No client of a node will answer (any more)."""
        asked = self._asked.get(number)
        if asked is None or node not in asked.nodes:
            return
        asked.nodes.discard(node)
        if isinstance(asked.callback, Waiter):
            asked.callback.lose()
        if not asked.nodes:
            del self._asked[number]

    def parted(self, number: int, sid: str) -> None:
        """A socket has moved: from now on it counts apart from its node."""
        asked = self._asked.get(number)
        if asked is not None and sid not in asked.nodes:
            asked.nodes.add(sid)
            if isinstance(asked.callback, Waiter):
                asked.callback.asked.append(sid)

    def died(self, node: str, ids: Iterable[str] = ()) -> None:
        """A node is dead, and the sockets with these ids that had moved to it."""
        gone = {node, *ids}
        for number, asked in list(self._asked.items()):
            for each in [each for each in asked.nodes if each[:4] in gone or each in gone]:
                if each == node or len(each) > len(node):
                    self.lost(each, number)

    def forget(self, waiter: Waiter) -> None:
        """A `Waiter` does not wait any more."""
        for number in [n for n, asked in self._asked.items() if asked.callback is waiter]:
            del self._asked[number]


class Answers(Protocol):
    """Sends answers to other nodes: `exchange.Exchange`."""

    def send_answer(self, node: str, number: int, args: tuple[Any, ...]) -> bool:
        """`False`: no other node can be sent such an answer; it is counted as a drop."""
        ...

    def post(self, node: str, kind: int, message: Struct) -> object: ...


class RemoteCallback(Owed):
    """The callback of an event of another node. ``left``: how many sockets may still answer."""

    __slots__ = ("_answers", "_left", "_pending")

    def __init__(self, answers: Answers, pending: Pending, left: int = 1) -> None:
        self._answers = answers
        self._pending = pending
        self._left = left

    def __call__(self, *answer: Any) -> None:  # hub or greenlet
        self._answers.send_answer(self._pending.node, self._pending.number, answer)
        self.lose()

    def lose(self) -> None:
        self._left -= 1
        if self._left <= 0:  # that node need not keep its callback any longer
            _lost(self._answers, self._pending)

    def part(self, sid: str) -> Pending:
        """One socket moves to another node, which answers for it."""
        return _part(self._answers, self._pending, sid, self.lose)


class RemoteWaiter(Waiter):
    """The callback of an event for which `Server.call` of another node waits."""

    def __init__(self, answers: Answers, pending: Pending) -> None:
        super().__init__(None)
        self._answers = answers
        self._pending = pending

    def __call__(self, *answer: Any) -> None:
        if not self._answers.send_answer(self._pending.node, self._pending.number, answer):
            self.lose()

    def lose(self) -> None:
        self._lost += 1
        if self._lost >= len(self.asked):
            _lost(self._answers, self._pending)

    def part(self, sid: str) -> Pending:
        """As `RemoteCallback.part`."""
        return _part(self._answers, self._pending, sid, self.lose)


def _lost(answers: Answers, pending: Pending) -> None:
    answers.post(pending.node, Kind.LOST, Lost(pending.number, pending.of))


def _part(answers: Answers, pending: Pending, sid: str, less: Callable[[], None]) -> Pending:
    if pending.of != sid:  # else it has moved before, and counts apart already
        answers.post(pending.node, Kind.PARTED, Parted(pending.number, sid))
        less()
    return Pending(pending.node, pending.number, sid, pending.waits)


class _Question:
    __slots__ = ("any", "done", "nodes", "replies")

    def __init__(self, nodes: Iterable[str], done: Any, *, any_node: bool) -> None:
        self.nodes = set(nodes)
        #: Whether the answer may come from another node than the one that was asked.
        self.any = any_node
        self.replies: dict[str, bytes | None] = {}
        self.done = done


class Questions:
    """Questions to other nodes; a node that dies ends the wait for its reply."""

    def __init__(self, create_event: Callable[[], Any]) -> None:
        self._create_event = create_event
        self._numbers = itertools.count(1)
        self._open: dict[int, _Question] = {}

    def ask(
        self,
        nodes: Iterable[str],
        send: Callable[[str, int], bool],
        seconds: float,
        *,
        any_node: bool = False,
    ) -> dict[str, bytes | None]:
        """Sends a question, ``send(node, number)``, and waits for the replies. # greenlet

        A node that failed to answer has `None`; one that is dead, or late, is missing.
        ``any_node``: the one node that is asked may have another one answer.
        Raises `NotServing` in the hub, where nothing may wait.
        """
        refuse_in_hub()
        return self.wait(self.begin(nodes, send, any_node=any_node), seconds)

    def begin(
        self, nodes: Iterable[str], send: Callable[[str, int], bool], *, any_node: bool = False
    ) -> int:
        """Sends a question as `ask` does; returns its number, for `wait`. # hub or greenlet"""
        number = next(self._numbers)
        question = self._open[number] = _Question(nodes, self._create_event(), any_node=any_node)
        try:
            for node in list(question.nodes):
                if not send(node, number):
                    question.nodes.discard(node)
        except BaseException:
            del self._open[number]
            raise
        return number

    def wait(self, number: int, seconds: float) -> dict[str, bytes | None]:
        """Waits for the replies to a question that has begun, and ends it. # greenlet"""
        question = self._open[number]
        try:
            if question.nodes:
                question.done.wait(seconds)
        finally:
            del self._open[number]
        return question.replies

    def forget(self, number: int) -> None:
        """Ends a question for whose replies nobody waits. # hub or greenlet"""
        self._open.pop(number, None)

    def give_up(self, number: int) -> None:
        """Ends the wait for a question, without the replies to come. # hub or greenlet"""
        question = self._open.get(number)
        if question is not None:
            question.nodes.clear()
            question.done.set()

    def replied(self, node: str, number: int, body: bytes | None) -> None:
        """A node has answered."""
        question = self._open.get(number)
        if question is None:
            return
        if question.any and node not in question.nodes:
            node = next(iter(question.nodes))  # what it was about has moved meanwhile
        if node in question.nodes:
            question.replies[node] = body
            self._less(question, node)

    def died(self, node: str) -> None:
        """A node is dead."""
        for question in list(self._open.values()):
            if node in question.nodes:
                self._less(question, node)

    def _less(self, question: _Question, node: str) -> None:
        question.nodes.discard(node)
        if not question.nodes:
            question.done.set()
