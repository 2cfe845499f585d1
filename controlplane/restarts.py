"""One-for-one supervision of a control actor: an error gives it a new instance, too many errors end it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..runtime.actor import ControlActor


@dataclass(slots=True)
class Restarts:
    """`make` gives a fresh instance; more than `most` of them within `seconds`, and `give_up(error)` is called once."""

    make: Callable[[], ControlActor]
    most: int
    seconds: float
    give_up: Callable[[str, BaseException], None]
    times: deque[float] = field(default_factory=deque)

    def allowed(self, now: float) -> bool:
        """Whether one more may be made at `now`, in seconds."""
        self.times.append(now)
        while self.times[0] < now - self.seconds:
            self.times.popleft()
        return len(self.times) <= self.most
