"""What controller and launcher say to each other."""

import socket

from hypothesis import given
from hypothesis import strategies as st
from splitplane.runtime.boot import Boot, BootCore, BootListener, Lines

descriptors = st.integers(3, 1000)
cores = st.builds(
    BootCore,
    number=st.integers(0, 63),
    group=st.text(max_size=8),
    cpu=st.integers(0, 4095),
    arena=descriptors,
    driver=st.sampled_from(["kernel", "memory"]),
    wire=st.integers(-1, 1000),
    listeners=st.lists(st.builds(BootListener, st.integers(1, 65535), st.integers(-1, 99))).map(
        tuple
    ),
)
boots = st.builds(
    Boot,
    name=st.text(max_size=8),
    layout=st.dictionaries(st.text(max_size=4), st.integers(), max_size=3),
    directory=st.text(max_size=8),
    file=st.text(max_size=8),
    mesh=descriptors,
    digest=st.integers(0, 2**64 - 1),
    cores=st.lists(cores, max_size=3).map(tuple),
    claims=st.lists(descriptors).map(tuple),
)


@given(boots)
def test_order_survives_the_line(boot: Boot) -> None:
    """An order read back from its line equals the one written."""
    assert Boot.from_json(boot.to_json()) == boot


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=30)), max_size=20))
def test_objects_arrive_whole_and_in_order(messages: list[dict[str, str]]) -> None:
    """However the reads fall, the objects come out as sent, and the end of the stream is told from silence."""
    ours, theirs = socket.socketpair()
    sending, receiving = Lines(ours), Lines(theirs)
    theirs.setblocking(False)
    assert receiving.receive() == []
    for message in messages:
        assert sending.send(**{f"k{key}": value for key, value in message.items()})
    ours.close()
    got = []
    while (more := receiving.receive()) is not None:
        got += more
    assert got == [{f"k{key}": value for key, value in message.items()} for message in messages]
    assert not receiving.send(late=1)
    theirs.close()
