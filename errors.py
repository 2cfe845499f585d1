"""Everything splitplane raises on purpose, and the Problem that each is made of."""

from .runtime.errors import (
    ActorError,
    AskError,
    LayoutError,
    MachineError,
    Problem,
    QuarantineError,
    RegistryError,
    SplitplaneError,
    StaleError,
    StartError,
)

__all__ = [
    "ActorError",
    "AskError",
    "LayoutError",
    "MachineError",
    "Problem",
    "QuarantineError",
    "RegistryError",
    "SplitplaneError",
    "StaleError",
    "StartError",
]
