"""How much of a core's arena its actors want: known only once they are imported."""

from ..dataplane.sections import RECORD_STATE_BYTES
from .imports import Actors, import_actors
from .layout import Layout
from .plan import Footprint
from .spec import spec_of

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
        )
    return found
