"""splitplane: a multi-core actor runtime. Data-plane actors own connections on isolated cores; the control plane is asyncio."""

__version__ = "0.1.0"
