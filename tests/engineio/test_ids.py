"""The ids that clients get: their lengths, and the process that they name."""

from __future__ import annotations

import re

import pytest

from rtcio_sync.engineio import ids


def test_an_id_begins_with_that_of_its_process_and_is_new() -> None:
    made = [ids.new_sid("node") for _ in range(100)]
    assert len(set(made)) == 100
    assert all(re.fullmatch(r"node[\w-]{16}", each) and len(each) == ids.SID for each in made)


@pytest.mark.parametrize("process", ["", "node"])
def test_a_key_to_a_session_has_one_length_in_one_process_or_several(process: str) -> None:
    made = [ids.new_pid(process) for _ in range(100)]
    assert len(set(made)) == 100
    assert all(each.startswith(process) and len(each) == ids.PID for each in made)


@pytest.mark.parametrize("name", ["", "abc", "abcde", "../a", ".abc", "ab/c", "ab\0c", "äbcd"])
def test_what_is_no_id_is_no_name_of_a_file(name: str) -> None:
    assert not ids.is_node(name)
