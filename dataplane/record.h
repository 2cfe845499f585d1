/* A connection's memory, line by line: what each byte is for stands in docs/records.md.
 * Lives in the arena's records and busy sections; written by the owning core only.
 * Knows neither frames nor sockets nor actors. Times are the core's ticks: milliseconds, modulo 2^32. */
#pragma once

#include <stdint.h>

enum {
    RECORD_NONE = 0,         /* index 0 is never a connection */
    RECORD_STATE_BYTES = 32, /* application state inside the record */
    RECORD_INDEX_BITS = 24,
    RECORD_GENERATION_BITS = 32,
};
/* record.next of a taken record is at least this. A taken record whose state is still CLOSED belongs to nobody yet:
 * adoption frees it. So its owner fills it in first and gives it a state last. */
enum { RECORD_TAKEN = 0x7f000000 };

/* RFC 9293 section 3.3.2; LISTEN has no record, CLOSED is a free one. */
enum record_state {
    STATE_CLOSED,
    STATE_SYN_SENT,
    STATE_SYN_RECEIVED,
    STATE_ESTABLISHED,
    STATE_FIN_WAIT_1,
    STATE_FIN_WAIT_2,
    STATE_CLOSE_WAIT,
    STATE_CLOSING,
    STATE_LAST_ACK,
    STATE_TIME_WAIT,
};

/* record.flags. The upper byte is the actor's, the lower the transport's. */
enum record_flag {
    FLAG_SACK = 1 << 0,             /* peer permits SACK (RFC 2018) */
    FLAG_TIMESTAMPS = 1 << 1,       /* both sides sent timestamps (RFC 7323) */
    FLAG_ECN = 1 << 2,              /* negotiated (RFC 3168) */
    FLAG_ACK_NOW = 1 << 3,          /* owe the peer an ACK at the next output */
    FLAG_ACK_DELAYED = 1 << 4,      /* owe one by the ACK deadline */
    FLAG_FIN_RECEIVED = 1 << 5,     /* the peer's FIN is in order and acknowledged */
    FLAG_FIN_SENT = 1 << 6,         /* our FIN occupies snd_nxt - 1 */
    FLAG_ACTIVE = 1 << 7,           /* we opened it */
    FLAG_PENDING = 1 << 8,          /* on the core's pending list: output at the end of the turn */
    FLAG_CLOSING = 1 << 9,          /* the actor closed: send what is queued, then FIN */
    FLAG_ABORTING = 1 << 10,        /* the actor aborted, or a fault: RST, then free */
    FLAG_PAUSED = 1 << 11,          /* on_data waits for send space */
    FLAG_AGAIN = 1 << 12,           /* kept bytes to deliver next turn without waiting for a frame */
    FLAG_OPENED = 1 << 13,          /* on_open ran, so on_close is owed */
    FLAG_END_TOLD = 1 << 14,        /* on_end ran */
    FLAG_WRITABLE_WANTED = 1 << 15, /* try_send failed: call on_writable when space is free */
};

struct flow { /* network byte order, as in the frame; ours is "local" */
    uint32_t local_address, remote_address;
    uint16_t local_port, remote_port;
};

