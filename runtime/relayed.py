"""`actor = "controlplane"`: the listener whose connections the control plane serves as asyncio streams."""

from .actor import DataActor

CONTROL_PLANE = "controlplane"
"""What the layout calls it."""


class Relayed(DataActor):
    """Stands for the relay (dataplane/relay.c), which passes a connection's bytes to the control plane and back."""
