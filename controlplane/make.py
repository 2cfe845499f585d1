"""From a layout and its imported actors to the control plane's service."""

from collections.abc import Callable, Mapping
from typing import Any

from ..runtime.actor import ControlActor
from ..runtime.assemble import config_bytes
from ..runtime.config import config_of
from ..runtime.imports import Actors, data_listeners
from ..runtime.layout import Control, Layout
from ..runtime.mesh import Mesh
from ..runtime.schema import Schema
from ..runtime.spec import spec_of
from .faults import Replayer
from .restarts import Restarts
from .service import Service

GiveUp = Callable[[str, BaseException], None]


def service_of(
    layout: Layout, actors: Actors, mesh: Mesh, schema: Schema, give_up: GiveUp | None = None
) -> Service:
    """The service of a layout. ActorError if a control actor's config does not fit it.

    `give_up(name, error)` is called when a control actor raises too often.
    """
    groups: dict[str, list[int]] = {}
    for number, group, _ in layout.cores:
        groups.setdefault(group, []).append(number)
    listeners = [
        (actors.data[group, place], listen) for group, place, listen in data_listeners(layout)
    ]
    configs = [config_bytes(spec_of(actor), listen.config) for actor, listen in listeners]
    reports = {number: listen.reports_to for number, (_, listen) in enumerate(listeners)}
    return Service(
        mesh,
        schema,
        actors={
            name: (control_actor(actors.control[name], control.config), control.mailbox)
            for name, control in layout.control.items()
        },
        groups=groups,
        listeners=[actor for actor, _ in listeners],
        locate=Replayer(schema, configs),
        restarts={
            name: restarts_of(layout, control, actors.control[name], give_up)
            for name, control in layout.control.items()
            if control.on_error == "restart"
        },
        ports={name: group.listen for name, group in layout.group.items()},
        streams_to={number: name for number, name in reports.items() if name},
    )


def control_actor(cls: type[ControlActor], values: Mapping[str, Any]) -> ControlActor:
    """One of that class, its `config` filled if it declares one (`config: Settings`, a Config).

    ActorError, with a problem for each key that is wrong.
    """
    actor = cls()
    config = spec_of(cls).config
    if config is not None:
        # ControlActor doesn't declare it: only an actor with a Config has one.
        actor.config = config_of(config, values)  # type: ignore[attr-defined]
    return actor


def restarts_of(
    layout: Layout, control: Control, cls: type[ControlActor], give_up: GiveUp | None
) -> Restarts:
    """How an actor is replaced when it raises."""
    supervision = layout.supervision
    return Restarts(
        lambda: control_actor(cls, control.config),
        supervision.restarts,
        supervision.restart_seconds,
        give_up or (lambda _name, _error: None),
    )
