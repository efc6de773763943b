"""A room full of people, who are drawn: for what needs many, or always the same picture."""

from __future__ import annotations

from pathlib import Path

from tests.browser.tabs import Tab

SCRIPT = (Path(__file__).parent / "crowd.js").read_text()
NAMES = [
    "Ben", "Chidi", "Dilnoza", "Elif", "Farid", "Grace", "Hiro", "Inés", "Jonas", "Kavita",
    "Lena", "Mateo", "Noor", "Olga", "Priya",
]  # fmt: skip


class Crowd:
    """People beside the one in ``guest``'s room page, all in the page ``tab``."""

    def __init__(self, tab: Tab, guest: Tab, guest_sid: str, room: str) -> None:
        self._tab, self._guest, self._sid, self._room = tab, guest, guest_sid, room
        self._number = 0
        tab.page.goto(f"{tab.url}/health")
        tab.page.mouse.click(5, 5)  # a page may make sounds only after a click
        tab.page.evaluate(f"() => {{ {SCRIPT} }}")

    def grow_to(self, number: int, *, speaks: str = "", shares: str = "") -> list[str]:
        """Wait until ``number`` others are seen; gives the names of all."""
        coming = NAMES[self._number : number]
        people = [
            {
                "room": self._room, "name": name, "number": self._number + index,
                "target": self._sid, "speaks": name == speaks, "shares": name == shares,
            }
            for index, name in enumerate(coming)
        ]  # fmt: skip
        self._number = number
        self._tab.page.evaluate("(people) => startCrowd(people)", people)
        names = NAMES[:number]
        self._guest.wait_for_others(*sorted(names))
        self._guest.wait_for_video(*coming, more=1)
        return names

    def say(self, name: str, text: str) -> None:
        self._tab.page.evaluate("([name, text]) => say[name](text)", [name, text])
