"""Strategies for JSON: any value, and any way to write it (white space, escapes, numbers)."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

WHITE = st.text(alphabet=" \t\n\r", max_size=2)

SHORT_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r",
    "\t": "\\t",
}  # fmt: skip

#: Any JSON value. Lone surrogates are left out of its strings: no UTF-8 could carry them as
#: themselves, and `spelt` writes some of the others as escapes anyway.
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def spelt(draw: st.DrawFn, value: Any) -> str:
    """Some text that is ``value`` in JSON."""
    if isinstance(value, str):
        return '"' + "".join(draw(_character(each)) for each in value) + '"'
    if isinstance(value, dict):
        items = [f"{draw(spelt(k))}{draw(WHITE)}:{draw(_padded(v))}" for k, v in value.items()]
        return "{" + draw(WHITE) + f",{draw(WHITE)}".join(items) + draw(WHITE) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(draw(_padded(each)) for each in value) + draw(WHITE) + "]"
    if isinstance(value, float) and draw(st.booleans()):
        return f"{value:.17e}"
    return json.dumps(value)


@st.composite
def _padded(draw: st.DrawFn, value: Any) -> str:
    return draw(WHITE) + draw(spelt(value)) + draw(WHITE)


def _character(each: str) -> st.SearchStrategy[str]:
    forms = [json.dumps(each)[1:-1]]
    if each in SHORT_ESCAPES:
        forms.append(SHORT_ESCAPES[each])
    elif each >= " ":
        forms.append(each)
    units = each.encode("utf-16-be", "surrogatepass")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    forms.append("".join(f"\\u{code:04X}" for code in codes))
    return st.sampled_from(forms)


def wide(value: Any) -> Any:
    """``value`` with its numbers as JavaScript has them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return float(value)
    if isinstance(value, dict):
        return {key: wide(each) for key, each in value.items()}
    if isinstance(value, list):
        return [wide(each) for each in value]
    return value
