"""A control actor that blocks the event loop: seen from outside, and what its cores have for it waits."""

import asyncio
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable

from processes import eventually, layout
from seen import unique
from splitplane.runtime.layout import Nic
from splitplane.runtime.runtime import Runtime
from talkers import Blocker, Burst

COMMAND = (sys.executable, "-m", "splitplane")
MORE = """
reports_to = "blocker"
[[group.web.listen]]
port = "tcp:{echo}"
actor = "survivors:Echo"
[control.blocker]
actor = "talkers:Blocker"
[metrics]
listen = "127.0.0.1:{metrics}"
"""


def said(*words: str) -> str:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def silent_seconds(port: int) -> float:
    """As the metrics' thread tells it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    (value,) = (
        line.split()[1] for line in lines if line.startswith("splitplane_control_silent_seconds ")
    )
    return float(value)


def look(name: str, echo: int, metrics: int) -> None:
    """Everything that must go on while the event loop stands still."""
    assert Blocker.blocked.wait(30)
    try:
        assert eventually(lambda: silent_seconds(metrics) > 3, 60)
        assert "CONTROL PLANE SILENT for " in said("stats", name)
        assert "CONTROL PLANE SILENT for " in said("top", name, "--once")
        before = json.loads(said("stats", name, "--json"))
        assert before["control_plane"]["silent_seconds"] > 3
        assert before["cores"][0]["counters"]["told"] == 1000
        with socket.create_connection(("127.0.0.1", echo), timeout=20) as client:
            for _ in range(10):
                client.sendall(b"still here")
                assert client.recv(10, socket.MSG_WAITALL) == b"still here"
    finally:
        Blocker.go_on.set()


def test_a_control_actor_that_blocks(free_port: Callable[[], int]) -> None:
    """`stats`, `top` and the metrics, whose thread answers on, say for how long; cores serve on; no message is lost."""
    port, echo, metrics = free_port(), free_port(), free_port()
    more = MORE.format(echo=echo, metrics=metrics)
    made = layout(port, driver="kernel", actor="talkers:Talker", more=more)
    nic = {"front": Nic(driver="kernel", bind="127.0.0.1")}
    made = made.model_copy(update={"nic": nic, "name": unique("silent")})
    Blocker.blocked.clear()
    Blocker.go_on.clear()

    async def scene() -> None:
        async with Runtime(made) as runtime, asyncio.timeout(100):
            looking = asyncio.ensure_future(asyncio.to_thread(look, made.name, echo, metrics))
            runtime["web"][0].tell(Burst(count=1000, long=0))
            await looking
            blocker = runtime._running.mailboxes[0].actor
            assert isinstance(blocker, Blocker)
            while len(blocker.numbers) < 1000:
                await asyncio.sleep(0.001)
            assert blocker.numbers == list(range(1000))
            assert runtime.counters(0)["mailbox_full"] == 0
            heard = lambda: (
                silent_seconds(metrics) == 0 and "SILENT" not in said("stats", made.name)
            )
            assert await asyncio.to_thread(eventually, heard, 30)

    asyncio.run(scene())
