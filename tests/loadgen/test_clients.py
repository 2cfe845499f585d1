"""The load generator's C in this process, over a wire whose other end is a core: what it counts, and as what."""

import pytest
from loading import PAYLOAD, Loading, copied
from raw import ACK, build, parse
from rig import Handlers
from splitplane.loadgen.clients import Order, Report
from splitplane.nic.faults import FaultPlan

COUNT = 2000
GOOD = {"done": COUNT, "errors": 0, "duplicates": 0, "again": 0, "foreign": 0, "repeated": 0}


def seen(report: Report) -> dict[str, int]:
    """What a good order's report is judged by."""
    return {name: getattr(report, name) for name in GOOD}


def test_all_four_orders(handlers: Handlers) -> None:
    """Open, random rounds, lives beside them, close: counts are exact, nothing is wrong, nothing is left."""
    with Loading(handlers) as load:
        assert seen(load.order(Order("open", COUNT))) == GOOD
        assert load.live == COUNT
        rounds = load.order(Order("request", COUNT, asked=1, rounds=3, sequence="random"))
        assert seen(rounds) == GOOD | {"done": 3 * COUNT}
        assert sum(count for _, count in rounds.latency) == 3 * COUNT
        assert seen(load.order(Order("life", COUNT, first=COUNT))) == GOOD
        assert load.live == COUNT
        assert seen(load.order(Order("close", COUNT, asked=4))) == GOOD
        assert load.live == 0
        assert load.counter("received_bytes") == load.counter("sent_bytes") == 5 * COUNT * PAYLOAD


def test_nothing_before_an_order(handlers: Handlers) -> None:
    """Clients that wait for their first order send nothing."""
    with Loading(handlers) as load:
        load.rest(100)
        assert load.counter("rx_frames") == 0
        assert seen(load.order(Order("open", 5))) == GOOD | {"done": 5}


def test_what_is_none_of_ours_is_no_error(handlers: Handlers) -> None:
    """Beside each answer come a question for an address, IPv6, a ping, TCP of another server and half a frame: they
    are counted apart, and no order minds."""
    others = [
        b"\xff" * 6 + b"\x02SPLT\7" + b"\x08\x06" + bytes(46),
        b"\x33\x33" + bytes(4) + b"\x02SPLT\7" + b"\x86\xdd" + bytes(60),
        build(source="10.0.0.9", destination="10.64.0.0", port=1024, source_port=7, data=b"no"),
        build(source="10.0.0.1", destination="10.64.0.0", port=1023, source_port=7),
        build(source="10.0.0.1", destination="10.64.0.0", port=1024, source_port=7)[:40],
    ]
    ping = bytearray(build(source="10.0.0.1", destination="10.64.0.0", port=1024, source_port=7))
    ping[23] = 1
    others.append(bytes(ping))
    sent = 0

    def beside(frame: bytes) -> list[bytes]:
        nonlocal sent
        if not parse(frame).data:
            return [frame]
        sent += 1
        return [others[sent % len(others)], frame]

    with Loading(handlers, to_clients=beside) as load:
        report = load.order(Order("open", COUNT))
        assert seen(report) == GOOD | {"foreign": COUNT}


def test_a_wrong_checksum_is_an_error(handlers: Handlers) -> None:
    """A frame of a connection of ours whose text was changed on its way is no answer, and counted."""
    sent = 0

    def damaged(frame: bytes) -> list[bytes]:
        nonlocal sent
        sent += bool(parse(frame).data)
        return [frame[:-1] + bytes([frame[-1] ^ 1]), frame] if sent == 5 else [frame]

    with Loading(handlers, to_clients=damaged) as load:
        report = load.order(Order("open", 5))
        assert seen(report) == GOOD | {"done": 5, "errors": 1}
        assert report.bad == 1


@pytest.mark.parametrize(("further", "counted"), [(PAYLOAD, "duplicates"), (0, "again")])
def test_twice_said_or_sent_again(handlers: Handlers, further: int, counted: str) -> None:
    """An answer that the server says twice is a duplicate; one that its TCP sends again, at the same place of the stream,
    is none: told apart for each of them."""

    def twice(frame: bytes) -> list[bytes]:
        return [frame, copied(frame, further)] if parse(frame).data else [frame]

    with Loading(handlers, to_clients=twice) as load:
        report = load.order(Order("life", COUNT))
        assert seen(report) == GOOD | {counted: COUNT}


def test_answers_in_one_segment(handlers: Handlers) -> None:
    """A TCP that saw no acknowledgement sends an old answer again and the new one in one segment: the new one counts,
    the old one came again. The same answer twice in it is an error."""
    first: dict[int, bytes] = {}
    how = "none"

    def together(frame: bytes) -> list[bytes]:
        found = parse(frame)
        if len(found.data) != PAYLOAD:
            return [frame]
        old = first.setdefault(found.port, found.data)
        if how == "none":
            return [frame]
        data, back = (old + found.data, PAYLOAD) if how == "old" else (found.data * 2, 0)
        whole = build(
            source="10.0.0.1",
            destination="10.64.0.0",
            mac=frame[:6],
            source_port=found.source_port,
            port=found.port,
            seq=found.seq - back,
            ack=found.ack,
            flags=ACK,
            data=data,
        )
        return [whole]

    with Loading(handlers, to_clients=together) as load:
        load.order(Order("open", 50))
        how = "old"
        report = load.order(Order("request", 50, asked=1))
        assert seen(report) == GOOD | {"done": 50, "again": 50}
        how = "twice"
        report = load.order(Order("request", 50, asked=2))
        assert (report.done, report.wrong) == (50, 50)


@pytest.mark.parametrize("seed", [1, 2])
def test_losses_are_mended(handlers: Handlers, seed: int) -> None:
    """With a thirtieth of the frames lost each way, and some doubled, every operation comes to its end: nothing is wrong,
    no answer counts twice, no connection is missing or left."""
    plan = FaultPlan(seed=seed, loss=0.03, duplicate=0.01)
    with Loading(handlers, plan, flight=512) as load:
        opened = load.order(Order("open", 400))
        asked = load.order(Order("request", 400, asked=1, rounds=2, sequence="random"))
        assert load.live == 400
        lives = load.order(Order("life", 100, first=400))
        closed = load.order(Order("close", 400, asked=3))
        reports = (opened, asked, lives, closed)
        assert [report.done for report in reports] == [400, 800, 100, 400]
        assert [(report.errors, report.duplicates) for report in reports] == [(0, 0)] * 4
        assert opened.repeated + asked.repeated > 0
        while load.live:
            load.step()
        assert load.counter("sent_bytes") == 1300 * PAYLOAD
