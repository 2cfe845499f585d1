"""How much of a core's arena its actors want: known only once they are imported."""

from types import FunctionType

from ..dataplane.bind import config_offsets
from ..dataplane.sections import RECORD_STATE_BYTES
from .imports import Actors, import_actors
from .layout import Group, Layout
from .plan import Footprint
from .shape import shape_of
from .spec import ActorSpec, spec_of

LINE = 64


def footprints_of(layout: Layout, actors: Actors | None = None) -> dict[str, Footprint]:
    """The footprint of each group's cores. Imports the actors unless they are given; then ActorError may come."""
    if actors is None:
        actors = import_actors(layout)
    found = {}
    for name, group in layout.group.items():
        specs = [spec_of(actors.data[name, number]) for number in range(len(group.listen))]
        largest = max(spec.state_size for spec in specs)
        found[name] = Footprint(
            side_state=-(-largest // 8) * 8 if largest > RECORD_STATE_BYTES else 0,
            actors=sum(-(-spec.core_size // LINE) * LINE for spec in specs),
            subscriptions=subscriptions(group, specs),
            config=config_offsets(map(config_size, specs))[1],
        )
    return found


def config_size(spec: ActorSpec) -> int:
    """Bytes of `self.config`; 0 without one."""
    return shape_of(spec.config).size if spec.config else 0


def subscriptions(group: Group, specs: list[ActorSpec]) -> int:
    """How many subscriptions a core of the group has room for."""
    if group.subscriptions is not None:
        return group.subscriptions
    return group.connections if any(map(subscribes, specs)) else 0


def subscribes(spec: ActorSpec) -> bool:
    """Whether a method of the actor names `subscribe`."""
    methods = [value for base in spec.actor.__mro__ for value in vars(base).values()]
    names = [one.__code__.co_names for one in methods if isinstance(one, FunctionType)]
    return any("subscribe" in each for each in names)
