"""Origins as an app names them: those that a browser sends, and what was meant by the others."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rtcio_sync.config.origins import check_origins, parse_origins, same_site
from rtcio_sync.errors import OptionError
from tests.unrun import coroutine, generator
from tests.values import BROWSER_ORIGINS

NEVER = {
    "a.com": "write https://a.com",
    "localhost:3000": "write http://localhost:3000",
    "//a.com": "write https://a.com",
    "https:a.com": "write https://a.com",
    "https://a.com/": "no path: write https://a.com$",
    "https://a.com/app": "no path: write https://a.com$",
    "https://a.com?x=1": "no path: write https://a.com$",
    "https://a.com#x": "no path: write https://a.com$",
    "https://A.com": "lower case: write https://a.com$",
    "HTTPS://a.com": "lower case: write https://a.com$",
    "https://a.com:443": "default port: write https://a.com$",
    "http://a.com:80": "default port: write http://a.com$",
    " https://a.com": "white space around it: write https://a.com$",
    "https://a.com\n": "white space around it: write https://a.com$",
    "https://a.com.": "ends with a dot: write https://a.com$",
    "wss://a.com": "not of the WebSocket: write https://a.com$",
    "http://a,http://b": re.escape("give a list, ['http://a', 'http://b']"),
    "http://a, http://b": re.escape("give a list, ['http://a', 'http://b']"),
    "http://a http://b": re.escape("give a list, ['http://a', 'http://b']"),
    "https://*.a.com": re.escape(r"re.compile(r'https://[a-z0-9-]+\.a\.com')"),
    "*.a.com": "compile",
    "https://a.com:*": "compile",
    r"https://.*\.a\.com": re.escape(r"re.compile(r'https://.*\.a\.com')"),
    "https://b\xfccher.example": "write https://xn--bcher-kva.example$",
    "": "name an origin",
    "https://": "like https://example.com",
    "https://user@a.com": "like https://example.com",
    "https://a.com:99999": "like https://example.com",
    "https://a..com": "like https://example.com",
    "http://[0:0:0:0:0:0:0:1]": r"write http://\[::1\]$",
    "http://127.1": "like https://example.com",
    "capacitor://localhost/": "no path: write capacitor://localhost$",
    "Capacitor://localhost": "lower case: write capacitor://localhost$",
    "file:///index.html": "no path: write file://$",
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("origin", NEVER)
def test_an_origin_that_no_browser_sends_is_refused_with_what_was_meant(
    origin: str, several: bool
) -> None:
    rule = ["https://good.example", origin] if several else origin
    with pytest.raises(OptionError, match=NEVER[origin]):
        check_origins(rule)


@pytest.mark.parametrize(
    "rule",
    [
        True,
        False,
        3,
        b"https://a.com",
        {"origin": "*"},
        object(),
        (),
        set(),
        [None],
        [True],
        [["https://a.com"]],
        re.compile(b"https://a.com"),
        coroutine,
        generator,
        lambda: True,
        lambda origin, environ, more: True,
    ],
    ids=lambda rule: re.sub(r" at 0x[0-9a-f]+", "", repr(rule)),
)
def test_what_is_no_rule_for_origins_is_refused(rule: Any) -> None:
    with pytest.raises(OptionError, match=r"^cors_allowed_origins"):
        check_origins(rule)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("part", "whole"),
    [
        (r"\.example\.com$", r"https://[a-z0-9-]+\.example\.com"),
        (r"^example\.com$", r"https://example\.com"),
        ("example.com", "https://example.com"),
        (r"(?:shop|blog)\.example\.com", r"https://(?:shop|blog)\.example\.com"),
        (r"\w+-preview\.example\.com", r"https://\w+-preview\.example\.com"),
        ("", r"https://[a-z0-9-]+\.example\.com"),
    ],
)
def test_an_expression_that_no_origin_fits_is_refused_with_one_that_does(
    part: str, whole: str, several: bool
) -> None:
    """On Node it is enough that it fits a part."""
    rule = re.compile(part)
    with pytest.raises(OptionError, match=re.escape(f"write re.compile(r'{whole}')") + "$"):
        check_origins(["https://good.example", rule] if several else rule)
    check_origins(re.compile(whole))


@pytest.mark.parametrize(
    "expression",
    [
        r"^https?://example\.com$", r"http.+", r"...[a-z]+", r"[!-~]+", "null", r"(.)*", r".{3,}",
        r"\S+\.example\.com", r"\Ahttps\x3a//a\Z", r"localhost:\d+$", r"(\w+)\N{COLON}//a",
    ],
)  # fmt: skip
def test_an_expression_that_some_origin_may_fit_is_taken(expression: str) -> None:
    check_origins(re.compile(expression))


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        (r"^https://example\.com/$", "https://example.com"),
        (r"https:\/\/example\.com\/", "https://example.com"),
        (r"https://example\.com:443", "https://example.com"),
        ("https://Example.com", "https://example.com"),
    ],
)
def test_an_expression_for_one_text_that_no_browser_sends_is_refused(
    expression: str, meant: str
) -> None:
    with pytest.raises(OptionError, match=f"no browser sends what .*: write {meant}$"):
        check_origins(["https://good.example", re.compile(expression)])
    check_origins(re.compile(re.escape(meant)))


def test_an_expression_with_comments_is_taken() -> None:
    check_origins(re.compile("https : // a  # a comment", re.VERBOSE))


@pytest.mark.parametrize("shape", [str, lambda each: [each], lambda each: {each}])
@pytest.mark.parametrize("origin", BROWSER_ORIGINS)
def test_an_origin_as_a_browser_sends_it_is_taken(origin: str, shape: Any) -> None:
    check_origins(shape(origin))


@pytest.mark.parametrize(
    "rule",
    [None, "*", [], re.compile("https://.*"), ["*", re.compile("x")], lambda origin: True,
     lambda origin, environ: True, lambda origin, environ=None: True, lambda *both: True,
     "https://a.com".__eq__],
    ids=range(10),
)  # fmt: skip
def test_a_rule_may_be_nothing_any_an_expression_or_a_function(rule: Any) -> None:
    check_origins(rule)


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", "*"),
        (" * ", "*"),
        ("https://a.com", ["https://a.com"]),
        ("https://A.com:443 , http://b.com:80,", ["https://a.com", "http://b.com"]),
        ("capacitor://localhost,app://.", ["capacitor://localhost", "app://."]),
        ("http://[::1]:3000,http://b.com:443", ["http://[::1]:3000", "http://b.com:443"]),
    ],
)
def test_origins_of_a_command_line_are_parted_by_commas_and_mended(text: str, origins: Any) -> None:
    assert parse_origins(text) == origins


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("", "name an origin"),
        (" , ", "name an origin"),
        ("*,https://a.com", "any origin"),
        ("https://a.com/app", "no path: write https://a.com$"),
        ("a.com", "like https://example.com"),
        ("null", "like https://example.com"),
        ("https://*.a.com", "in Python"),
        ("https://a.com b.com", "like https://example.com"),
        ("https://a.com:8443/app?x=1", "no path: write https://a.com:8443$"),
    ],
)
def test_origins_of_a_command_line_that_are_none_are_refused(text: str, fix: str) -> None:
    with pytest.raises(OptionError, match=fix):
        parse_origins(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.com", "https://A.com:443"),
        ("http://a.com", " http://a.com:80"),
        ("https://a.com", "wss://a.com:443"),
        ("http://a.com:8080", "ws://a.com:8080"),
    ],
)
def test_two_spellings_of_one_origin_are_the_same(one: str, other: str) -> None:
    assert same_site(one) == same_site(other) == one


@pytest.mark.parametrize(
    "other", ["http://a.com", "https://a.com:80", "https://b.com", "https://a.com.evil.example"]
)
def test_another_scheme_port_or_host_is_another_origin(other: str) -> None:
    assert same_site(other) != same_site("https://a.com")
