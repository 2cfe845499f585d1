"""Fixtures: cores with actors written in C, and servers made of them."""

from clients import serve
from rig import handlers, rig

__all__ = ["handlers", "rig", "serve"]
