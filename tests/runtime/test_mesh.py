"""The mesh: every pair of peers has a ring of its own, seen alike by all who attach, and nobody can take it away."""

import mmap
import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitplane.dataplane.ring import Received
from splitplane.runtime.mesh import CONTROL, HEADER_BYTES, Mesh, mesh_bytes


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    made = Mesh.create(3, control_cells=128, core_cells=64, layout_hash=7)
    yield made
    made.close()
    os.close(made.fd)


def pairs(mesh: Mesh) -> list[tuple[int, int]]:
    return [(a, b) for a in mesh.peers for b in mesh.peers if (a, b) != (CONTROL, CONTROL)]


@given(cores=st.integers(1, 6), control=st.sampled_from([64, 128]), core=st.sampled_from([64, 256]))
@settings(max_examples=20)
def test_rings_are_apart(cores: int, control: int, core: int) -> None:
    """A message put into each ring is the only one there, and its cells are as many as asked."""
    mesh = Mesh.create(cores, control_cells=control, core_cells=core)
    try:
        for number, (a, b) in enumerate(pairs(mesh)):
            assert mesh.ring(a, b).cells == (control if CONTROL in (a, b) else core)
            while mesh.ring(a, b).put(number % 4096, number.to_bytes(8, "little")):
                pass
        other = Mesh.attach(mesh.fd)
        for number, (a, b) in enumerate(pairs(mesh)):
            ring, seen = other.ring(a, b), 0
            while (message := ring.get()) is not None:
                assert message == Received(number % 4096, 0, 0, 0, number.to_bytes(8, "little"))
                seen += 1
            assert seen == ring.cells
        assert os.fstat(mesh.fd).st_size == mesh_bytes(cores, control, core)
    finally:
        mesh.close()
        os.close(mesh.fd)


def test_no_such_ring(mesh: Mesh) -> None:
    """The control plane has none to itself, and cores that don't exist have none."""
    for a, b in ((CONTROL, CONTROL), (3, 0), (0, 3), (-1, 0)):
        with pytest.raises(KeyError, match="no ring"):
            mesh.ring(a, b)


def test_sealed(mesh: Mesh) -> None:
    """Whoever has the descriptor can't shrink it: the loops would die of SIGBUS."""
    with pytest.raises(PermissionError):
        os.ftruncate(mesh.fd, 4096)


def test_what_is_no_mesh_is_refused(mesh: Mesh) -> None:
    """Another magic, ABI, layout or size, or one unfinished, is named."""
    assert Mesh.attach(mesh.fd, layout_hash=7).cores == 3
    with pytest.raises(ValueError, match="another layout"):
        Mesh.attach(mesh.fd, layout_hash=8)
    short = os.memfd_create("short")
    with pytest.raises(ValueError, match="no mesh"):
        Mesh.attach(short)
    os.ftruncate(short, 2 * HEADER_BYTES)
    with pytest.raises(ValueError, match="begins with"):
        Mesh.attach(short)
    os.close(short)
    for place, byte, what in ((8, 9, "ABI 9"), (48, 0, "unfinished"), (24, 1, "unfinished")):
        with mmap.mmap(mesh.fd, HEADER_BYTES) as header:
            before = header[place]
            header[place] = byte
            with pytest.raises(ValueError, match=what):
                Mesh.attach(mesh.fd)
            header[place] = before
    assert Mesh.attach(mesh.fd).cores == 3


@pytest.mark.parametrize("cores", [0, 65])
def test_count_of_cores(cores: int) -> None:
    """A mesh has 1 to 64 cores."""
    with pytest.raises(ValueError, match="cores"):
        Mesh.create(cores)


def test_bad_capacity_leaves_no_descriptor() -> None:
    """A capacity that is no power of two is refused, and nothing stays open."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="100 cells"):
        Mesh.create(1, core_cells=100)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_adopted_by_its_core(mesh: Mesh) -> None:
    """A core's new worker adopts both ends of all its rings: what was got, not advanced past, comes again."""
    mesh.ring(0, 1).put(1, b"a")
    mesh.ring(CONTROL, 1).put(2, b"b")
    assert mesh.ring(0, 1).get() is not None
    assert mesh.ring(CONTROL, 1).get() is not None
    mesh.ring(1, 2).put(3, b"c")
    mesh.adopt(1)
    assert mesh.ring(0, 1).get() == Received(1, 0, 0, 0, b"a")
    assert mesh.ring(CONTROL, 1).get() == Received(2, 0, 0, 0, b"b")
    assert mesh.ring(1, 2).get() == Received(3, 0, 0, 0, b"c")
