"""Functions of the app that do not run when they are called, and what they return."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flask
import pytest
import werkzeug.local

from rtcio_sync.functions import check_plain, completed, says_no
from tests.unrun import UNRUN, both, coroutine, generator


@pytest.mark.parametrize("fn", UNRUN.values(), ids=UNRUN)
def test_what_has_yet_to_run_is_no_result(fn: Callable[..., Any]) -> None:
    check_plain(fn)  # nobody can see it before the call
    answer = fn()
    with pytest.raises(TypeError, match=r"returned a (coroutine|generator)"):
        completed(fn, answer)
    if hasattr(answer, "gi_frame"):
        assert answer.gi_frame is None, "it is closed"


def test_results_are_given_back() -> None:
    user = werkzeug.local.LocalProxy(lambda: "ada")  # has every method, `__await__` too
    for answer in (None, True, 0, "tea", [1], {"a": 1}, object(), flask.Response("no"), user):
        assert completed(print, answer) is answer


class Numpys:
    """As numpy's ``bool_``, the result of its comparisons."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value


Numpys.__name__ = "bool_"


def test_false_of_any_kind_is_a_no() -> None:
    for kind in (bool, Numpys, lambda value: werkzeug.local.LocalProxy(lambda: value)):
        assert says_no(kind(False))
        assert not says_no(kind(True))
    for answer in (None, 0, "", [], {}, object(), flask.Response("no")):
        assert not says_no(answer)


@pytest.mark.parametrize("fn", [coroutine, generator, both])
def test_functions_that_do_not_run_are_refused(fn: Any) -> None:
    for each in (fn, functools.partial(fn, 1), staticmethod(fn), type("C", (), {"__call__": fn})()):
        with pytest.raises(TypeError, match=r"use return|plain `def`"):
            check_plain(each)


def test_a_generator_function_may_be_what_is_asked_for() -> None:
    check_plain(generator, may_yield=True)
    with pytest.raises(TypeError):
        check_plain(both, may_yield=True)
