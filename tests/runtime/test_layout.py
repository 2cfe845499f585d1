"""The layout as a typed object."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitplane.runtime.errors import LayoutError
from splitplane.runtime.layout import Group, Layout, Listen, Nic


def layout(**parts: object) -> Layout:
    """A good layout with `parts` put over it."""
    whole: dict[str, object] = {
        "name": "hello",
        "nic": {"front": Nic(driver="kernel")},
        "group": {
            "web": Group(cpus=(1, 3), nic="front", listen=(Listen(port="tcp:80", actor="m:A"),))
        },
    }
    return Layout.model_validate(whole | parts)


def test_built_in_python() -> None:
    """Typed parts make a whole; cores are numbered in its order."""
    made = layout()
    assert made.cores == ((0, "web", 1), (1, "web", 3))
    assert made.group["web"].listen[0].port_number == 80
    rear = Group(cpus=(4, 6), nic="front", listen=(Listen(port="tcp:81", actor="m:A"),))
    assert layout(group={**made.group, "rear": rear}).cores_of == {"web": 0b11, "rear": 0b1100}


def test_typed_parts_are_checked_together() -> None:
    """References between typed parts are checked as those of a file are."""
    with pytest.raises(LayoutError) as caught:
        layout(nic={"rear": Nic(driver="kernel")})
    (problem,) = caught.value.problems
    assert problem.key == "group.web.nic"
    assert str(problem).endswith(
        'group.web.nic = "front": there is no [nic.front]: known here: rear'
    )


def test_an_interface_is_one_group_s() -> None:
    """Two groups can't have the queues of one interface, whatever their [nic] is called; nor can busy polling be asked of
    a driver that has nothing to poll."""
    shared = {"interface": "eth0", "address": "10.0.0.5/24"}
    nics = {"a": Nic(driver="afxdp", **shared), "b": Nic(driver="afxdp", **shared)}
    ports = (Listen(port="tcp:80", actor="m:A"),)
    groups = {name: Group(cpus=(at,), nic=name, listen=ports) for at, name in enumerate(nics)}
    with pytest.raises(LayoutError) as caught:
        layout(nic=nics, group=groups)
    (problem,) = caught.value.problems
    assert (problem.key, problem.value) == ("group.b.nic", "b")
    assert problem.problem == "group a has all queues of eth0 already"
    with pytest.raises(LayoutError, match="only driver afxdp has a NAPI to poll"):
        layout(nic={"front": Nic(driver="kernel", busy_poll_microseconds=5)})


def test_nothing_changes_a_layout() -> None:
    """A layout is a value: assigning to it is refused."""
    with pytest.raises(Exception, match="frozen"):
        layout().name = "other"  # type: ignore[misc]


def test_digest_tells_layouts_apart() -> None:
    """Equal layouts have equal digests, others not; where the file lies doesn't matter."""
    assert layout().digest() == layout().digest()
    assert layout().digest() != layout(name="other").digest()


def test_class_as_actor() -> None:
    """In Python an actor may be given as its class; one of __main__ is refused, as nobody could import it."""

    class Some:
        pass

    Some.__module__ = "some.module"
    Some.__qualname__ = "Some"
    assert Listen.model_validate({"port": "tcp:1", "actor": Some}).actor == "some.module:Some"
    Some.__module__ = "__main__"
    with pytest.raises(ValueError, match="can't be imported"):
        Listen.model_validate({"port": "tcp:1", "actor": Some})


@given(st.integers(64, 2**20), st.sampled_from(["B", "KiB"]))
def test_sizes(number: int, unit: str) -> None:
    """A size is a number of bytes or a text with a binary unit; both mean the same."""
    size = number * (1024 if unit == "KiB" else 1)
    if size > 2**20:
        number, size = number // 1024 or 1, (number // 1024 or 1) * 1024
    if size < 64:
        return
    text = f"{number} {unit}"
    made = Listen.model_validate({"port": "tcp:1", "actor": "m:A", "max_unconsumed": text})
    assert made.max_unconsumed == size


@given(st.text(max_size=12))
def test_ports(text: str) -> None:
    """Any text is a port or is refused as a value; nothing else happens."""
    try:
        made = Listen.model_validate({"port": text, "actor": "m:A"})
    except ValueError:
        return
    assert made.port == text
    assert 1 <= made.port_number <= 65535


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("shared", True),
        ("10.0.0.5/24", True),
        ("10.0.0.5", False),
        ("10.0.0.5/33", False),
        ("224.0.0.1/4", False),
        ("0.0.0.0/8", False),
        ("fd00::1/64", False),
    ],
)
def test_addresses(address: str, *, good: bool) -> None:
    """`shared`, or a unicast IPv4 address with its prefix."""
    if good:
        assert Nic(driver="memory", address=address).address == address
    else:
        with pytest.raises(ValueError, match="address"):
            Nic(driver="memory", address=address)
