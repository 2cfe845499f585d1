"""Changing actors' configs while they run: checked as at the start, then taken over by each core between two turns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..dataplane.bind import config_offsets
from ..dataplane.configuration import Configuration
from .config import config_of
from .errors import ActorError, LayoutError, Problem, QuarantineError
from .footprint import config_size
from .holdings import Holdings
from .layout import Layout
from .shape import shape_of
from .spec import spec_of

if TYPE_CHECKING:
    from ..controlplane.service import Service

__all__ = ["Configurer", "refused_changes"]

PATIENCE = 5.0
"""Seconds a core may take; one that is being replaced takes the change when its successor starts."""
POLL = 0.0005
RESTART = "stop it and start it again, or put the old value back"
LIVE = "config"
"""The one key of a listener or control actor that may change."""


class Configurer:
    """The configs of one runtime. `layout` is what holds now. Lives in one event loop; changes happen one by one."""

    def __init__(self, held: Holdings, service: Service) -> None:
        """`service` has the control actors, whose `config` is replaced."""
        self.layout = held.layout
        self._held, self._service = held, service
        self._lock = asyncio.Lock()

    async def change(self, group: str, values: Mapping[str, Any]) -> None:
        """Runtime.configure"""
        async with self._lock:
            await self._apply(self._changed(group, values))

    async def reload(self, layout: Layout) -> list[str]:
        """What of `layout` differs from what holds: applied, all or nothing. Returns the keys; LayoutError, ActorError."""
        async with self._lock:
            refused = refused_changes(self.layout, layout)
            if refused:
                raise LayoutError(refused)
            keys = changed_keys(self.layout, layout)
            await self._apply(layout)
            return keys

    def _changed(self, name: str, values: Mapping[str, Any]) -> Layout:
        """The layout with these values in the config of each listener of the group that has such fields."""
        group = self.layout.group.get(name)
        if group is None:
            raise KeyError(f"no group {name}: this layout has {', '.join(self.layout.group)}")
        if name in self._held.quarantined:
            raise QuarantineError(f"group {name} is quarantined: no actor of it runs")
        known: dict[str, None] = {}
        listens = []
        for place, listen in enumerate(group.listen):
            config = spec_of(self._held.actors.data[name, place]).config
            fields = [field.name for field in shape_of(config).fields] if config else []
            known.update(dict.fromkeys(fields))
            own = {key: value for key, value in values.items() if key in fields}
            listens.append(listen.model_copy(update={"config": {**listen.config, **own}}))
        unknown = [key for key in values if key not in known]
        if unknown:
            remedy = f"known here: {', '.join(known) or 'none'}"
            key = f"group.{name}.listen.config"
            text = "no actor of the group has it in its Config"
            raise ActorError(
                [Problem("", text, f"{key}.{one}", values[one], remedy) for one in unknown]
            )
        groups = {**self.layout.group, name: group.model_copy(update={"listen": tuple(listens)})}
        return self.layout.model_copy(update={"group": groups})

    async def _apply(self, layout: Layout) -> None:
        images = self._images(layout)
        control = self._control_configs(layout)
        waiting = []
        for held in self._held.cores:
            group = held.order.group
            if group in self._held.quarantined:  # nobody will ever take it
                continue
            if layout.group[group] != self.layout.group[group]:
                configuration = Configuration(held.arena.memory)
                waiting.append((held.order.number, configuration, images[group]))
        try:
            await self._until_put(waiting)
            self.layout = layout
            for actor, config in control:
                actor.config = config
            await self._until_taken(waiting, "a change", "it will when it runs again")
        finally:
            for _, configuration, _ in waiting:
                configuration.close()

    async def _until_put(self, waiting: list[tuple[int, Configuration, bytes]]) -> None:
        """All cores have taken the change before this one, so that none has this one alone."""
        await self._until_taken(waiting, "an earlier change", "this one was not made: try again")
        for _, configuration, image in waiting:
            configuration.put(image)

    async def _until_taken(
        self, waiting: list[tuple[int, Configuration, bytes]], what: str, then: str
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while late := [str(number) for number, each, _ in waiting if not each.taken]:
            if loop.time() > end:
                text = f"core {', '.join(late)} has not taken {what} of its config within {PATIENCE:g} s"
                raise TimeoutError(f"{text}: {then}")
            await asyncio.sleep(POLL)

    def _images(self, layout: Layout) -> dict[str, bytes]:
        """Each group's configs. ActorError with all that is wrong with any of them."""
        problems: list[Problem] = []
        images = {}
        for name, group in layout.group.items():
            specs = [spec_of(self._held.actors.data[name, at]) for at in range(len(group.listen))]
            offsets, size = config_offsets(map(config_size, specs))
            image = bytearray(size)
            for place, (spec, listen, offset) in enumerate(
                zip(specs, group.listen, offsets, strict=True)
            ):
                where = f"group.{name}.listen[{place}].config"
                if spec.config is not None:
                    data = checked(spec.config, listen.config, layout.file, where, problems)
                    image[offset : offset + len(data)] = data
            images[name] = bytes(image)
        if problems:
            raise ActorError(problems)
        return images

    def _control_configs(self, layout: Layout) -> list[tuple[Any, Any]]:
        made = []
        actors = self._service.actors
        for name, control in layout.control.items():
            config = spec_of(type(actors[name])).config
            if config is not None and control != self.layout.control[name]:
                problems: list[Problem] = []
                checked(config, control.config, layout.file, f"control.{name}.config", problems)
                if problems:
                    raise ActorError(problems)
                made.append((actors[name], config_of(config, control.config)))
        return made


def checked(
    config: Any, values: Mapping[str, Any], file: str, where: str, problems: list[Problem]
) -> bytes:
    """The bytes of a config; what is wrong with it goes to `problems`."""
    try:
        return config_of(config, values).to_bytes()
    except ActorError as error:
        problems += [
            Problem(file, one.problem, f"{where}.{one.key}", one.value, one.remedy)
            for one in error.problems
        ]
        return b""


def changed_keys(old: Layout, new: Layout) -> list[str]:
    """The keys whose values differ, as a layout file names them."""
    return [key for key, _, _ in differences(old.model_dump(), new.model_dump(), "")]


def refused_changes(old: Layout, new: Layout) -> list[Problem]:
    """A problem for each difference that can't be applied to a running layout."""
    return [
        Problem(
            new.file, f"it was {before!r} at the start, and can't change live", key, after, RESTART
        )
        for key, before, after in differences(old.model_dump(), new.model_dump(), "")
        if not (key.startswith(("group.", "control.")) and f".{LIVE}." in f"{key}.")
    ]


def differences(old: Any, new: Any, key: str) -> list[tuple[str, Any, Any]]:
    """(key, old value, new value) wherever two layouts differ."""
    if old == new:
        return []
    found = []
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            inside = f"{key}.{name}" if key else str(name)
            found += differences(old.get(name), new.get(name), inside)
        return found
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        for at, (one, other) in enumerate(zip(old, new, strict=True)):
            found += differences(one, other, f"{key}[{at}]")
        return found
    return [(key, old, new)]
