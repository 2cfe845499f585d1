"""From a layout, its actors and their handlers to a core that can run: for a worker and for `run --interpret` alike."""

from collections.abc import Mapping
from typing import Any

from ..dataplane.bind import MessageEntry, Pace, bind, config_offsets, core_offsets, relay
from ..dataplane.core import Core
from ..nic.afxdp import Afxdp, QueueOrder
from ..nic.memory import Wire
from ..nic.tap import Tap
from .boot import BootCore
from .config import config_of
from .fixed import Fixed
from .footprint import config_size
from .imports import Actors, data_listeners
from .layout import Layout, Listen
from .mesh import Mesh
from .program import Entries, Program
from .relayed import Relayed
from .schema import Schema
from .shape import shape_of
from .spec import ActorSpec, spec_of

NO_MAILBOX = 255
"""The mailbox number of a listener without `reports_to`."""
NO_LISTENER = 0xFFFF
"""The number of a core's own relay among the layout's listeners."""


def assemble(
    core: Core,
    order: BootCore,
    layout: Layout,
    actors: Actors,
    schema: Schema,
    program: Program,
    mesh: Mesh,
) -> None:
    """Puts listeners with their actors, and rings, to an open core. The transport comes after."""
    group = layout.group[order.group]
    specs = [spec_of(actors.data[order.group, number]) for number in range(len(group.listen))]
    offsets, _ = core_offsets([spec.core_size for spec in specs])
    configs, _ = config_offsets(map(config_size, specs))
    numbers = {(name, place): at for at, (name, place, _) in enumerate(data_listeners(layout))}
    mailboxes = {name: number for number, name in enumerate(layout.control)}
    for place, (listen, spec) in enumerate(zip(group.listen, specs, strict=True)):
        listener = order.listeners[place]
        pointer = core.listen(listener.port, listener.descriptor)
        core.pointer.listeners[place].config_at = configs[place]
        entries = program.entries(spec.actor, pointer)
        core.keep(
            bind(
                core.pointer,
                pointer,
                handlers=entries.handlers,
                messages=message_entries(spec, schema, entries),
                state_size=spec.state_size,
                side_state_bytes=core.side_state_bytes,
                core_offset=offsets[place],
                config=config_bytes(spec, listen.config),
                pace=pace_of(listen),
                number=numbers[order.group, place],
                reports_to=mailboxes.get(listen.reports_to or "", NO_MAILBOX),
            )
        )
        if spec.actor is Relayed:
            relay(pointer)
    put_relay(core)
    join(core, order, layout, mesh)


def join(core: Core, order: BootCore, layout: Layout, mesh: Mesh) -> None:
    """Puts rings to the core, and the others of its group beside it."""
    cores = [number for number, name, _ in layout.cores if name == order.group]
    if order.front:
        core.group(len(cores), cores[(cores.index(order.number) + 1) % len(cores)])
    for peer in mesh.peers:
        core.peer(peer, mesh.ring(order.number, peer), mesh.ring(peer, order.number))


def put_relay(core: Core) -> None:
    """The core's own relay: connections that actors hand over, or that the control plane opens."""
    pointer = core.relay()
    core.keep(
        bind(
            core.pointer,
            pointer,
            handlers={},
            messages=(),
            state_size=0,
            side_state_bytes=0,
            core_offset=0,
            config=b"",
            pace=Pace(),
            number=NO_LISTENER,
            reports_to=NO_MAILBOX,
        )
    )
    relay(pointer)


def pace_of(listen: Listen) -> Pace:
    """A listener's limits, for its actor."""
    return Pace(
        listen.max_unconsumed,
        listen.reply_reserve,
        listen.calls_per_turn,
        listen.tick_milliseconds,
        listen.push_queue,
        listen.push_slow == "reset",
    )


def attach(core: Core, order: BootCore) -> None:
    """Puts the order's transport under a core. Raises OSError."""
    if order.driver == "kernel":
        core.attach_kernel()
    elif order.driver == "tap" and order.front:
        core.attach_tcp(Tap(order.front.queues[0][1], bytes.fromhex(order.front.mac)))
    elif order.front:
        front = order.front
        queues = [QueueOrder(*queue) for queue in front.queues]
        mac = bytes.fromhex(front.mac)
        core.attach_tcp(Afxdp(core.memory, mac, queues, front.pulse, front.all_queues))
    else:
        core.attach_tcp(Wire(order.wire, 0))


def message_entries(spec: ActorSpec, schema: Schema, entries: Entries) -> list[MessageEntry]:
    """What takes each message type, and how long its reply is."""
    made = []
    for handler in spec.messages:
        number = schema.number(handler.message)
        length = shape_of(handler.reply).size if handler.reply else 0
        made.append(MessageEntry(number, length, entries.messages[number]))
    return made


def config_bytes(spec: ActorSpec, values: Mapping[str, Any]) -> bytes:
    """`self.config` as the handlers read it; empty for an actor without."""
    if spec.config is None:
        return b""
    made: Fixed = config_of(spec.config, values)
    return made.to_bytes()