struct record {
    /* Line 0: all that the in-order path touches. */
    struct flow flow;
    uint32_t rcv_nxt; /* RFC 9293 names from here on; host byte order */
    uint32_t snd_una, snd_nxt;
    uint32_t snd_wnd; /* bytes, already scaled */
    uint32_t snd_wl1;
    uint32_t last_activity;        /* tick */
    uint16_t mss;                  /* bytes we may put in one segment, options already deducted */
    uint8_t state;                 /* enum record_state */
    uint8_t listener;              /* index into the core's listeners; its actor serves this connection */
    uint16_t flags;                /* enum record_flag */
    uint8_t snd_scale, rcv_scale;  /* window shifts (RFC 7323), 0-14 */
    uint32_t transport_deadline;   /* tick, 0 = none: the earliest of RTO, delayed ACK, persist, TIME-WAIT */
    uint32_t application_deadline; /* tick, 0 = none: connection.set_timer */
    uint32_t ts_recent;            /* RFC 7323 TS.Recent */
    uint32_t busy;                 /* index of the busy block, 0 = idle */
    uint32_t rcv_edge;             /* right edge of the window we advertised: rcv_nxt + window */
    /* Line 1: the rest an idle connection needs. */
    uint8_t application[RECORD_STATE_BYTES];
    uint32_t generation;   /* changes with every reuse of this index; part of the handle */
    uint32_t next;         /* free: of the free list; taken: RECORD_TAKEN | where the wheel has it (timer.c) */
    uint32_t hash;         /* table_hash of flow, so that deletion needs no rehash */
    uint32_t opened;       /* tick at which on_open ran; 0 before: last_activity has the handshake's beginning then */
    uint32_t srtt, rttvar; /* microseconds (RFC 6298); srtt 0 = no sample yet */
    uint32_t queued;       /* tick at which the wheel will look at this record next, 0 = not queued */
    uint16_t neighbour;    /* index of the next hop's MAC (neighbour.h) */
    uint8_t close_reason;  /* enum close_reason + 1 once FLAG_ABORTING is set by the actor layer: why; else 0 */
    uint8_t snd_wnd_bits;  /* bit length of the largest window the peer offered: it was less than 1 << bits */
};

enum recovery { RECOVERY_NONE, RECOVERY_FAST /* RFC 6582 */, RECOVERY_LOSS /* after a timeout */ };

/* What only a connection with bytes in hand or in flight needs: 128 B, returned when it has neither. */
struct busy {
    /* Line 0: the two byte streams, used by every transport (stream.c). Buffers are offsets into the buffer section in
     * 64 B units. */
    uint32_t send_buffer, receive_buffer; /* 0 = none */
    uint32_t send_start, send_length;     /* ring inside the send buffer: place of the first unacknowledged byte, modulo
                                             its size; own bytes queued */
    uint32_t receive_start, receive_length; /* kept bytes: contiguous from receive_start */
    uint32_t need;                          /* connection.need(n): on_data is not called before n bytes are kept */
    uint8_t send_class, receive_class;      /* log2 of the buffers' sizes */
    uint8_t shared_class;                   /* log2 of the list's size */
    uint8_t line0_spare;
    uint32_t next;        /* free list */
    uint32_t owner;       /* record index: adoption finds leaked blocks with it */
    uint32_t shared_list; /* buffer of struct share_entry, a ring: bytes sent by many (share.h); 0 = none */
    uint16_t shared_first, shared_count; /* of its entries; count > 0 */
    uint32_t shared_done;                /* shared bytes acknowledged, modulo 2^32 */
    uint32_t islands;                    /* the list of what came out of order (islands.h), 0 = none */
    uint32_t moved;                      /* tick up to which what it holds has moved fast enough (stream.c) */
    uint32_t queued; /* tick at which the wheel will look at this block next, 0 = not queued; outlives the owner */
    /* Line 1: TCP's own. */
    uint32_t rto_deadline, ack_deadline, persist_deadline; /* ticks, 0 = none */
    uint32_t rto;                                          /* milliseconds, backed off */
    uint32_t rtt_seq;        /* the sequence number whose ACK ends the running RTT sample */
    uint32_t rtt_start;      /* microseconds; 0 = no sample running (Karn) */
    uint32_t cwnd, ssthresh; /* bytes (RFC 5681) */
    uint32_t recover;        /* RFC 6582 */
    uint8_t dupacks, retransmits, persists;
    uint8_t recovering; /* enum recovery */
    uint32_t resend;    /* next sequence number to send again, snd_una..snd_nxt; = snd_nxt: nothing */
    uint8_t line1_rest[16];
    uint32_t places; /* where the wheel has it (timer.c); outlives the owner */
};
