"""When the garbage collector is kept from working, and that an app's own settings stay."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from rtcio_sync.garbage_collector import collects, uncollected


@pytest.fixture(autouse=True)
def settings() -> Iterator[tuple[int, int, int]]:
    """The settings at the start, which each test leaves as they were."""
    before = gc.get_threshold()
    assert collects()
    yield before
    gc.enable()
    gc.set_threshold(*before)


def collections_while_many_are_made() -> int:
    """How often the collector works while a list of lists is made."""
    runs: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        runs.append(phase)

    gc.callbacks.append(note)
    made = [[] for _ in range(50_000)]  # type: ignore[var-annotated]
    gc.callbacks.remove(note)
    assert len(made) == 50_000
    return len(runs)


def test_nothing_is_collected_meanwhile_and_afterwards_it_is(settings: tuple[int, ...]) -> None:
    with uncollected():
        assert not collects()
        assert collections_while_many_are_made() == 0
    assert gc.get_threshold() == settings
    assert collections_while_many_are_made() > 0


def test_one_within_another_ends_nothing_too_early(settings: tuple[int, ...]) -> None:
    with uncollected():
        with uncollected():
            pass
        assert not collects()
    assert gc.get_threshold() == settings


def test_it_ends_with_an_exception_too(settings: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="of the test"), uncollected():
        raise ValueError("of the test")
    assert gc.get_threshold() == settings


def test_an_app_that_turns_the_collector_off_meanwhile_finds_it_off(
    settings: tuple[int, ...],
) -> None:
    with uncollected():
        thread = threading.Thread(target=gc.disable)
        thread.start()
        thread.join()
    assert not gc.isenabled()
    assert gc.get_threshold() == settings


def test_an_app_that_has_turned_the_collector_off_may_turn_it_on_meanwhile(
    settings: tuple[int, ...],
) -> None:
    gc.disable()
    with uncollected():
        gc.enable()
    assert gc.isenabled()
    assert gc.get_threshold() == settings


def test_thresholds_that_an_app_sets_meanwhile_stay() -> None:
    with uncollected():
        gc.set_threshold(123, 4, 5)
    assert gc.get_threshold() == (123, 4, 5)


def test_an_app_that_wants_no_collections_gets_none() -> None:
    gc.set_threshold(0)
    with uncollected():
        pass
    assert gc.get_threshold()[0] == 0


SERVES = """
import gc
import sys

from gevent import monkey

monkey.patch_all()

from rtcio_sync import Server

server = Server()
if "forked" in sys.argv:
    from rtcio_sync.garbage_collector import freeze_for_forks

    freeze_for_forks()
    more = [[] for _ in range(20_000)]  # an app
if "own" in sys.argv:
    gc.freeze()
    gc.disable()
before = gc.get_freeze_count()


def ready(port):
    print(gc.get_freeze_count() - before, gc.isenabled())
    server.stop()


server.listen(0, ready=ready)
print(gc.get_freeze_count() - before)
"""


def counts(*arguments: str) -> list[str]:
    """What a process prints that serves for a moment."""
    command = [sys.executable, "-c", SERVES, *arguments]
    return subprocess.check_output(command, text=True, timeout=60).split()


def test_what_a_process_is_made_of_is_not_looked_at_while_it_serves() -> None:
    frozen, enabled, afterwards = counts()
    assert int(frozen) > 10_000
    assert enabled == "True"
    assert int(afterwards) <= 0


def test_a_process_that_has_frozen_its_objects_itself_is_left_alone() -> None:
    frozen, enabled, afterwards = counts("own")
    assert int(frozen) <= 0  # a frozen object may be freed meanwhile
    assert enabled == "False"
    assert -1000 < int(afterwards) <= 0


def test_a_fork_of_a_process_with_frozen_objects_freezes_those_of_its_app_too() -> None:
    frozen, enabled, _ = counts("forked")
    assert 20_000 <= int(frozen) < 40_000
    assert enabled == "True"
