"""What a request to the Engine.IO endpoint says."""

from __future__ import annotations

import urllib.parse

from hypothesis import example, given
from hypothesis import strategies as st

from rtcio_sync.engineio.requests import query_of


@given(st.text(alphabet="ab=&%+;2 \xe9", max_size=20))
@example("EIO=4&transport=polling&t=PxyZ")
@example("sid=a&sid=b&&=c&d=&e")
@example("transport=web%73ocket")
def test_a_query_is_read_as_the_standard_library_reads_it(text: str) -> None:
    assert query_of(text) == urllib.parse.parse_qs(text)
