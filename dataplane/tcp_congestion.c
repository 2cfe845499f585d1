/* How much may be in flight: slow start, congestion avoidance, fast retransmit and recovery (RFC 5681, 6582, 3465).
 * Works on numbers alone; whoever calls it sends. */
#include "tcp_inside.h"

static uint32_t half_flight(const struct record *record) {
    return greater((record->snd_nxt - record->snd_una) / 2, 2u * record->mss);
}

void congestion_start(struct record *record, struct busy *busy) {
    busy->cwnd = INITIAL_SEGMENTS * record->mss;
    busy->ssthresh = UINT32_MAX;
    busy->recover = record->snd_una - 1;
    busy->rto = rtt_rto(record);
    busy->resend = record->snd_nxt;
    busy->recovering = RECOVERY_NONE;
}

int congestion_duplicate(struct record *record, struct busy *busy) {
    if (busy->recovering == RECOVERY_FAST) {
        busy->cwnd += record->mss; /* one more segment has left the network */
        return 0;
    }
    if (busy->dupacks < UINT8_MAX) {
        busy->dupacks++;
    }
    if (busy->dupacks != 3 || busy->recovering == RECOVERY_LOSS || seq_diff(record->snd_una - 1, busy->recover) < 0) {
        return 0;
    }
    busy->ssthresh = half_flight(record);
    busy->recover = record->snd_nxt;
    busy->recovering = RECOVERY_FAST;
    busy->cwnd = busy->ssthresh + 3u * record->mss;
    return 1;
}

static void grow(struct record *record, struct busy *busy, uint32_t acked) {
    if (busy->cwnd < busy->ssthresh) {
        busy->cwnd += lesser(acked, 2u * record->mss);
    } else {
        busy->cwnd += greater((uint32_t)((uint64_t)record->mss * lesser(acked, record->mss) / busy->cwnd), 1);
    }
    busy->cwnd = lesser(busy->cwnd, 1u << 30);
}

/* After snd_una has moved by `acked`. 1: a partial acknowledgement, snd_una is to be sent again (RFC 6582 3.2). */
int congestion_acked(struct record *record, struct busy *busy, uint32_t acked) {
    int whole = seq_diff(record->snd_una, busy->recover) >= 0;
    busy->dupacks = 0;
    if (busy->recovering == RECOVERY_FAST && whole) {
        busy->cwnd = lesser(busy->ssthresh, greater(record->snd_nxt - record->snd_una, record->mss) + record->mss);
        busy->recovering = RECOVERY_NONE;
        return 0;
    }
    if (busy->recovering == RECOVERY_FAST) {
        busy->cwnd -= lesser(acked, busy->cwnd - record->mss);
        busy->cwnd += acked >= record->mss ? record->mss : 0;
        return 1;
    }
    if (busy->recovering == RECOVERY_LOSS && whole) {
        busy->recovering = RECOVERY_NONE;
    }
    grow(record, busy, acked);
    return 0;
}

void congestion_timeout(struct record *record, struct busy *busy) {
    if (!busy->retransmits) {
        busy->ssthresh = half_flight(record);
    }
    busy->cwnd = record->mss;
    busy->recover = record->snd_nxt;
    busy->recovering = RECOVERY_LOSS;
    busy->resend = record->snd_una;
    busy->dupacks = 0;
    busy->rtt_start = 0; /* Karn: what is sent again gives no sample */
}
