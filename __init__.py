"""splitplane: a multi-core actor runtime: data-plane actors own connections, asyncio controls them."""

__version__ = "0.1.0"
