"""What the control plane has counted, and how full it is, as the registry tells it: CONTROL_COUNTERS, CONTROL_LEVELS."""

from typing import TYPE_CHECKING

from ..runtime.facts import CONTROL_COUNTERS, CONTROL_LEVELS

if TYPE_CHECKING:
    from .service import Service


def counters(service: "Service") -> dict[str, int]:
    """Since the start, in the order of CONTROL_COUNTERS."""
    post, cores, pushes, streams = service.post, service.cores, service.pushes, service.streams
    boxes = post.totals()
    found = {
        "messages_taken": service.taken,
        "messages_handled": boxes["handled"],
        "messages_failed": boxes["failed"],
        "messages_unknown": boxes["unknown"] + post.unknown,
        "events_lost": post.events_lost,
        "actors_replaced": boxes["restarted"],
        "told": sum(peer.told for peer in cores),
        "tells_waited": sum(peer.waited for peer in cores),
        "asked": sum(peer.asked for peer in cores),
        "replies_late": sum(peer.late for peer in cores),
        "sent": pushes.sent,
        "broadcasts": pushes.broadcasts,
        "published": pushes.published,
        "streams_opened": streams.opened,
        "streams_refused": streams.refused,
        "streams_stale": streams.stale,
        "faults": service.faults,
        "wakeups": service.wakeups,
    }
    return {name: found[name] for name in CONTROL_COUNTERS}


def levels(service: "Service") -> dict[str, int]:
    """Now, in the order of CONTROL_LEVELS."""
    found = {
        "asks": sum(peer.asks for peer in service.cores),
        "tells_waiting": sum(peer.waiting for peer in service.cores),
        "streams": service.streams.live,
        "rings_held": service.held,
        **service.post.levels(),
    }
    return {name: found[name] for name in CONTROL_LEVELS}
