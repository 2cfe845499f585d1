/* Counters of one core: an array of uint64_t in the arena, written by the core alone, read by anyone.
 * counter_name gives the name people see: the enumerator in lower case, without the prefix. */
#pragma once

#include <stdint.h>

enum counter {
    COUNTER_TURNS,             /* loop turns */
    COUNTER_BUSY_TURNS,        /* of them, turns that found work */
    COUNTER_BUSY_NANOSECONDS,  /* that turns took which found work */
    COUNTER_SLEPT_NANOSECONDS, /* asleep, because nothing came */
    COUNTER_RX_FRAMES,
    COUNTER_RX_BYTES,
    COUNTER_TX_FRAMES,
    COUNTER_TX_BYTES,
    COUNTER_TX_FULL, /* a frame waited because the driver had no room */
    /* Frames dropped, by reason. */
    COUNTER_DROP_TRUNCATED,
    COUNTER_DROP_NOT_OURS,
    COUNTER_DROP_ETHERTYPE,
    COUNTER_DROP_VLAN,
    COUNTER_DROP_ARP,
    COUNTER_DROP_IP_VERSION,
    COUNTER_DROP_IP_HEADER,
    COUNTER_DROP_IP_CHECKSUM,
    COUNTER_DROP_IP_FRAGMENT,
    COUNTER_DROP_IP_PROTOCOL,
    COUNTER_DROP_TCP_HEADER,
    COUNTER_DROP_TCP_CHECKSUM,
    COUNTER_DROP_TCP_OPTIONS,
    COUNTER_DROP_TCP_FLAGS,
    COUNTER_DROP_NO_LISTENER,
    COUNTER_DROP_NO_CONNECTION,
    COUNTER_DROP_TABLE_FULL,
    COUNTER_DROP_HALF_OPEN,
    COUNTER_DROP_OUT_OF_WINDOW,
    COUNTER_DROP_OUT_OF_ORDER,
    COUNTER_OUT_OF_ORDER,
    COUNTER_DROP_DUPLICATE,
    COUNTER_DROP_TIMESTAMP,
    COUNTER_DROP_BAD_ACK,
    COUNTER_DROP_NO_BUFFER,
    COUNTER_DROP_WINDOW_FULL,
    COUNTER_DROP_ICMP,
    COUNTER_DROP_TOO_LONG,     /* longer than the MTU */
    COUNTER_DROP_NO_NEIGHBOUR, /* no room for another next hop */
    COUNTER_DROP_RST,          /* a reset outside the rules of RFC 5961 */
    COUNTER_DROP_CLOSED,       /* bytes for an actor that has closed */
    COUNTER_DROP_HANDOVER,     /* for another core of the group, whose ring was full */
    COUNTER_HANDED_ON,         /* frames of connections we do not know, given to the next core of the group */
    COUNTER_HANDED_IN,         /* and got from another one */
    COUNTER_PARTIAL_CHECKSUM,  /* accepted: the sum of the pseudo-header alone */
    COUNTER_ARP_REPLIES,
    COUNTER_ICMP_ERRORS,       /* about connections of ours: borne */
    COUNTER_DROP_ICMP_FLIGHT,  /* about them, quoting nothing that is in flight */
    COUNTER_PATH_MTU_LOWERED,  /* a router wants smaller segments (RFC 1191) */
    COUNTER_MTU_CAPPED,        /* the interface's MTU was set to more than a frame takes */
    COUNTER_ROUTES_TAKEN,      /* tables of routes and neighbours from the control plane */
    COUNTER_NEIGHBOUR_DOUBTED, /* told the control plane: a next hop has moved or doesn't answer */
    COUNTER_NEIGHBOURS_FORGOTTEN,
    COUNTER_VLAN_PASSED, /* tagged frames that the steering program left to Linux */
    COUNTER_ICMP_REPLIES,
    /* Connections. */
    COUNTER_OPENED,
    COUNTER_CLOSED,
    COUNTER_RESET_SENT,
    COUNTER_RESET_RECEIVED,
    COUNTER_TIMED_OUT,
    COUNTER_TIME_WAIT_RECYCLED,
    COUNTER_TIME_WAIT_REUSED, /* by a new SYN (RFC 6191) */
    COUNTER_HALF_OPEN_EVICTED,
    COUNTER_RETRANSMITTED,    /* segments */
    COUNTER_FAST_RETRANSMITS, /* recoveries begun by duplicate ACKs */
    COUNTER_TIMEOUTS,         /* retransmission timers that ran out */
    COUNTER_DUPLICATE_ACKS,   /* received */
    COUNTER_ZERO_WINDOW_PROBES,
    COUNTER_KEEPALIVE_PROBES,
    COUNTER_CHALLENGE_ACKS,
    COUNTER_ACCEPT_REFUSED, /* kernel transport: no record free, or no descriptor */
    /* Actors. */
    COUNTER_HANDLER_CALLS,
    COUNTER_FAULTS,
    COUNTER_FAULTS_QUIET,
    COUNTER_OVERFLOWS,
    COUNTER_RECEIVED_BYTES,
    COUNTER_SENT_BYTES,
    COUNTER_PAUSED,
    COUNTER_NO_BUFFER,
    COUNTER_BUFFER_EVICTED, /* reset because buffers had run out for a second */
    COUNTER_TIMERS_FIRED,
    /* Pushes of the control plane: one for each receiver. */
    COUNTER_PUSHED,
    COUNTER_PUSH_SLOW,    /* dropped for a receiver that had too much queued */
    COUNTER_PUSH_RESET,   /* the receiver was reset for that */
    COUNTER_PUSH_STALE,   /* the handle's connection was gone */
    COUNTER_PUSH_NO_ROOM, /* dropped for a receiver, or altogether: no memory for a second */
    COUNTER_SUBSCRIPTIONS_FULL,
    COUNTER_CONFIGURED, /* changes of the configs taken over */
    /* Messages. */
    COUNTER_TOLD,
    COUNTER_MAILBOX_FULL,
    COUNTER_TELLS_QUARANTINED, /* not sent: their group is quarantined */
    COUNTER_MESSAGES_IN,
    COUNTER_MESSAGES_UNKNOWN,
    /* Streams. */
    COUNTER_HANDED_OVER,       /* connections that an actor gave to the control plane */
    COUNTER_HAND_OVER_REFUSED, /* and could not, because the ring was full */
    COUNTER_STREAM_STALE,      /* messages of the control plane about connections that are gone */
    /* Survival. */
    COUNTER_ADOPTIONS,
    COUNTER_CONNECTIONS_LOST,
    COUNTER_INTENTS_FORWARD,
    COUNTER_INTENTS_BACK,
    COUNTER_COUNT,
};

const char *counter_name(int counter);
