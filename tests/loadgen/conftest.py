"""Fixtures: cores with actors written in C."""

from rig import handlers

__all__ = ["handlers"]
