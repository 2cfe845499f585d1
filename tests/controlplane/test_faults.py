"""Faults told by a core become log events that name actor, handler, file and line, whoever found the line."""

import inspect
from typing import Any

import structlog
from splitplane import Config, Connection, ControlActor, DataActor, Message, Sender, State, View, on
from splitplane.controlplane.faults import REPLAYS, FaultLog, Replayer
from splitplane.dataplane.fault_event import HANDLER_COUNT, FaultEvent
from splitplane.runtime.config import config_of
from splitplane.runtime.schema import schema_of
from splitplane.runtime.spec import HANDLERS
from splitplane.types import u32
from structlog.testing import capture_logs

ON_DATA = HANDLERS.index("on_data")


class Settings(Config):
    limit: u32 = 3


class Session(State):
    bad: u32


class Poke(Message):
    by: u32


class Picky(DataActor):
    config: Settings

    def on_data(self, connection: Connection[Session], data: View) -> int:
        if connection.state.bad == 7:
            raise ValueError("seven")  # here
        if self.config.limit == 9:
            return data[100]
        while data[0] == 33 and connection.state.bad == 8:
            connection.state.bad = 8
        return len(data)

    @on(Poke)
    def poke(self, message: Poke) -> None:
        self.config.limit // message.by


class Reporter(ControlActor):
    @on(Poke)
    async def poke(self, message: Poke, sender: Sender) -> None: ...


SCHEMA = schema_of([Picky, Reporter])
LINES, FIRST = inspect.getsourcelines(Picky)


def line_of(text: str) -> int:
    return FIRST + next(number for number, line in enumerate(LINES) if text in line)


def event(**values: Any) -> FaultEvent:
    whole = {
        "handle": 5,
        "actor": 0,
        "handler": ON_DATA,
        "line": 0,
        "faults": 1,
        "data": b"!x",
        "data_total": 2,
        "state": bytes(32),
        "where": "",
    }
    return FaultEvent(**{**whole, **values})


def logged(limit: int, *events: FaultEvent) -> list[dict[str, Any]]:
    config = config_of(Settings, {"limit": limit}).to_bytes()
    with capture_logs() as entries:
        log = FaultLog(structlog.get_logger(), SCHEMA, [Picky], Replayer(SCHEMA, [config]))
        for each in events:
            log.told(3, each)
    assert log.faults == sum(each.faults for each in events)
    return [dict(entry) for entry in entries]


def test_line_from_the_core() -> None:
    """What the core knows is taken as it is."""
    (entry,) = logged(3, event(where="hello.py: ValueError: no: never", line=12, faults=40))
    assert entry["event"] == "handler_fault"
    assert entry["actor"].endswith(":Picky")
    assert entry["handler"] == "on_data"
    assert (entry["core"], entry["count"], entry["handle"]) == (3, 40, 5)
    assert (entry["file"], entry["line"], entry["error"]) == (
        "hello.py",
        12,
        "ValueError: no: never",
    )


def test_line_by_replay() -> None:
    """With the connection's state, the bytes and the config as they were, the plain Python function fails at its line."""
    by_state, by_config, by_message = (
        *logged(3, event(state=(7).to_bytes(4, "little") + bytes(28))),
        *logged(9, event()),
        *logged(3, event(handler=HANDLER_COUNT + SCHEMA.number(Poke), data=bytes(4), data_total=4)),
    )
    assert by_state["line"] == line_of("# here")
    assert by_state["error"] == "ValueError: seven"
    assert by_state["file"].endswith("test_faults.py")
    assert by_config["line"] == line_of("data[100]")
    assert by_message["line"] == line_of("// message.by")
    assert by_message["handler"] == "poke"


def test_replay_that_comes_through_or_never_ends() -> None:
    """Then the line stays unknown, and the fault is reported all the same; floods are not replayed."""
    fine, endless = logged(
        3, event(), event(data=b"!", data_total=1, state=(8).to_bytes(4, "little") + bytes(28))
    )
    assert fine["line"] == endless["line"] == 0
    many = logged(9, *[event()] * (3 * REPLAYS))
    assert len(many) == 3 * REPLAYS
    assert 0 < sum(entry["line"] > 0 for entry in many) <= 2 * REPLAYS


def test_garbage() -> None:
    """Numbers of no actor and no handler are shown as they are."""
    (entry,) = logged(3, event(actor=77, handler=4000))
    assert entry["actor"] == 77
    assert entry["handler"] == 4000
    (entry,) = logged(3, event(handler=HANDLER_COUNT + 99))
    assert entry["line"] == 0
