"""From an actor class to the addresses of its handlers' entries, or to everything that keeps it from compiling."""

from __future__ import annotations

import re
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from numba import config
from numba.core.errors import NumbaError

from ..errors import ActorError, Problem
from ..schema import Schema
from ..spec import ActorSpec, spec_of
from .entry import link
from .source import Place, excerpt
from .unit import Session, Unit

__all__ = ["CompiledActor", "compile_actor"]


@dataclass(frozen=True)
class CompiledActor:
    """An actor's machine code. Addresses are of `void (*)(struct call *)`: (reporting, quiet)."""

    spec: ActorSpec
    handlers: dict[str, tuple[int, int]]
    messages: dict[type, tuple[int, int]]
    seconds: float
    kept: Any = field(repr=False)
    """What the addresses live as long as."""

    def assembly(self) -> str:
        """The machine code of all entries, as text."""
        return str(self.kept[0]._library.get_asm_str())

    def llvm(self) -> str:
        """The optimised LLVM code of all entries."""
        return str(self.kept[0].inspect_llvm())


def compile_actor(actor: type, schema: Schema, *, verbose: bool = False) -> CompiledActor:
    """Compiles every handler that `actor` defines, and every @on method.

    `schema` knows the numbers of the message types of the whole layout. ActorError has all that is wrong, each with file,
    line and caret; `verbose` adds Numba's own words where it was Numba that refused.
    """
    started = time.perf_counter()
    if config.DISABLE_JIT:
        text = "NUMBA_DISABLE_JIT is set in the environment, so nothing can be compiled"
        raise ActorError(Problem("", text, remedy="unset NUMBA_DISABLE_JIT, or --interpret"))
    spec = spec_of(actor)
    session = Session(spec, schema)
    wanted: list[tuple[Any, Unit | None]] = [
        (name, session.handler(name, function)) for name, function in spec.handlers.items()
    ]
    wanted += [
        (each.message, session.handler(each.name, each.function, each.reply))
        for each in spec.messages
    ]
    if session.problems:
        raise ActorError(session.problems)
    for unit in session.order:
        build(session, unit, verbose=verbose)
    if session.problems:
        raise ActorError(session.problems)
    named = [
        (f"{actor.__qualname__}.{unit.name}", unit.compiled)
        for _, unit in wanted
        if unit is not None
    ]
    addresses, kept = link(named)
    refuse_allocation(spec, kept[0].inspect_llvm())
    found = dict(zip([key for key, _ in wanted], addresses, strict=True))
    return CompiledActor(
        spec,
        {key: pair for key, pair in found.items() if isinstance(key, str)},
        {key: pair for key, pair in found.items() if not isinstance(key, str)},
        time.perf_counter() - started,
        (*kept, session),
    )


def build(session: Session, unit: Unit, *, verbose: bool) -> None:
    """Compiles one unit; what Numba refuses becomes a problem at the line it names."""
    try:
        unit.compile()
    except Exception as error:  # noqa: BLE001
        line = getattr(getattr(error, "loc", None), "line", None) or unit.source.tree.lineno
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
        if isinstance(error, NumbaError):
            sentence = f"{unit.name} does not compile: {text[:160]}"
            advice = "write this line in smaller steps; --verbose shows the compiler's own words"
        else:
            sentence = f"the compiler itself failed: {type(error).__name__}: {text[:160]}"
            advice = "please report this with what --verbose shows"
        place = Place(session.spec.actor.__name__, unit.name)
        shown = excerpt(unit.source.file, line)
        if verbose:
            shown += "\n" + traceback.format_exc()
        remedy = "" if verbose else advice
        session.problems.append(
            Problem(
                file=unit.source.file,
                line=line,
                key=str(place),
                problem=sentence,
                remedy=remedy,
                excerpt=shown,
            )
        )


def refuse_allocation(spec: ActorSpec, llvm: str) -> None:
    """A handler must not ask for memory: nothing in its machine code may."""
    found = re.search(r"@\"?(NRT_\w*alloc\w*)", llvm, re.IGNORECASE)
    if found:
        code = next(iter(spec.handlers.values())).__code__
        raise ActorError(
            Problem(
                file=code.co_filename,
                key=spec.actor.__name__,
                problem=f"its handlers would allocate memory ({found[1]})",
                remedy="use States, Arrays and Views only",
            )
        )
