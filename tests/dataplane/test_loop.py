"""The loop: order of a turn, stopping, adoption, faults of handlers without a connection."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

SECOND = 1_000_000_000


def started(rig: Callable[..., Any], restarted: int = 0, **names: str) -> Any:
    """A rig on the bench transport and a virtual clock, with the script actor, some of its handlers replaced."""
    from rig import SCRIPT

    one = rig()
    one.lib.core_clock(one.core, SECOND)
    one.actor(names=SCRIPT | names, tick_period=10)
    one.attach("bench")
    assert one.lib.loop_start(one.core, restarted) == 0
    return one


def turn(one: Any, count: int = 1) -> None:
    for _ in range(count):
        one.lib.core_clock(one.core, one.core.now + 1_000_000)
        one.lib.loop_turn(one.core)


def handlers_run(one: Any) -> list[int]:
    return [entry.handler for entry in one.handlers.log]


@pytest.mark.parametrize("restarted", [0, 1])
def test_start_says_whether_it_restarted(rig: Callable[..., Any], restarted: int) -> None:
    """on_start runs once, first, and is told of an adoption."""
    one = started(rig, restarted)
    assert handlers_run(one) == [one.lib.ON_START]
    assert one.handlers.log[0].argument == restarted


@pytest.mark.parametrize("name", ["ON_START", "ON_TICK"])
def test_a_failing_start_or_tick_is_counted_and_harms_nobody(
    rig: Callable[..., Any], name: str
) -> None:
    """Faults without a connection are counted; connections go on."""
    one = started(rig, **{name: "failing"})
    peer = one.lib.bench_connect(one.core, 0, 1, 1)
    one.lib.bench_send(one.core, peer, b"=\x02ok", 4)
    turn(one, 15)
    assert one.counter("faults") == 1
    assert one.lib.bench_received(one.core, peer) == 2
    assert one.core.state.current == 0


def test_a_failing_close_still_closes(rig: Callable[..., Any]) -> None:
    """on_close may fail: the connection is gone, once, its record free."""
    one = started(rig, ON_CLOSE="failing")
    peer = one.lib.bench_connect(one.core, 0, 1, 1)
    one.lib.bench_reset(one.core, peer)
    turn(one, 3)
    assert one.counter("faults") == 1
    assert one.counter("closed") == 1
    assert one.core.state.live == 0


@pytest.mark.parametrize("name", ["ON_OPEN", "ON_END", "ON_TIMER", "ON_WRITABLE", "ON_DATA"])
def test_a_failing_handler_resets_its_connection(rig: Callable[..., Any], name: str) -> None:
    """Whichever handler of a connection fails: RST, on_close(CLOSE_FAULT) once."""
    one = started(rig, **{name: "failing"})
    lib, core = one.lib, one.core
    peer = lib.bench_connect(core, 0, 1, 1)
    if name == "ON_WRITABLE":
        lib.bench_window(core, peer, 0)
        lib.bench_send(core, peer, b"*\x01w", 3)
        turn(one, 2)
        lib.bench_window(core, peer, -1)
    lib.bench_send(core, peer, b"@\x02", 2)
    turn(one, 1)
    lib.bench_end(core, peer) if name == "ON_END" else None
    turn(one, 8)
    closed = [entry.argument for entry in one.handlers.log if entry.handler == lib.ON_CLOSE]
    assert closed == [lib.CLOSE_FAULT]
    assert lib.bench_state_of(core, peer) == lib.BENCH_RESET
    assert one.counter("faults") == 1


def test_adoption_resets_the_connection_in_hand_only(rig: Callable[..., Any]) -> None:
    """After a crash the record named by core_state.current is reset; listed records are listed again, once each."""
    one = started(rig)
    lib, core = one.lib, one.core
    peers = [lib.bench_connect(core, 0, 1, 1) for _ in range(5)]
    turn(one)
    records = [lib.bench_record(core, peer) for peer in peers]
    core.state.current = records[2]
    for record in records[3:]:
        core.records[record].flags |= lib.FLAG_PENDING | lib.FLAG_AGAIN
    assert lib.loop_start(core, 1) == 0
    assert core.again.count == 2
    assert core.pending.count == 3
    turn(one, 2)
    closed = [entry.argument for entry in one.handlers.log if entry.handler == lib.ON_CLOSE]
    assert closed == [lib.CLOSE_WORKER_LOST]
    assert core.state.live == 4
    for peer in (*peers[:2], *peers[3:]):
        lib.bench_send(core, peer, b"=\x02ok", 4)
    turn(one, 2)
    assert [lib.bench_received(core, peer) for peer in peers] == [2, 2, 0, 2, 2]


def test_run_counts_turns_and_moves_the_heartbeat(rig: Callable[..., Any]) -> None:
    """loop_run makes as many turns as it is told, each one a heartbeat and a count; idle ones aren't busy."""
    one = started(rig)
    before = one.core.state.heartbeat
    one.lib.loop_run(one.core, 100)
    assert one.core.state.heartbeat - before == 100
    assert one.counter("turns") == 100
    assert one.counter("busy_turns") == 0


@pytest.mark.parametrize("wanted", ["CORE_DRAINING", "CORE_STOPPED"])
def test_run_ends_when_it_is_wanted_to(rig: Callable[..., Any], wanted: str) -> None:
    """The controller's word, from another thread, ends the loop; live connections are closed first."""
    one = started(rig)
    lib, core = one.lib, one.core
    core.virtual_clock = 0
    core.config.drain_milliseconds = 50
    for _ in range(3):
        lib.bench_connect(core, 0, 1, 1)
    thread = threading.Thread(target=lib.loop_run, args=(core, 0))
    thread.start()
    time.sleep(0.02)
    assert core.state.run == lib.CORE_RUNNING
    core.state.wanted = getattr(lib, wanted)
    thread.join(20)
    assert not thread.is_alive()
    assert core.state.run == lib.CORE_STOPPED
    assert core.state.live == 0
    closed = [entry.argument for entry in one.handlers.log if entry.handler == lib.ON_CLOSE]
    assert closed == [lib.CLOSE_SHUTDOWN] * 3


def test_many_faults_do_not_slow_a_turn_out_of_proportion(rig: Callable[..., Any]) -> None:
    """A flood of faults leaves the core to the others: in the turn with 60 failing connections a good one is answered,
    and all but ten of the faults took the quiet entry."""
    one = started(rig)
    lib, core = one.lib, one.core
    good = lib.bench_connect(core, 0, 1, 1)
    for round_number in range(50):
        for _ in range(60):
            peer = lib.bench_connect(core, 0, 1, 1)
            lib.bench_send(core, peer, b"!", 1)
        lib.bench_send(core, good, b"=\x01a", 3)
        lib.loop_turn(core)
        assert lib.bench_received(core, good) == round_number + 1
    assert one.counter("faults") == 3000
    assert one.counter("faults_quiet") == 2990
