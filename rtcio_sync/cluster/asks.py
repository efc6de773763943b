"""Callbacks of events that went to other nodes, and questions to them. # hub or greenlet"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from ..adapter.calls import Waiter
from ..hub.thread import refuse_in_hub

__all__ = ["Asked", "Callbacks", "Questions", "RemoteWaiter"]


class Asked:
    """One callback, and the nodes whose clients may still answer."""

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

    def died(self, node: str) -> None:
        """A node is dead."""
        for number in [each for each, asked in self._asked.items() if node in asked.nodes]:
            self.lost(node, number)

    def forget(self, waiter: Waiter) -> None:
        """A `Waiter` does not wait any more."""
        for number in [n for n, asked in self._asked.items() if asked.callback is waiter]:
            del self._asked[number]


class RemoteWaiter(Waiter):
    """The callback of an event for which `Server.call` of another node waits."""

    def __init__(self, answer: Callable[..., None], lost: Callable[[], None]) -> None:
        super().__init__(None)
        self._answer = answer
        self._nobody = lost

    def __call__(self, *answer: Any) -> None:
        self._answer(*answer)

    def lose(self) -> None:
        self._lost += 1
        if self._lost >= len(self.asked):
            self._nobody()


class _Question:
    __slots__ = ("done", "nodes", "replies")

    def __init__(self, nodes: Iterable[str], done: Any) -> None:
        self.nodes = set(nodes)
        self.replies: dict[str, bytes | None] = {}
        self.done = done


class Questions:
    """Questions to other nodes; a node that dies ends the wait for its reply."""

    def __init__(self, create_event: Callable[[], Any]) -> None:
        self._create_event = create_event
        self._numbers = itertools.count(1)
        self._open: dict[int, _Question] = {}

    def ask(
        self, nodes: Iterable[str], send: Callable[[str, int], bool], seconds: float
    ) -> dict[str, bytes | None]:
        """Sends a question, ``send(node, number)``, and waits for the replies. # greenlet

        A node that failed to answer has `None`; one that is dead, or late, is missing. Raises
        `NotServing` in the hub, where nothing may wait.
        """
        refuse_in_hub()
        number = next(self._numbers)
        question = self._open[number] = _Question(nodes, self._create_event())
        try:
            for node in list(question.nodes):
                if not send(node, number):
                    question.nodes.discard(node)
            if question.nodes:
                question.done.wait(seconds)
        finally:
            del self._open[number]
        return question.replies

    def replied(self, node: str, number: int, body: bytes | None) -> None:
        """A node has answered."""
        question = self._open.get(number)
        if question is not None and node in question.nodes:
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
