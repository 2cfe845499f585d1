"""Messages between a core's actors and the control plane: dispatch, replies, bounds, full rings."""

import mmap
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from splitplane.dataplane.ring import ASK, EVENT, EVERY_LISTENER, REPLY, TELL, Ring, ring_bytes

CONTROL = 64
ANSWERED, FAILING = 5, 6


class Mail:
    """A core with rings to and from the control plane, on a virtual clock."""

    def __init__(self, rig: Any, cells: int = 64, listeners: int = 1) -> None:
        self.rig, self.lib, self.core = rig, rig.lib, rig.core
        self.lib.core_clock(self.core, 1_000_000_000)
        size = ring_bytes(cells)
        self.memory = mmap.mmap(-1, 2 * size)
        self.out = Ring.format(self.memory, cells)
        self.into = Ring.format(self.memory, cells, size)
        self.lib.core_peer(self.core, CONTROL, self.out.pointer, self.into.pointer)
        for number in range(listeners):
            actor = rig.actor(reports_to=9, number=3 + number)
            for slot, (type_, function) in enumerate(
                [(ANSWERED, "script_message"), (FAILING, "failing")]
            ):
                entry = rig.ffi.cast("handler_entry", rig.handlers.address(function))
                actor.messages[slot].type = type_
                actor.messages[slot].reporting = actor.messages[slot].quiet = entry
                actor.messages[slot].reply_length = 8
            actor.message_count = 2
        rig.attach("bench")
        assert self.lib.loop_start(self.core, 0) == 0
        rig.handlers.reset()

    def turn(self, count: int = 1) -> None:
        for _ in range(count):
            self.lib.loop_turn(self.core)

    def replies(self) -> list[Any]:
        got = []
        while (message := self.out.get()) is not None:
            got.append(message)
        self.out.advance()
        return got

    def ran(self) -> list[int]:
        return [entry.handler for entry in self.rig.handlers.log]


@pytest.mark.parametrize(
    ("target", "times"), [(0, 1), (2, 1), (EVERY_LISTENER, 3), (3, 0), (200, 0)]
)
def test_a_tell_reaches_its_target(rig: Callable[..., Any], target: int, times: int) -> None:
    """A listener's number reaches that actor, 255 every one, an unknown number nobody, counted."""
    mail = Mail(rig(), listeners=3)
    assert mail.into.put(ANSWERED, b"12345678", kind=TELL, target=target)
    mail.turn()
    assert mail.ran() == [mail.lib.HANDLER_COUNT] * times
    assert mail.rig.counter("messages_unknown") == (times == 0)
    assert mail.replies() == []


def test_an_ask_is_answered_with_its_tag(rig: Callable[..., Any]) -> None:
    """Each ASK has one REPLY of its own type and tag, even to every listener."""
    mail = Mail(rig(), listeners=2)
    for tag in (1, 77, (1 << 24) - 1):
        mail.into.put(ANSWERED, b"abcdefgh", kind=ASK, target=EVERY_LISTENER, tag=tag)
    mail.turn()
    got = mail.replies()
    assert [(m.kind, m.type, m.tag, m.payload) for m in got] == [
        (REPLY, ANSWERED, tag, b"hgfedcba") for tag in (1, 77, (1 << 24) - 1)
    ]


@pytest.mark.parametrize("type_", [FAILING, 4000])
def test_an_ask_that_fails_says_so(rig: Callable[..., Any], type_: int) -> None:
    """A fault, or a type nobody handles, answers with type 0 and no bytes: nobody waits for ever."""
    mail = Mail(rig())
    mail.into.put(type_, b"", kind=ASK, target=0, tag=12)
    mail.turn()
    replies = [m for m in mail.replies() if m.kind == REPLY]
    assert [(m.type, m.tag, m.payload) for m in replies] == [(0, 12, b"")]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asks=st.lists(st.booleans(), min_size=60, max_size=200),
    reads=st.lists(st.integers(0, 5), min_size=10, max_size=60),
)
def test_replies_survive_a_full_ring(
    rig: Callable[..., Any], asks: list[bool], reads: list[int]
) -> None:
    """While the ring towards the asker is full its messages wait; none is lost, doubled or answered out of order."""
    one = rig(connections=4, busy_blocks=4, buffer_bytes=1 << 20)
    mail = Mail(one)
    one.handlers.reset()
    for number in range(64):
        assert mail.out.put(number % 4, b"", kind=TELL, target=0)
    expected = [number for number, ask in enumerate(asks) if ask]
    tags: list[int] = []
    waiting = list(enumerate(asks))
    for step in [*reads, *([50] * 20)]:
        while waiting and mail.into.put(
            ANSWERED, b"x" * 8, kind=ASK if waiting[0][1] else TELL, target=0, tag=waiting[0][0]
        ):
            waiting.pop(0)
        mail.turn()
        got = [mail.out.get() for _ in range(step)]
        tags += [message.tag for message in got if message and message.kind == REPLY]
        mail.out.advance()
    assert not waiting
    assert tags == expected
    assert mail.ran() == [mail.lib.HANDLER_COUNT] * len(asks)


