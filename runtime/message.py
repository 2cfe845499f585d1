"""Message and Request: what actors tell and ask each other; the same bytes on both planes."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar, dataclass_transform, get_args, get_origin

from .errors import ActorError
from .fixed import Fixed
from .shape import declared

__all__ = ["MESSAGE_MAX", "Message", "Request", "reply_of"]

MESSAGE_MAX = 56 * 64  # bytes: RING_MESSAGE_MAX of runtime/ring.h


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Message(Fixed):
    """A message with a fixed layout of at most 3584 bytes; up to 56 bytes cost one cell of a ring.

        class Visit(Message):
            connection: u64
            requests: u32 = 0

        Visit(connection=connection.handle, requests=3)

    Fields without a default must be given, by name. In a handler numbers keep their low bits; elsewhere one out of range
    is a ValueError that names class and field. A message cannot be changed. `to_bytes` and `from_bytes` are inverse.
    """

    __slots__ = ()
    __limit__: ClassVar[int] = MESSAGE_MAX
    __limit_of__: ClassVar[str] = "a message"
    __frozen__: ClassVar[bool] = True
    __defaults_allowed__: ClassVar[bool] = True


Reply_co = TypeVar("Reply_co", bound=Fixed, covariant=True)


class Request(Message, Generic[Reply_co]):
    """A message that is answered with `Reply`, a State or a Message: `class GetTotals(Request[Totals])`.

    What the `@on(GetTotals)` method returns is the reply; `await runtime["web"][0].ask(GetTotals())` is a `Totals`.
    """

    __slots__ = ()


def reply_of(cls: type[Message]) -> type[Fixed] | None:
    """The reply type of a Request class; None for a plain Message. ActorError if it names none."""
    if not issubclass(cls, Request):
        return None
    for base in cls.__mro__:
        for parent in base.__dict__.get("__orig_bases__", ()):
            if get_origin(parent) is Request:
                (reply,) = get_args(parent)
                if isinstance(reply, type) and issubclass(reply, Fixed):
                    return reply
    raise ActorError(
        declared(
            cls,
            "",
            "it does not say what it is answered with",
            f"class {cls.__name__}(Request[Totals])",
        )
    )
