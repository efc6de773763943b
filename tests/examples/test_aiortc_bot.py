"""The bot meets peers on another WebRTC stack: those it finds in the room, and those who come."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av
import pytest
from aiortc import AudioStreamTrack, VideoStreamTrack

from tests.examples.launch import EXAMPLES, program
from tests.integration.aiortc_peers import Background, Peer
from tests.integration.servers import Running, free_port
from tests.timing import DEADLINE


@pytest.fixture
def server() -> Iterator[Running]:
    command = [sys.executable, "-m", "rtcio_sync"]
    with program(command, environ={"HOST": "127.0.0.1"}) as server:
        yield server


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.stop()


@contextmanager
def bot(url: str, folder: Path) -> Iterator[None]:
    command = [sys.executable, str(EXAMPLES / "aiortc_bot.py"), url, "demo", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield
        assert process.poll() is None
    finally:
        process.terminate()
        print(process.communicate()[0])  # shown when the test fails


def frames(file: Path) -> int:
    try:
        with av.open(str(file)) as container:
            return sum(1 for _ in container.decode())
    except av.FFmpegError:  # nothing in it yet
        return 0


async def until(condition: Any, what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.1)


def test_aiortc_bot(server: Running, background: Background, tmp_path: Path) -> None:
    async def meet() -> None:
        sender = Peer("sender", VideoStreamTrack(), AudioStreamTrack())
        await sender.join(server.url, "demo")
        with bot(server.url, tmp_path):
            await until(lambda: sender.connections, "the bot did not come")
            sid = next(iter(sender.connections))
            await sender.say(sid, "chat", {"text": "is there an echo?"})
            assert await sender.hear(sid) == ["chat", {"text": "is there an echo?"}]

            late = Peer("late")
            await late.join(server.url, "demo")
            await late.say(sid, "chat", "and here?")
            assert await late.hear(sid) == ["chat", "and here?"]

            def files() -> list[Path]:
                return list(tmp_path.glob("*.mkv"))

            await until(lambda: len(files()) == 2, f"{files()}")
            await asyncio.sleep(5)  # of video and sound, on a machine with other work to do
            await sender.leave()
            await late.leave()
            # The bot closes its files when their sender has gone; until then they have no end.
            await until(lambda: all(frames(file) > 5 for file in files()), f"{files()}")
            assert {file.name.rpartition("-")[2] for file in files()} == {"audio.mkv", "video.mkv"}

    background.run(meet())


def test_the_bot_is_in_its_room_again_after_the_server_was_restarted(
    background: Background, tmp_path: Path
) -> None:
    command, port = [sys.executable, "-m", "rtcio_sync"], free_port()
    environ = {"HOST": "127.0.0.1"}

    async def meet(url: str, name: str) -> None:
        peer = Peer(name)
        await peer.join(url, "demo")
        await until(lambda: peer.connections, "the bot is not there")
        sid = next(iter(peer.connections))
        await peer.say(sid, "chat", "anybody there?")
        assert await peer.hear(sid) == ["chat", "anybody there?"]
        await peer.leave()

    with ExitStack() as stack:
        with program(command, environ=environ, port=port) as server:
            stack.enter_context(bot(server.url, tmp_path))
            background.run(meet(server.url, "before"))
            server.terminate()
        with program(command, environ=environ, port=port) as server:
            background.run(meet(server.url, "after"))
