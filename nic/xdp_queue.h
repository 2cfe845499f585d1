/* One AF_XDP socket: its four rings shared with the kernel, its frames, and who owns each of them.
 * The region lies in the arena's frames section: struct xdp_region, then the frames (the UMEM). Written by the owning
 * core; a new worker maps the rings again and recovers exactly what the dead one held (xdp_recover.c).
 * Knows nothing of what the frames say. Kernel document: Documentation/networking/af_xdp.rst. */
#pragma once

#include <stdint.h>

enum {
    XDP_FRAME = 2048,          /* bytes of a frame's slot; the kernel keeps the first 256 of it on reception */
    XDP_FRAME_MOST = 1792,     /* so a received frame has at most these */
    XDP_SEND_OFFSET = 50,      /* ours start here: the IP header is aligned */
    XDP_REGION_HEADER = 16384, /* bytes of struct xdp_region */
    XDP_FRAMES_MOST = 8192,    /* a queue's; a power of two */
    XDP_NO_RING = 0,
    XDP_FILL = 1,
    XDP_SEND = 2,
};

/* What a killed worker leaves behind. */
struct xdp_region {
    uint32_t frames;        /* of this queue */
    uint32_t receive_share; /* of them, those that circulate on the receiving side */
    /* One publication on its way: its frames lose their mark and the ring's producer moves, or neither. */
    uint32_t journal_ring; /* XDP_FILL, XDP_SEND; XDP_NO_RING = none; stored last, released */
    uint32_t journal_start, journal_count;
    uint32_t recovered, dropped; /* by the last recovery: frames held by the dead worker; of them claimed, unhandled */
    uint32_t in_hand; /* received frames that dead workers had in hand, in all: handled or not, nobody knows */
    uint8_t rest[32];
    uint8_t owned[XDP_FRAMES_MOST]; /* 1 = in the worker's hands, in no ring */
};

struct xdp_ring {
    uint32_t *producer, *consumer, *flags;
    void *slots; /* uint64_t (fill, completion) or struct xdp_desc (receive, send) */
    uint32_t mask;
    uint32_t at; /* our own end: producer of fill and send, consumer of receive and completion */
    void *mapped;
    uint64_t mapped_bytes;
};

struct xdp_queue {
    struct xdp_ring fill, completion, receive, send;
    struct xdp_region *region;
    uint8_t *frames; /* the UMEM */
    uint32_t *free;  /* frames to send with: a stack */
    uint32_t free_count;
    int32_t descriptor;
    uint32_t busy_poll; /* 1: the socket was opened so; the core drives the interface's NAPI each time it looks */
    struct steer_pulse *pulse; /* shared with the steering program (steer.h); may be NULL */
    uint64_t tagged;           /* what it counted when last looked at */
};

struct xdp_open {
    uint32_t interface; /* ifindex */
    uint32_t queue;
    uint32_t frames;    /* a power of two, at most XDP_FRAMES_MOST */
    uint32_t zero_copy; /* 1: refuse rather than copy; 0: copy */
    uint32_t busy_poll; /* microseconds; 0 = Linux serves the NAPI */
    void *region;       /* mapped, page-aligned, xdp_region_bytes(frames) long */
};

uint64_t xdp_region_bytes(uint32_t frames);
/* A bound socket over the region, its fill ring full; -errno. Needs CAP_NET_RAW, and memory that may be locked. */
int xdp_socket(const struct xdp_open *open);
/* Maps the rings of a socket that somebody opened; `region` may be mapped elsewhere than where it was registered. */
int xdp_map(struct xdp_queue *queue, int descriptor, void *region);
void xdp_unmap(struct xdp_queue *queue);
/* After xdp_map in a new worker: 0, or -EBADMSG when the journal contradicts the ring. */
int xdp_recover(struct xdp_queue *queue);
/* 1 = zero-copy, 0 = copy; -errno. */
int xdp_is_zero_copy(int descriptor);
