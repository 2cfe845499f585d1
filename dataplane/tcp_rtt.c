/* Round-trip time and retransmission timeout: RFC 6298. Pure. */
#include "tcp_inside.h"

void rtt_sample(struct record *record, uint32_t microseconds) {
    uint32_t sample = greater(lesser(microseconds, RTO_MOST * 1000u), 1);
    if (!record->srtt) {
        record->srtt = sample;
        record->rttvar = sample / 2;
        return;
    }
    uint32_t off = sample > record->srtt ? sample - record->srtt : record->srtt - sample;
    record->rttvar = record->rttvar - record->rttvar / 4 + off / 4;
    record->srtt = greater(record->srtt - record->srtt / 8 + sample / 8, 1);
}

uint32_t rtt_rto(const struct record *record) {
    if (!record->srtt) {
        return RTO_FIRST;
    }
    uint32_t milliseconds = (record->srtt + greater(4 * record->rttvar, 1000) + 999) / 1000;
    return lesser(greater(milliseconds, RTO_LEAST), RTO_MOST);
}
