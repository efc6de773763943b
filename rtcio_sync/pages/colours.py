"""The page's colours from one colour: readable on light and on dark ground. Pure functions."""

from __future__ import annotations

import re

from ..errors import OptionError

__all__ = ["contrast", "theme"]

# The grounds in static/style.css on which the accent is text or the ground of text.
_LIGHT, _DARK = (0xF2, 0xF4, 0xF3), (0x1A, 0x22, 0x20)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_ENOUGH = 4.6  # WCAG 2.2, 1.4.3 asks for 4.5; the rest is for rounding

Colour = tuple[int, int, int]


def theme(accent: str) -> str:
    """A style sheet that makes ``accent`` (``#rgb`` or ``#rrggbb``) the page's colour.

    Where its contrast is too low it is made darker, or lighter in the dark scheme. Raises
    `OptionError` for anything that is no such colour.
    """
    asked = _read(accent)
    light, dark = _readable(asked, _LIGHT, _BLACK), _readable(asked, _DARK, _WHITE)
    return (
        f":root {{ {_rule(light)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_rule(dark)} }} }}\n"
    )


def contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio of WCAG 2.2: 1 for equal colours, 21 for black and white."""
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _read(text: str) -> Colour:
    if not isinstance(text, str) or not re.fullmatch(r"#([0-9a-fA-F]{3}){1,2}", text):
        raise OptionError(f"accent must be a colour like #7b2d8b, not {text!r}")
    digits = text[1:] if len(text) == 7 else "".join(each * 2 for each in text[1:])
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _luminance(colour: Colour) -> float:
    shares = [value / 255 for value in colour]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _readable(colour: Colour, ground: Colour, towards: Colour) -> Colour:
    for share in range(21):
        red, green, blue = (
            round(own + (end - own) * share / 20) for own, end in zip(colour, towards, strict=True)
        )
        if contrast((red, green, blue), ground) >= _ENOUGH:
            break
    return red, green, blue


def _rule(colour: Colour) -> str:
    text = max(_WHITE, _BLACK, key=lambda each: contrast(each, colour))
    return f"--accent: {_hex(colour)}; --on-accent: {_hex(text)};"


def _hex(colour: Colour) -> str:
    return "#" + bytes(colour).hex()
