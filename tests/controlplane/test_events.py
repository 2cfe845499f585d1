"""What befalls the cores, as messages: to a control actor of the layout and to the program, from real processes."""

import asyncio
import os
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import TOOLS, free_cpus, toml, until
from splitplane.events import (
    EVENTS,
    GroupQuarantined,
    HandlerFault,
    WorkerAdopted,
    WorkerDied,
    event_message,
    fault_message,
)
from splitplane.runtime.errors import AskError
from splitplane.runtime.layout import Layout
from splitplane.runtime.runtime import Runtime
from structlog.testing import capture_logs
from supervised import Witness
from talkers import Divide

RESTARTS = 2
LINES = (TOOLS / "talkers.py").read_text().splitlines()
WITNESS = """
[control.witness]
actor = "supervised:Witness"
"""


def two_groups(port: int, other: int) -> Layout:
    """`web` with a Talker and `edge` with an Echo, a core each, so that `web` can be given up; and a Witness."""
    more = 'reports_to = "clerk"\n[control.clerk]\nactor = "talkers:Clerk"\n' + WITNESS
    text = toml(port, actor="talkers:Talker", more=more)
    text = text.replace("restarts = 100000", f"restarts = {RESTARTS}")
    web, edge = free_cpus(2)
    text = text.replace(
        f"cpus = [{tomllib.loads(text)['group']['web']['cpus'][0]}]", f"cpus = [{web}]"
    )
    text += f"""
[group.edge]
cpus = [{edge}]
nic = "front"
[[group.edge.listen]]
port = "tcp:{other}"
actor = "survivors:Echo"
"""
    return Layout.model_validate(tomllib.loads(text)).located(TOOLS, "layout.toml")


async def die(runtime: Runtime) -> int:
    """Kills the worker of core 0 once there is one; its pid."""
    await until(lambda: runtime.workers[0].pid)
    pid, deaths = runtime.workers[0].pid, runtime.workers[0].deaths
    os.kill(pid, signal.SIGKILL)
    await until(lambda: runtime.workers[0].deaths > deaths)
    return pid


class Heard:
    """Iterations over every event, and the layout's control actor that keeps them too."""

    def __init__(self, runtime: Runtime) -> None:
        self.faults, self.deaths = runtime.messages(HandlerFault), runtime.messages(WorkerDied)
        self.adoptions = runtime.messages(WorkerAdopted)
        self.quarantines = runtime.messages(GroupQuarantined)
        actors = [box.actor for box in runtime._running.mailboxes]
        (self.witness,) = (actor for actor in actors if isinstance(actor, Witness))

    @property
    def waiting(self) -> int:
        """Events that nobody has read."""
        every = (self.faults, self.deaths, self.adoptions, self.quarantines)
        return sum(each.waiting for each in every)


async def fails(runtime: Runtime, heard: Heard) -> list[Any]:
    """A handler fails; what is told of it."""
    with pytest.raises(AskError):
        await runtime["web"][0].ask(Divide(by=0), timeout=20)
    fault = await anext(heard.faults)
    assert (fault.core, fault.actor, fault.handler) == (0, "talkers:Talker", "divide")
    assert (fault.count, fault.connection) == (1, 0)
    assert Path(fault.file).name == "talkers.py"
    assert "# fails" in LINES[fault.line - 1]
    assert fault.error.startswith("ZeroDivisionError: ")
    return [fault]


async def dies(runtime: Runtime, heard: Heard) -> list[Any]:
    """A worker dies and is replaced; what is told of it."""
    cpu, pid = runtime.workers[0].cpu, await die(runtime)
    died, adopted = await anext(heard.deaths), await anext(heard.adoptions)
    assert (died.core, died.cpu, died.pid, died.record) == (0, cpu, pid, 0)
    assert died.reason == "killed by SIGKILL"
    assert (adopted.core, adopted.cpu) == (0, cpu)
    assert adopted.pid == runtime.workers[0].pid != pid
    assert abs(adopted.outage_microseconds - runtime.workers[0].outage * 1e6) <= 1
    assert heard.deaths.sender is not None
    assert heard.deaths.sender.core_id == 0
    return [died, adopted]


async def is_given_up(runtime: Runtime, heard: Heard) -> list[Any]:
    """It dies once too often; what is told of it."""
    pid = await die(runtime)
    died, given_up = await anext(heard.deaths), await anext(heard.quarantines)
    assert died.pid == pid
    assert (given_up.core, given_up.name) == (0, "web")
    assert given_up.reason == "killed by SIGKILL"
    return [died, given_up]


def test_of_a_real_runtime(free_port: Callable[[], int]) -> None:
    """A fault, deaths, adoptions and a quarantine are told once each, in order, alike to `runtime.messages` and to `@on`
    methods, with what `runtime.workers` and the source know."""

    async def scene() -> None:
        async with Runtime(two_groups(free_port(), free_port())) as runtime, asyncio.timeout(60):
            heard = Heard(runtime)
            seen = await fails(runtime, heard)
            for _ in range(RESTARTS):
                seen += await dies(runtime, heard)
            last = await is_given_up(runtime, heard)
            await until(lambda: len(heard.witness.events) == len(seen) + len(last))
            told = [message for message, _ in heard.witness.events]
            assert told[: len(seen)] == seen
            assert sorted(map(repr, told[len(seen) :])) == sorted(map(repr, last))
            assert {core for _, core in heard.witness.events} == {0}
            assert heard.waiting == 0

    with capture_logs():
        asyncio.run(scene())


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300)


def cut(text: str, length: int) -> str:
    """The longest start of whole characters that fits."""
    while len(text.encode()) > length:
        text = text[:-1]
    return text


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_texts_are_cut_between_characters(actor: str, handler: str, file: str, error: str) -> None:
    """Of any text a field has the longest start of whole characters that fits, through the ring's bytes and back."""
    told = {"core": 1, "line": 7, "count": 2, "handle": -1}
    fault = fault_message(
        {**told, "actor": actor, "handler": handler, "file": file, "error": error}
    )
    fault = HandlerFault.from_bytes(fault.to_bytes())
    assert (fault.actor, fault.handler) == (cut(actor, 64), cut(handler, 32))
    assert (fault.file, fault.error) == (cut(file, 160), cut(error, 160))
    assert (fault.core, fault.line, fault.count, fault.connection) == (1, 7, 2, 2**64 - 1)
    died = event_message("died", {"core": 0, "cpu": 1, "pid": 2, "exit": error})
    assert isinstance(died, WorkerDied)
    assert (died.reason, died.record) == (cut(error, 112), 0)
    given_up = event_message("quarantined", {"group": handler, "cause": file})
    assert isinstance(given_up, GroupQuarantined)
    assert (given_up.name, given_up.reason) == (cut(handler, 32), cut(file, 160))


def test_what_is_no_event() -> None:
    """A first start is no adoption, and steps are nobody's news; a clock that went back gives no negative outage."""
    running = {"core": 0, "cpu": 1, "pid": 2}
    assert event_message("running", {**running, "outage": None}) is None
    assert event_message("step", {}) is None
    adopted = event_message("running", {**running, "outage": -0.5})
    assert isinstance(adopted, WorkerAdopted)
    assert adopted.outage_microseconds == 0
    assert {type(adopted), WorkerDied, GroupQuarantined, HandlerFault} == set(EVENTS)
