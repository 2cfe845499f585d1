/* A new worker takes over: every connection goes on. Where a kill fell between two stores that belong together the
 * later one is made up for; what was in flight is sent again. Owned by the core. */
#include "actor.h"
#include "buffer.h"
#include "neighbour.h"
#include "relay.h"
#include "stream.h"
#include "table.h"
#include "tcp_inside.h"
#include "time_wait.h"
#include "timer.h"

enum { LATELY = 5 }; /* milliseconds before the last turn */

/* tcp_ack.c move_una: snd_una and the send buffer. */
static void finish_ack(struct core *core) {
    uint32_t index = core->state->ack_index;
    if (!index) {
        return;
    }
    uint32_t queued = stream_queued(core, index);
    if (queued > core->state->ack_left) {
        stream_acknowledge(core, index, queued - core->state->ack_left);
    }
    core->records[index].snd_una = core->state->ack_una;
    core->state->ack_index = RECORD_NONE;
}

/* tcp_open.c establish: what opens a connection after its state. */
static void finish_opening(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (!(record->flags & FLAG_OPENED)) {
        record->snd_una = record->snd_nxt;
        actor_open(core, index);
    }
}

/* tcp_out.c fin_goes: snd_nxt counts a FIN before the flag and the state say so. */
static void finish_sent_fin(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (record->snd_nxt - record->snd_una > stream_queued(core, index)) {
        record->flags |= FLAG_FIN_SENT;
    }
    if (!(record->flags & FLAG_FIN_SENT)) {
        return;
    }
    if (record->state == STATE_ESTABLISHED) {
        record->state = STATE_FIN_WAIT_1;
    } else if (record->state == STATE_CLOSE_WAIT) {
        record->state = STATE_LAST_ACK;
    }
    int waits = record->state == STATE_FIN_WAIT_1 || record->state == STATE_CLOSING || record->state == STATE_LAST_ACK;
    if (waits && record->snd_una == record->snd_nxt) {
        close_fin_acked(core, index);
    }
}

static void resume_sending(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    struct busy *busy = busy_of(core, index);
    if (!busy) {
        return;
    }
    busy->rto_deadline = busy->ack_deadline = busy->persist_deadline = 0;
    congestion_start(record, busy);
    busy->resend = record->snd_una;
    busy->recover = record->snd_nxt;
    busy->recovering = record->snd_una == record->snd_nxt ? RECOVERY_NONE : RECOVERY_LOSS;
    busy->retransmits = busy->persists = busy->dupacks = 0;
    busy->rtt_start = 0;
}

static void adopt_one(struct core *core, uint32_t index) {
    struct record *record = &core->records[index];
    if (record->state == STATE_CLOSED) { /* free, being opened, or being buried: only the last two are in the table */
        if (table_find_one(core, &record->flow, record->hash) == index) {
            close_bury(core, index);
        }
        return;
    }
    if (record->state == STATE_SYN_SENT || record->state == STATE_SYN_RECEIVED) {
        timer_set(core, index, TIMER_TRANSPORT, later(core, RTO_FIRST));
        return;
    }
    finish_opening(core, index);
    finish_sent_fin(core, index);
    resume_sending(core, index);
    if (record->state == STATE_FIN_WAIT_2 && !relay_listens(core, index)) {
        timer_set(core, index, TIMER_TRANSPORT, later(core, FIN_WAIT_2_MOST));
    }
    /* Its last ACK may have been gathered and never sent. */
    uint32_t last_turn = (uint32_t)(core->state->now / 1000000);
    if (record->flags & FLAG_ACK_DELAYED || last_turn - record->last_activity < LATELY) {
        record->flags |= FLAG_ACK_NOW;
    }
    /* Nobody asked its peer meanwhile. */
    if (core->config.keepalive && core->tick - record->last_activity > core->config.keepalive * 1000) {
        record->last_activity = core->tick - core->config.keepalive * 1000 + 1;
    }
    if ((record->flags & (FLAG_FIN_RECEIVED | FLAG_END_TOLD)) == FLAG_FIN_RECEIVED) {
        actor_end(core, index);
    }
    actor_pend(core, index);
}

int tcp_adopt(struct core *core) {
    int error = core->nic->driver->adopt(core->nic);
    if (error) {
        return error;
    }
    finish_ack(core);
    if (core->state->end_index) {
        close_end(core);
        core->state->end_index = RECORD_NONE;
    }
    time_wait_recover(core);
    half_open_recover(core); /* before anything below closes one */
    for (uint32_t index = 1; index < core->state->record_fresh; index++) {
        adopt_one(core, index);
    }
    return 0;
}
