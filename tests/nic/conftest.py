"""Fixtures: cores with actors written in C."""

from rig import handlers, rig

__all__ = ["handlers", "rig"]
