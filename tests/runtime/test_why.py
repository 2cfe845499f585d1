"""`why`: each sentence is said when, and only when, what it says holds."""

import asyncio
import os
import time
from typing import Any

import numpy as np
import pytest
from processes import OURS, layout, until
from seen import LISTENER, attached, seen, unique
from splitplane.dataplane.peek import FLAGS, NEVER, STATES, row_dtype
from splitplane.dataplane.peer import Peer
from splitplane.nic.memory import Wire
from splitplane.runtime.facts import CoreFacts, Memory
from splitplane.runtime.runtime import Runtime
from splitplane.runtime.why import _Connection


def sentence(
    driver: str = "memory", state: str = "established", flags: str = "", **fields: int
) -> str:
    """What is said of a row with these fields, the others as an idle connection has them."""
    row = np.zeros(1, row_dtype())[0]
    for name in ("timer_due", "retransmit_due", "ack_due", "probe_due", "transport_due"):
        row[name] = NEVER
    for name, value in fields.items():
        row[name] = value
    row["state"] = STATES.index(state)
    row["flags"] = sum(FLAGS[flag] for flag in flags.split())
    memory = Memory(descriptor=3, device=0, inode=0, size=1)
    facts = CoreFacts(
        number=0,
        group="web",
        cpu=0,
        driver=driver,
        arena=memory,
        page_size=4096,
        rung="small",
        listeners=(LISTENER,),
    )
    return _Connection(facts, row).sentence()


CASES: list[tuple[dict[str, Any], str]] = [
    ({"idle": 3200}, "the peer's next bytes: it was last heard 3.2 s ago"),
    (
        {"idle": 0, "timer_due": 5000},
        "the peer's next bytes: it was last heard 0 ms ago; on_timer runs in 5.0 s",
    ),
    (
        {"ack_due": 40},
        "the peer's next bytes: it was last heard 0 ms ago; our ACK goes in 40 ms at the latest",
    ),
    (
        {"queued": 1448, "in_flight": 1448, "window": 9000, "retransmit_due": 210},
        "1448 bytes wait for the peer's ACK and the retransmission timer fires in 210 ms",
    ),
    (
        {
            "queued": 5000,
            "in_flight": 1448,
            "window": 1448,
            "congestion_window": 14480,
            "retransmit_due": 210,
            "retransmits": 2,
        },
        "1448 bytes wait for the peer's ACK and the retransmission timer fires in 210 "
        "ms, twice so far; "
        "3552 bytes more wait for the peer's window",
    ),
    (
        {
            "queued": 5000,
            "in_flight": 1448,
            "window": 9000,
            "congestion_window": 1448,
            "retransmit_due": 1,
        },
        "1448 bytes wait for the peer's ACK and the retransmission timer fires in 1 ms; "
        "3552 bytes more wait for the congestion window",
    ),
    (
        {"queued": 700, "window": 0, "probe_due": 1500, "probes": 3, "flags": "paused", "kept": 12},
        "the peer's window is closed and 700 bytes wait, the next probe goes in 1.5 s, 3 "
        "went unanswered or found it "
        "closed; on_data waits for that with 12 bytes kept, because it wants 1024 bytes free",
    ),
    (
        {"driver": "kernel", "queued": 9, "flags": "writable_wanted"},
        "9 bytes wait for room in Linux's socket buffer: the peer reads slowly; "
        "on_writable follows when there is room",
    ),
    (
        {"driver": "kernel", "queued": 1, "flags": "closing"},
        "1 byte wait for room in Linux's socket buffer: the peer reads slowly; then it closes",
    ),
    ({"queued": 9}, "9 bytes go out with the core's next turn"),
    (
        {"kept": 40, "need": 100, "idle": 60_000},
        "on_data asked for 100 bytes (connection.need) and 40 bytes are here: it was "
        "last heard 60.0 s ago",
    ),
    (
        {"kept": 40},
        "on_data has seen 40 bytes, consumed none of them and waits for more: it was "
        "last heard 0 ms ago",
    ),
    (
        {"kept": 40, "flags": "again"},
        "nothing: 40 bytes are offered to on_data with the core's next turn",
    ),
    (
        {"kept": 40, "flags": "paused"},
        "on_data waits for 1024 bytes of send space: the core's buffers have run out",
    ),
    (
        {"state": "syn-received", "transport_due": 900},
        "the handshake: the peer's ACK of our SYN-ACK is missing, sent again in 900 ms",
    ),
    (
        {"state": "syn-sent", "transport_due": 900},
        "the handshake: the peer's answer to our SYN is missing, sent again in 900 ms",
    ),
    (
        {"state": "fin-wait-1", "transport_due": 200},
        "we closed: the peer's ACK of our FIN is missing, sent again in 200 ms",
    ),
    (
        {"state": "fin-wait-2", "transport_due": 59_000},
        "we closed and the peer has not: its FIN is missing, given up in 59.0 s",
    ),
    ({"state": "last-ack"}, "both closed: the peer's ACK of our FIN is missing"),
    ({"state": "closing"}, "both closed: the peer's ACK of our FIN is missing"),
    (
        {"state": "close-wait", "flags": "end_told opened"},
        "the peer has ended, and the actor was told: it has not closed",
    ),
    ({"flags": "closing"}, "the actor closed: our FIN goes with the core's next turn"),
    (
        {"kept": 7, "listener": 1, "idle": 9},
        "the control plane, which has yet to read 7 bytes: it was last heard 9 ms ago",
    ),
    ({"listener": 1}, "the peer's next bytes or the control plane's: it was last heard 0 ms ago"),
    ({"flags": "aborting", "queued": 9}, "nothing: it is reset at the end of this turn"),
]


