/* ICMP errors about segments of ours. "Fragmentation needed" lowers the segment size to that destination and sends what
 * is in flight again at once (RFC 1191); every other one is borne and counted, for TCP finds out by itself what is no
 * more (RFC 5461). Believed only if it quotes a sequence number in flight (RFC 5927 section 4.1). Owned by the core. */
#include "actor.h"
#include "buffer.h"
#include "handover.h"
#include "stats.h"
#include "table.h"
#include "tcp_inside.h"

enum { QUOTED = IP_HEADER + 8, FRAGMENTATION_NEEDED = 4 };

/* RFC 1191 section 7: what to try when an old router doesn't say which size would do. */
static uint32_t plateau_below(uint32_t total) {
    static const uint16_t plateaus[] = {8166, 4352, 2002, 1492, 1006};
    for (unsigned i = 0; i < sizeof plateaus / sizeof *plateaus; i++) {
        if (plateaus[i] < total) {
            return plateaus[i];
        }
    }
    return PATH_LEAST;
}

static int quotes_ours(const struct core *core, const uint8_t *icmp, uint32_t length) {
    const uint8_t *ip = icmp + ICMP_HEADER;
    return length >= ICMP_HEADER + QUOTED && wire_fold(wire_sum(icmp, length, 0)) == 0xffff &&
           ip[IP_VERSION_LENGTH] == 0x45 && ip[IP_PROTOCOL] == PROTOCOL_TCP && /* we send no IP options */
           !(wire_get16(ip + IP_FRAGMENT) & IP_FRAGMENT_MASK) &&
           memcmp(ip + IP_SOURCE, &core->config.local_address, 4) == 0;
}

/* All that is in flight goes again, in pieces that fit; it was too large, not too much: cwnd stays. One message a
 * segment comes: the first of a flight does it. */
static void send_again(struct core *core, uint32_t index, uint32_t seq) {
    struct record *record = &core->records[index];
    struct busy *busy = busy_of(core, index);
    if (!busy || (busy->recovering == RECOVERY_LOSS && seq_diff(seq, busy->recover) < 0)) {
        return;
    }
    busy->resend = record->snd_una;
    busy->recover = record->snd_nxt;
    busy->recovering = RECOVERY_LOSS; /* so that duplicate ACKs of what got through begin no recovery */
    busy->dupacks = 0;
    busy->rtt_start = 0;
    actor_pend(core, index);
}

static void fragmentation_needed(struct core *core, uint32_t index, const uint8_t *icmp, uint32_t seq) {
    uint32_t total = wire_get16(icmp + ICMP_HEADER + IP_TOTAL), mtu = wire_get16(icmp + ICMP_NEXT_MTU);
    uint32_t remote = core->records[index].flow.remote_address;
    mtu = mtu ? mtu : plateau_below(total);
    if (mtu >= total) { /* it would have fitted */
        core->counters[COUNTER_DROP_ICMP]++;
        return;
    }
    core->counters[COUNTER_PATH_MTU_LOWERED] += (uint32_t)path_lower(core, remote, mtu);
    if (total > path_mtu(core, remote)) {
        send_again(core, index, seq);
    }
}

void error_input(struct core *core, const uint8_t *frame, const uint8_t *icmp, uint32_t length, uint32_t hops) {
    if (!quotes_ours(core, icmp, length)) {
        core->counters[COUNTER_DROP_ICMP]++;
        return;
    }
    const uint8_t *ip = icmp + ICMP_HEADER, *tcp = ip + IP_HEADER;
    struct flow flow;
    memcpy(&flow.local_address, ip + IP_SOURCE, 4);
    memcpy(&flow.remote_address, ip + IP_DESTINATION, 4);
    memcpy(&flow.local_port, tcp + TCP_SOURCE, 2);
    memcpy(&flow.remote_port, tcp + TCP_DESTINATION, 2);
    uint32_t index = table_find_one(core, &flow, table_hash(core, &flow));
    if (!index) {
        if (!handover_frame(core, frame, hops)) {
            core->counters[COUNTER_DROP_ICMP]++;
        }
        return;
    }
    const struct record *record = &core->records[index];
    uint32_t seq = wire_get32(tcp + TCP_SEQUENCE);
    if (seq_diff(seq, record->snd_una) < 0 || seq_diff(seq, record->snd_nxt) >= 0) {
        core->counters[COUNTER_DROP_ICMP_FLIGHT]++;
        return;
    }
    core->counters[COUNTER_ICMP_ERRORS]++;
    if (icmp[ICMP_TYPE] == ICMP_UNREACHABLE && icmp[ICMP_CODE] == FRAGMENTATION_NEEDED) {
        fragmentation_needed(core, index, icmp, seq);
    }
}
