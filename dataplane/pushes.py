"""A push as it travels: the parts of struct push_part (dataplane/push.h) that fit the ring's messages."""

from collections.abc import Iterator
from struct import Struct

from .native import lib

__all__ = [
    "BROADCAST",
    "EVENT_PUSH",
    "EVERY_LISTENER",
    "PUBLISH",
    "PUSH_MOST",
    "SEND",
    "core_of",
    "parts",
]

EVENT_PUSH: int = lib.EVENT_PUSH
SEND: int = lib.PUSH_SEND
BROADCAST: int = lib.PUSH_BROADCAST
PUBLISH: int = lib.PUSH_PUBLISH
EVERY_LISTENER: int = lib.PUSH_EVERY_LISTENER
PUSH_MOST: int = lib.SHARE_MOST
"""Bytes of the longest push."""
HEAD = Struct("=QIIII")
ROOM: int = lib.RING_MESSAGE_MAX - lib.PUSH_PART_HEADER
CORE_SHIFT = 56


def core_of(handle: int) -> int:
    """The number of the core that a connection's handle names."""
    return handle >> CORE_SHIFT


def parts(kind: int, to: int, sequence: int, data: bytes) -> Iterator[bytes]:
    """The payloads of the EVENT_PUSH messages that carry `data`, in order."""
    for at in range(0, len(data), ROOM):
        yield HEAD.pack(to, sequence, len(data), at, kind) + data[at : at + ROOM]
