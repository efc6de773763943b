"""Attacks by what an app's handlers do: they raise, compute, never return, or refuse.

The app is one with the handlers of `benchmarks.servers.misbehaving`. See `attacks`.
"""

from __future__ import annotations

import json
import time
from itertools import repeat

from tests.frames import masked
from tests.integration.hostile import Fate, Hostile
from tests.integration.scene import Scene, and_stays

#: How a handler may end, by the names of `benchmarks.servers.misbehaving.ENDS`.
ENDS = ("a timeout", "an exit", "killed", "an error")


def handlers_that_raise(scene: Scene) -> Fate:
    """Each in its own way, from within a room: whether the next event is still served."""
    hostile = scene.joined()
    hostile.say('4298["join","lair"]')
    hostile.until("4398[")
    hostile.say(*(f'42["raise","{end}"]' for end in ENDS))
    return and_stays(scene, hostile)


def burst_of_handlers(scene: Scene, number: int = 1000, milliseconds: float = 5) -> Fate:
    """So many events at once, and a handler that computes so long at each."""
    hostile = scene.deaf()
    event = masked(1, f'42["compute",{milliseconds}]'.encode())
    scene.sent, _ = hostile.push(repeat(event, number), scene.patience, reads=False)
    hostile.sock.settimeout(scene.patience + 3 * number * milliseconds / 1000)
    return and_stays(scene, hostile)


def handlers_that_never_return(scene: Scene, number: int = 20) -> Fate:
    """Clients whose handlers hang have left: whether the room hears of each."""
    witness = scene.joined()
    witness.say('4299["join","lair"]')
    witness.until("4399[")
    hanging = [Hostile(scene.port) for _ in range(number)]
    for hostile in hanging:
        hostile.join()
        hostile.say('4298["join","lair"]')
        hostile.until("4398[")
        hostile.say('42["never-return"]')
    gone = {hostile.sid for hostile in hanging}
    for hostile in hanging:
        hostile.sock.close()
    end = time.monotonic() + scene.notice
    try:
        while gone and (left := end - time.monotonic()) > 0:
            witness.sock.settimeout(left)
            gone.discard(json.loads(witness.until('42["#rtcio:peer-left"')[2:])[1]["id"])
    except TimeoutError:
        pass
    return Fate(f"{len(gone)} of {number} are ghosts") if gone else Fate("gone")


def put_out_while_let_in(scene: Scene) -> Fate:
    """The app's ``connect`` handler disconnects it: whether it is served all the same."""
    hostile = scene.hostile()
    hostile.say('40{"kick":true}', '4299["join","lair"]')
    hostile.sock.settimeout(scene.notice)
    refused = False
    try:
        while True:
            opcode, payload = hostile.frame()
            if opcode in (-1, 8):
                return Fate("closed")
            if payload.startswith(b"4399["):
                return Fate("is served")
            if payload.startswith((b"44", b"41")):
                # CONNECT may have been answered before: whether it is served as well, shows now.
                refused = True
                hostile.say("40")
            elif payload.startswith(b"40") and refused:
                return Fate("refused")
    except OSError:
        return Fate("refused" if refused else "is not answered")


def list_as_room(scene: Scene, number: int = 5) -> Fate:
    """What an app hands to ``enter_room`` as the client sent it."""
    hostile = scene.joined()
    hostile.say(*repeat('42["join",["a","b"]]', number))
    return and_stays(scene, hostile)


def rooms_squatted(scene: Scene, number: int = 1000) -> Fate:
    """So many rooms of a lobby, each under a password of the attacker's, and no answer is read."""
    hostile = scene.deaf()
    seats = ({"roomId": f"squat {each}", "name": "m", "password": "p"} for each in range(number))
    joins = (masked(1, f'42["join-room",{json.dumps(seat)}]'.encode()) for seat in seats)
    scene.sent, hung_up = hostile.push(joins, scene.patience, reads=False)
    return Fate("closed") if hung_up else and_stays(scene, hostile, '"census"')
