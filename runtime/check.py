"""`splitplane check`: everything wrong with a layout, this machine and the actors, in one go. Starts nothing."""

from collections.abc import Iterable
from pathlib import Path

from .errors import ActorError, Problem
from .fit import Findings, fit
from .footprint import footprints_of
from .imports import Actors, found_actors
from .load import read_layout
from .machine import read_machine
from .plan import Plan, plan


def check(path: str | Path, overrides: Iterable[str] = (), *, verbose: bool = False) -> Findings:
    """All there is to say about running `path` here. `verbose` adds the compiler's own trace."""
    layout, dead, problems = read_layout(path, overrides)
    if layout is None:
        return Findings(problems)
    actors, wrong = found_actors(layout)
    planned: Plan | None = None
    if not wrong and not problems:
        try:
            planned = plan(layout, footprints_of(layout, actors))
        except (OSError, ActorError, KeyError) as error:
            wrong.append(Problem(layout.file, f"its memory can't be planned: {error}"))
    found = fit(layout, read_machine(), planned)
    groups = None if problems else layout.cores_of
    found.problems = problems + [
        problem
        for problem in found.problems + wrong + _compiled(actors, groups, verbose=verbose)
        if not _about(problem, layout.file, dead)
    ]
    return found


def _about(problem: Problem, file: str, dead: set[str]) -> bool:
    return problem.file == file and any(
        problem.key == key or problem.key.startswith((f"{key}.", f"{key}[")) for key in dead
    )


def _compiled(actors: Actors, groups: dict[str, int] | None, *, verbose: bool) -> list[Problem]:
    """What the compiler says about each data actor that could be imported."""
    from .compiler import compile_actor
    from .schema import schema_of

    try:
        schema = schema_of(actors.all, groups, actors.messages)
    except ActorError as error:
        return list(error.problems)
    problems: list[Problem] = []
    for actor in dict.fromkeys(actors.data.values()):
        try:
            compile_actor(actor, schema, verbose=verbose)
        except ActorError as error:
            problems += error.problems
    return problems