@pytest.mark.parametrize(("fields", "text"), CASES)
def test_sentences(fields: dict[str, Any], text: str) -> None:
    """A connection's fields, and the sentence they make."""
    assert sentence(**fields) == text


def test_handles_that_name_nothing_are_told_apart() -> None:
    """A handle of a core that isn't there, of a connection that has gone, and of one that lives."""
    with seen() as world, attached(world) as it:
        it.core(0)
        peer = world.connect(1)
        handle = world.handle(peer)
        world.core.turn()
        with pytest.raises(LookupError, match="no handle of this runtime"):
            it.why(5 << 56 | handle)
        world.reset(peer)
        world.core.turn()
        with pytest.raises(LookupError, match="is gone"):
            it.why(handle)


def test_a_core_that_stands_holds_up_its_connections() -> None:
    """A core without turns, with and without a handler running, one's own or another's; and one without a worker."""
    with seen() as world, attached(world) as it:
        state = world.core.pointer.state
        one, other = (world.handle(world.connect(number)) for number in (1, 2))
        state.now = time.monotonic_ns() - 10**9
        assert "its core has not turned for 1." in it.why(one)
        state.current, state.current_handler = one & 0xFFFFFF, 3
        assert it.why(one).startswith("its on_data has been running for 1.")
        assert it.why(other).startswith(
            f"its core waits for on_data of connection index {one & 0xFFFFFF}"
        )
        state.now = time.monotonic_ns()
        assert it.why(other).startswith("the peer's next bytes")
        it.words.set_core(0, pid=0, deaths=2)
        assert it.why(one) == "its core has no worker just now: the last one died, twice so far"


def test_over_our_own_tcp() -> None:
    """Live, over a wire: idle; a peer that is not there to acknowledge; a handler that doesn't return."""
    made = layout(actor="survivors:Moody", more="").model_copy(update={"name": unique("w")})
    patient = made.supervision.model_copy(update={"stall_milliseconds": 600_000})
    made = made.model_copy(update={"supervision": patient})

    async def scenario() -> None:
        async with Runtime(made) as runtime:
            with Wire(runtime.wire(0), 1) as wire, Peer(wire) as peer:
                await look(runtime, peer)

    async def look(runtime: Runtime, peer: Peer) -> None:
        connection = peer.connect(OURS, 7)
        await until(lambda: connection.opened, lambda: peer.poll(1))
        await until(lambda: len(runtime.connections()) == 1)
        handle = int(runtime.connections()["handle"][0])
        await until(lambda: runtime.seen.why(handle).startswith("the peer's next bytes"))
        connection.send(b"a" * 100)
        await until(lambda: runtime.counters(0)["received_bytes"] == 100, lambda: peer.poll(1))
        why = runtime.seen.why(handle)
        assert why.startswith(
            "100 bytes wait for the peer's ACK and the retransmission timer fires in "
        )
        await until(lambda: connection.length == 100, lambda: peer.poll(1))
        connection.send(b"l")
        await until(lambda: runtime.seen.core(0).current[0] != 0, lambda: peer.poll(1))
        await until(lambda: "its on_data has been running for" in runtime.seen.why(handle))
        os.kill(runtime.workers[0].pid, 9)
        await until(lambda: runtime.workers[0].deaths == 1)

    asyncio.run(scenario())
