"""What is left of a broken layout, so that `check` can go on and say everything in one go."""

import copy
import os
import re
from typing import Any

from .errors import LayoutError
from .layout import LOOSE, Layout

_SAMPLES: dict[str, Any] = {
    "name": "layout",
    "driver": "kernel",
    "nic": "salvaged",
    "port": "tcp:1",
    "actor": "salvaged:Salvaged",
}
_ROUNDS = 64
_STEP = re.compile(r"[^.\[\]]+")


def salvage(data: dict[str, Any]) -> tuple[Layout | None, set[str]]:
    """The layout that `data` makes once its broken keys have defaults or samples, and those keys.

    What is said about such a key later is about the sample, not about the user's value: leave it out. None when a whole
    table is missing or too broken.
    """
    data, dead = copy.deepcopy(data), set[str]()
    for _ in range(_ROUNDS):
        try:
            return Layout.model_validate(data, context=LOOSE), dead
        except LayoutError as error:
            found = {problem.key for problem in error.problems if _mend(data, problem.key)}
        if not found:
            return None, dead
        dead |= found
    return None, dead


def _mend(data: dict[str, Any], key: str) -> bool:
    """Removes the value of `key`, or puts a sample there; False when that can't help."""
    steps = [int(step) if step.isdigit() else step for step in _STEP.findall(key)]
    place: Any = data
    for step in steps[:-1]:
        try:
            place = place[step]
        except (KeyError, IndexError, TypeError):
            return False
    last = steps[-1] if steps else None
    if isinstance(place, dict):
        return _mend_entry(place, str(last))
    if isinstance(place, list) and isinstance(last, int) and last < len(place):
        allowed = sorted(os.sched_getaffinity(0))
        place[last : last + 1] = [allowed[0]] if isinstance(place[last], int) else []
        return True
    return False


def _mend_entry(place: dict[str, Any], last: str) -> bool:
    if last == "cpus":
        place[last] = sorted(os.sched_getaffinity(0))[:1]
    elif last in _SAMPLES:
        place[last] = _SAMPLES[last]
    elif last in place:
        del place[last]
    else:
        return False
    return True
