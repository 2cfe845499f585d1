"""What a runtime's counters say: one look at all of it, and what happened between two looks. Knows no terminal."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ..dataplane.core_state import DRAINING, RUNNING, STOPPED
from ..dataplane.peek import HISTOGRAMS, Histogram
from ..runtime.facts import CONTROL_COUNTERS, CONTROL_LEVELS

if TYPE_CHECKING:
    from ..runtime.attached import Attached
    from ..runtime.facts import CoreFacts

DROP = "drop_"
LOSSES = (
    "accept_refused",
    "mailbox_full",
    "messages_unknown",
    "overflows",
    "no_buffer",
    "buffer_evicted",
    "half_open_evicted",
    "time_wait_recycled",
    "connections_lost",
    "tells_quarantined",
    "push_slow",
    "push_reset",
    "push_stale",
    "push_no_room",
    "subscriptions_full",
    "hand_over_refused",
    "stream_stale",
)
"""Counters besides drop_… that count something lost."""
RUNS = {RUNNING: "running", DRAINING: "draining", STOPPED: "stopped"}
SILENT = 3.0
"""Seconds without a refresh from which on the control plane is said to hang."""


def drops(counters: dict[str, int]) -> dict[str, int]:
    """Everything that was dropped or lost, by its reason: a closed list, those at 0 too."""
    named = {
        name.removeprefix(DROP): count for name, count in counters.items() if name.startswith(DROP)
    }
    others = {f"actor_{name}" if name in named else name: counters[name] for name in LOSSES}
    return named | others


@dataclass(frozen=True, slots=True)
class CoreFigures:
    """One core at one look."""

    facts: "CoreFacts"
    words: dict[str, int]
    run: str
    now: int
    """Nanoseconds of CLOCK_MONOTONIC when its last turn began."""
    counters: dict[str, int]
    fill: dict[str, int]
    rings: dict[str, tuple[int, int, int]]
    times: dict[str, Histogram]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        facts = self.facts
        return {
            "core": facts.number,
            "group": facts.group,
            "cpu": facts.cpu,
            "driver": facts.driver,
            "run": self.run,
            "worker": self.words["pid"],
            "deaths": self.words["deaths"],
            "stalls": self.words["stalls"],
            "outage_seconds": self.words["outage"] / 1e9,
            "counters": self.counters,
            "drops": drops(self.counters),
            "pools": self.fill,
            "rings": {
                name: dict(zip(("used", "cells", "refused"), level, strict=True))
                for name, level in self.rings.items()
            },
            "times": {
                name: {
                    "count": sum(found.counts),
                    "seconds": found.total,
                    "p50_seconds": found.quantile(0.5),
                    "p99_seconds": found.quantile(0.99),
                    "p999_seconds": found.quantile(0.999),
                }
                for name, found in self.times.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at a runtime."""

    at: float
    """Seconds of the monotonic clock."""
    name: str
    pid: int
    version: str
    alive: bool
    orphaned: bool
    words: dict[str, int]
    mailboxes: dict[str, dict[str, int]]
    cores: tuple[CoreFigures, ...]

    @classmethod
    def of(cls, attached: "Attached") -> Self:
        """Looks now."""
        return cls(
            at=time.monotonic(),
            name=attached.name,
            pid=attached.facts.pid,
            version=attached.facts.version,
            alive=attached.alive,
            orphaned=attached.orphaned,
            words=attached.words.runtime(),
            mailboxes=attached.words.mailboxes(),
            cores=tuple(_core(attached, core) for core in attached.facts.cores),
        )

    @property
    def silent(self) -> float:
        """Seconds since the control plane's event loop refreshed its words; 0 while it does so in time."""
        passed = self.at - self.words["refreshed"] / 1e9
        return passed if passed > SILENT else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "pid": self.pid,
            "version": self.version,
            "alive": self.alive,
            "orphaned": self.orphaned,
            "control_plane": {
                "silent_seconds": self.silent,
                "launcher": self.words["launcher"],
                "launcher_deaths": self.words["launcher_deaths"],
                "counters": {name: self.words[name] for name in CONTROL_COUNTERS},
                "levels": {name: self.words[name] for name in CONTROL_LEVELS},
                "mailboxes": self.mailboxes,
            },
            "groups": {
                group: group_totals(core for core in self.cores if core.facts.group == group)
                for group in dict.fromkeys(core.facts.group for core in self.cores)
            },
            "cores": [core.as_dict() for core in self.cores],
        }


def group_totals(cores: Any) -> dict[str, Any]:
    """Counters and pools of some cores added up."""
    counters: dict[str, int] = {}
    pools: dict[str, int] = {}
    for core in cores:
        for total, part in ((counters, core.counters), (pools, core.fill)):
            for name, count in part.items():
                total[name] = total.get(name, 0) + count
    return {"counters": counters, "drops": drops(counters), "pools": pools}


def _run(attached: "Attached", number: int) -> str:
    """What the core does, or what was done with it."""
    if attached.words.core(number)["quarantined"]:
        return "quarantined"
    return RUNS.get(attached.core(number).run, "?")


def _core(attached: "Attached", facts: "CoreFacts") -> CoreFigures:
    number = facts.number
    peek = attached.core(number)
    return CoreFigures(
        facts=facts,
        words=attached.words.core(number) | {"pid": attached.worker(number)},
        run=_run(attached, number),
        now=peek.now,
        counters=peek.counters(),
        fill=peek.fill(),
        rings=attached.rings(number),
        times={name: peek.histogram(name) for name in HISTOGRAMS},
    )


@dataclass(frozen=True, slots=True)
class Rates:
    """A core between two looks: everything by second, `utilisation`, `handlers` and `slept` parts of 1."""

    before: CoreFigures
    after: CoreFigures
    seconds: float

    def by_second(self, counter: str) -> float:
        """How fast a counter moves."""
        return (self.after.counters[counter] - self.before.counters[counter]) / self.seconds

    def _part(self, nanoseconds: float) -> float:
        """Of the time that the core's own clock passed through, or of ours while it stands."""
        own = max((self.after.now - self.before.now) / 1e9, self.seconds)
        return min(max(nanoseconds / 1e9 / own, 0.0), 1.0)

    @property
    def utilisation(self) -> float:
        """The time in turns that found work."""
        return self._part(self.by_second("busy_nanoseconds") * self.seconds)

    @property
    def handlers(self) -> float:
        """The time in handlers, estimated from one call in about 128; at most all of `utilisation`."""
        spent = self.times("handler").total * 1e9
        return min(self._part(spent), self.utilisation)

    def times(self, name: str) -> Histogram:
        """What a histogram counted meanwhile."""
        return self.after.times[name].since(self.before.times[name])

    def drops(self) -> dict[str, float]:
        """Drops by second and reason, those that happened."""
        before, after = drops(self.before.counters), drops(self.after.counters)
        return {
            name: (count - before[name]) / self.seconds
            for name, count in after.items()
            if count > before[name]
        }


def rates(before: Figures, after: Figures) -> tuple[Rates, ...]:
    """Each core between two looks at the same runtime."""
    seconds = max(after.at - before.at, 1e-9)
    pairs = zip(before.cores, after.cores, strict=True)
    return tuple(Rates(one, other, seconds) for one, other in pairs)
