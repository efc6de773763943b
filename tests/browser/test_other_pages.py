"""The room page in one room with a page of somebody else's, that speaks the same protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import OpenTab
from tests.browser.tabs import Tab

PEER = (Path(__file__).parent / "peer.js").read_text()


class Other:
    """The other page, and what it has heard."""

    def __init__(
        self, tab: Tab, room: str, name: str | None = "Zoe", *, camera: bool = True
    ) -> None:
        self.tab = tab
        tab.page.goto(f"{tab.url}/health")  # of the server, but a page without anything in it
        tab.page.evaluate(f"() => {{ {PEER} }}")
        tab.page.evaluate("startPeer", {"room": room, "name": name, "camera": camera})

    @property
    def id(self) -> str:
        found: str = self.tab.page.evaluate("peer.id")
        return found

    def heard(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.tab.page.evaluate(
            "(what) => peer.log.filter((each) => each.what === what)", what
        )
        return found

    def wait_for(self, condition: str, argument: Any = None) -> None:
        self.tab.wait(condition, argument)

    def wait_for_ctrl(self, event: str) -> list[Any]:
        """The arguments of the last ``event`` on a ctrl channel."""
        self.wait_for(
            "(event) => peer.log.some((each) => each.what === 'ctrl' && each.envelope.e === event)",
            event,
        )
        said = [each["envelope"] for each in self.heard("ctrl") if each["envelope"]["e"] == event]
        assert all(set(envelope) == {"e", "d"} for envelope in said)
        found: list[Any] = said[-1]["d"]
        return found

    def wait_for_video(self) -> None:
        frames = self.tab.page.evaluate("() => peer.frames()")
        self.wait_for(
            "(before) => peer.frames().some((now, index) => now > (before[index] ?? 0) + 3)", frames
        )


@pytest.fixture
def pair(request: pytest.FixtureRequest, open_tab: OpenTab, room: str) -> tuple[Tab, Other]:
    """Ada at the room page, and Zoe at the other one, who comes after her (or "before")."""
    if getattr(request, "param", "after") == "before":
        other = Other(open_tab(), room)
        ada = open_tab().open(room, "Ada")
    else:
        ada = open_tab().open(room, "Ada").wait_inside()
        other = Other(open_tab(), room)
    other.wait_for("() => peer.log.some((each) => each.what === 'peer-connect')")
    return ada, other


each_way = pytest.mark.parametrize("pair", ["before", "after"], indirect=True)


@each_way
def test_each_sees_the_other(pair: tuple[Tab, Other]) -> None:
    ada, other = pair
    ada.wait_for_video("Zoe")
    other.wait_for_video()
    assert other.heard("error") == []


@each_way
def test_the_camera_comes_with_its_event(pair: tuple[Tab, Other]) -> None:
    ada, other = pair
    other.wait_for("() => peer.log.some((each) => each.what === 'stream')")
    (told,) = other.heard("stream")
    mid = told["mid"]
    assert mid in {track["mid"] for track in other.heard("track")}
    assert told["events"] == {
        "camera": [{"id": told["id"], "name": "Ada", "stream": f"[RTCIOStream] {mid}"}]
    }

    ada.press("Share screen")
    other.wait_for("() => peer.log.filter((each) => each.what === 'stream').length === 2")
    screen = other.heard("stream")[1]
    assert list(screen["events"]) == ["screen"]
    assert screen["events"]["screen"][0]["stream"] == f"[RTCIOStream] {screen['mid']}"


@each_way
def test_chat_goes_both_ways(pair: tuple[Tab, Other]) -> None:
    ada, other = pair
    ada.wait_for_others("Zoe")
    other.tab.page.evaluate("peer.say('chat', { text: 'as an object', name: 'Zoe' })")
    ada.wait_for_message("as an object")
    other.tab.page.evaluate("peer.say('chat', 'as a string')")
    ada.wait_for_message("as a string")
    ada.say("hello")
    (said,) = other.wait_for_ctrl("chat")
    assert (said["text"], said["name"]) == ("hello", "Ada")


def test_candidates_travel_one_by_one_and_an_empty_one_ends_them(pair: tuple[Tab, Other]) -> None:
    _, other = pair
    other.wait_for(
        "() => peer.log.some((each) => each.what === 'candidate' && !each.candidate.candidate)"
    )
    candidates = [each["candidate"] for each in other.heard("candidate")]
    assert all(isinstance(each["candidate"], str) and "sdpMid" in each for each in candidates)
    assert candidates[0]["candidate"].startswith("candidate:")
    assert other.heard("error") == []


@pytest.mark.parametrize("site", ["gunicorn"], indirect=True, scope="session")
def test_a_live_peer_is_not_called_twice(pair: tuple[Tab, Other], room: str) -> None:
    ada, other = pair
    ada.wait_for_video("Zoe")
    other.wait_for_video()
    other.tab.page.evaluate("(room) => peer.emit('call-again', room)", room)
    # What Ada says has come after whatever the repeated call made her do.
    ada.wait("() => document.querySelectorAll('#people-tiles .tile').length === 2")
    other.tab.page.evaluate("peer.say('chat', 'did you hear it twice?')")
    ada.wait_for_message("did you hear it twice?")
    ada.wait_for_video("Zoe")
    other.wait_for_video()
    messages = [
        each["payload"]["data"] for each in other.heard("server") if "data" in each["payload"]
    ]
    offers = [each for each in messages if each.get("description", {}).get("type") == "offer"]
    assert len({each["description"]["sdp"].split()[1] for each in offers}) <= 1
    assert len(other.heard("peer-connect")) == 1
    assert other.heard("error") == []


def test_nothing_that_a_peer_says_becomes_a_part_of_the_page(pair: tuple[Tab, Other]) -> None:
    ada, other = pair
    ada.wait_for_others("Zoe")
    for event in (
        "'chat', { text: '<img src=x onerror=alert(1)>' }",
        "'chat', { text: 7 }", "'chat'", "'chat', null", "'name', { name: 7 }", "'name'",
        "'media-state', null", "'media-state', { mic: 'no' }", "'stopScreenShare'",
        "'peer-disconnect', { id: 'x' }", "'#rtcio:message', {}", "'moved', { id: 7 }", "'moved'",
        "'chat', 'the last'",
    ):  # fmt: skip
        other.tab.page.evaluate(f"peer.say({event})")
    other.tab.page.evaluate("Object.values(peer.calls)[0].ctrl.send('no JSON')")
    other.tab.page.evaluate("Object.values(peer.calls)[0].ctrl.send('null')")
    ada.wait_for_message("the last")
    said = ada.page.locator("#messages li:not(.event) p").all_text_contents()
    assert said == ["<img src=x onerror=alert(1)>", "the last"]
    assert ada.page.locator("#messages img").count() == 0
    assert ada.others() == ["Zoe"]


def test_who_has_left_the_room_is_not_sent_anything_more(
    pair: tuple[Tab, Other], room: str
) -> None:
    ada, other = pair
    ada.wait_for_video("Zoe")
    other.tab.page.evaluate("(room) => peer.emit('leave-room', { roomId: room })", room)
    other.wait_for("() => peer.log.some((each) => each.what === 'peer-disconnect')")
    ada.wait_for_others()
    other.tab.page.evaluate("() => { peer.calls = {}; }")
    other.tab.page.evaluate("(room) => peer.emit('join-room', { roomId: room, name: 'Zoe' })", room)
    ada.wait_for_video("Zoe")


def test_somebody_without_a_name_or_a_camera_is_there_too(open_tab: OpenTab, room: str) -> None:
    ada = open_tab().open(room, "Ada").wait_inside()
    other = Other(open_tab(), room, None, camera=False)
    other.wait_for("() => peer.log.some((each) => each.what === 'peer-connect')")
    ada.wait_for_others("Somebody")
    other.wait_for_video()
    other.tab.page.evaluate("peer.say('chat', 'hello')")
    ada.wait_for_message("hello")


def test_who_is_not_in_the_room_cannot_call_into_it(open_tab: OpenTab, room: str) -> None:
    ada = open_tab().open(room, "Ada").wait_inside()
    friend = Other(open_tab(), room)
    stranger = Other(open_tab(), f"{room}-next-door", "Eve")
    ada.wait_for_video("Zoe")
    (target,) = {each["id"] for each in friend.heard("peer-connect")}
    offer = """async (target) => {
      const pc = new RTCPeerConnection();
      pc.addTransceiver("video");
      await pc.setLocalDescription();
      const data = { description: pc.localDescription };
      peer.emit("#rtcio:message", { source: peer.id, target, data });
    }"""
    stranger.tab.page.evaluate(offer, target)
    # What the stranger is not answered has been heard when what comes after it is answered.
    friend.tab.page.evaluate("peer.say('chat', 'still here')")
    ada.wait_for_message("still here")
    ada.wait_for_others("Zoe")
    assert [e for e in stranger.heard("server") if e["event"] == "#rtcio:message"] == []
