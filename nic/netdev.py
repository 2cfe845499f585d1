"""What a network driver can do, as the kernel's netdev family says: XDP in the driver, and the NAPIs that serve it.

Kernel document: Documentation/netlink/specs/netdev.yaml. Linux 6.3 and 6.8; older ones don't know the questions.
"""

from typing import Any

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

_DEV_GET, _NAPI_GET = 1, 11
_REDIRECT = 2
"""NETDEV_XDP_ACT_REDIRECT: native XDP, as AF_XDP needs it."""


class _Device(genlmsg):  # type: ignore[misc]
    nla_map = ((1, "INDEX", "uint32"), (2, "PAD", "none"), (3, "XDP", "uint64"))


class _Napi(genlmsg):  # type: ignore[misc]
    nla_map = ((1, "INDEX", "uint32"), (2, "ID", "uint32"))


def native_xdp(index: int) -> bool | None:
    """Whether the interface's driver runs XDP itself; None: this Linux doesn't say."""
    answer = _asked(_Device, _DEV_GET, index, 0)
    return bool(answer[0].get("XDP", 0) & _REDIRECT) if answer else None


def napis(index: int) -> int | None:
    """How many NAPIs the interface has now: what busy polling polls; None: this Linux doesn't say."""
    answer = _asked(_Napi, _NAPI_GET, index, NLM_F_DUMP)
    return None if answer is None else len(answer)


def _asked(kind: type[Any], command: int, index: int, flags: int) -> list[dict[str, Any]] | None:
    message = kind()
    message["cmd"], message["version"] = command, 1
    message["attrs"] = [("INDEX", index)]
    with GenericNetlinkSocket() as asked:
        try:
            asked.bind("netdev", kind)
            found = asked.nlm_request(message, asked.prid, NLM_F_REQUEST | flags)
            return [dict(one["attrs"]) for one in found]
        except (NetlinkError, OSError):
            return None