def test_a_turn_takes_a_bounded_number(rig: Callable[..., Any]) -> None:
    """A flood of messages does not hold a turn: what is over the bound waits for the next."""
    mail = Mail(rig(), cells=1024)
    for _ in range(1000):
        assert mail.into.put(ANSWERED, b"x" * 8, kind=TELL, target=0)
    mail.turn()
    first = len(mail.ran())
    assert 0 < first < 200
    mail.turn(100)
    assert len(mail.ran()) == 1000


def test_a_tell_to_a_full_mailbox_is_refused_and_counted(rig: Callable[..., Any]) -> None:
    """self.tell never blocks: what finds the ring full is counted, and the messages before it are whole."""
    mail = Mail(rig())
    core = mail.core
    mail.lib.core_clock(core, 2_000_000_000)
    peer = mail.lib.bench_connect(core, 0, 1, 1)
    script = b">\x04tell" * 200
    mail.lib.bench_send(core, peer, script, len(script))
    mail.turn(10)
    got = mail.replies()
    assert all((m.kind, m.type, m.target, m.payload) == (TELL, 7, 9, b"tell") for m in got)
    assert len(got) == mail.rig.counter("told") == 200 - mail.rig.counter("mailbox_full")
    assert mail.rig.counter("mailbox_full") >= 100
    assert mail.rig.counter("faults") == 0


def test_faults_are_told_ten_times_a_second(rig: Callable[..., Any]) -> None:
    """Each report carries the bytes and the state; past ten a second the quiet entry runs, and the next report counts
    what went untold."""
    mail = Mail(rig(), cells=1024)
    lib, core, ffi = mail.lib, mail.core, mail.rig.ffi
    lib.core_clock(core, 5_000_000_000)

    def fail(times: int) -> None:
        for _ in range(times):
            peer = lib.bench_connect(core, 0, 1, 1)
            lib.bench_send(core, peer, b"!and more", 9)
            lib.loop_turn(core)

    fail(40)
    lib.core_clock(core, 6_100_000_000)
    fail(1)
    reports = mail.replies()
    assert [m.kind for m in reports] == [EVENT] * 11
    counts = []
    for message in reports:
        fault = ffi.new("struct fault_event *")
        ffi.memmove(fault, message.payload, len(message.payload))
        counts.append(fault.count)
        assert (fault.actor, fault.handler) == (3, lib.ON_DATA)
        assert bytes(ffi.buffer(fault.data, fault.data_length)) == b"!and more"
        assert fault.data_total == 9
        assert fault.handle != 0
    assert counts == [1] * 10 + [31]
    assert mail.rig.counter("faults") == 41
    assert mail.rig.counter("faults_quiet") == 30


def test_faults_without_a_connection_are_counted_and_told(rig: Callable[..., Any]) -> None:
    """A failing @on handler resets nobody and is reported."""
    mail = Mail(rig())
    mail.into.put(FAILING, b"abc", kind=TELL, target=0)
    mail.turn()
    (report,) = mail.replies()
    fault = mail.rig.ffi.new("struct fault_event *")
    mail.rig.ffi.memmove(fault, report.payload, len(report.payload))
    assert (fault.handle, fault.handler) == (0, mail.lib.HANDLER_COUNT + FAILING)
    assert mail.rig.counter("faults") == 1
