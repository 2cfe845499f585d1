/* Assembles the steering program. Registers: r6 the context, r7 the frame, r8 its end, r9 the IP header's length.
 * Stack: the struct steer_key at -8, the queue at -12. Instruction set: Documentation/bpf/standardization. */
#include "steer_program.h"

#include <errno.h>
#include <linux/in.h>
#include <stddef.h>

enum label { PASS, OURS, ARP, ICMP, TAGGED, LABELS };
enum { KEY = -8, KEY_PORT = -4, KEY_PROTOCOL = -2, QUEUE = -12 };
enum { R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 };
enum { LOOKUP = 1, KTIME = 5, REDIRECT_MAP = 51 }; /* helper numbers */

struct program {
    struct bpf_insn *code;
    int count, full;
    int at[LABELS];
    enum label target[STEER_INSTRUCTIONS];
    unsigned char jumps[STEER_INSTRUCTIONS];
};

static void emit(struct program *program, int code, int to, int from, int offset, int value) {
    if (program->count == STEER_INSTRUCTIONS) {
        program->full = 1;
        return;
    }
    program->code[program->count++] = (struct bpf_insn){
        .code = (__u8)code, .dst_reg = (__u8)to & 15, .src_reg = (__u8)from & 15, .off = (__s16)offset, .imm = value};
}

static void load(struct program *program, int size, int to, int from, int offset) {
    emit(program, BPF_LDX | BPF_MEM | size, to, from, offset, 0);
}

static void store(struct program *program, int size, int offset, int from) {
    emit(program, BPF_STX | BPF_MEM | size, R10, from, offset, 0);
}

static void copy(struct program *program, int to, int from) {
    emit(program, BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0);
}

static void set(struct program *program, int to, int value) {
    emit(program, BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value);
}

static void with(struct program *program, int operation, int to, int value) {
    emit(program, BPF_ALU64 | operation | BPF_K, to, 0, 0, value);
}

static void with_register(struct program *program, int operation, int to, int from) {
    emit(program, BPF_ALU64 | operation | BPF_X, to, from, 0, 0);
}

static void jump_mark(struct program *program, enum label target) {
    if (!program->full) {
        program->target[program->count - 1] = target;
        program->jumps[program->count - 1] = 1;
    }
}

static void jump(struct program *program, int condition, int left, int value, enum label target) {
    emit(program, BPF_JMP | condition | BPF_K, left, 0, 0, value);
    jump_mark(program, target);
}

static void jump_register(struct program *program, int condition, int left, int right, enum label target) {
    emit(program, BPF_JMP | condition | BPF_X, left, right, 0, 0);
    jump_mark(program, target);
}

static void wide(struct program *program, int to, int kind, uint64_t value) {
    emit(program, BPF_LD | BPF_DW | BPF_IMM, to, kind, 0, (int)(uint32_t)value);
    emit(program, 0, 0, 0, 0, (int)(uint32_t)(value >> 32));
}

static void call(struct program *program, int helper) {
    emit(program, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

static void label(struct program *program, enum label name) {
    program->at[name] = program->count;
}

/* r0 = the entry of the key on the stack. */
static void look_up(struct program *program, const struct steer *steer) {
    wide(program, R1, BPF_PSEUDO_MAP_FD, (uint32_t)steer->ports);
    copy(program, R2, R10);
    with(program, BPF_ADD, R2, KEY);
    call(program, LOOKUP);
}

/* The key says: all of the address in `from`. */
static void key_address(struct program *program, int from) {
    store(program, BPF_W, KEY, from);
    emit(program, BPF_ST | BPF_MEM | BPF_W, R10, 0, KEY_PORT, 0);
}

/* `to` + `bytes` must lie within the frame. */
static void within(struct program *program, int from, int bytes) {
    copy(program, R2, from);
    with(program, BPF_ADD, R2, bytes);
    jump_register(program, BPF_JGT, R2, R8, PASS);
}

static void part_frame(struct program *program, const struct steer *steer) {
    copy(program, R6, R1);
    load(program, BPF_W, R7, R1, offsetof(struct xdp_md, data));
    load(program, BPF_W, R8, R1, offsetof(struct xdp_md, data_end));
    within(program, R7, 34);
    load(program, BPF_H, R5, R7, 12);
    jump(program, BPF_JEQ, R5, 0x0608, ARP); /* loads are in the machine's order, the frame in the network's */
    jump(program, BPF_JEQ, R5, 0x0081, TAGGED);
    jump(program, BPF_JEQ, R5, 0xa888, TAGGED);
    jump(program, BPF_JNE, R5, 0x0008, PASS);
    load(program, BPF_B, R9, R7, 14);
    copy(program, R5, R9);
    with(program, BPF_AND, R5, 0xf0);
    jump(program, BPF_JNE, R5, 0x40, PASS);
    with(program, BPF_AND, R9, 0x0f);
    with(program, BPF_LSH, R9, 2);
    jump(program, BPF_JLT, R9, 20, PASS);
    load(program, BPF_W, R5, R7, 30); /* destination */
    key_address(program, R5);
    look_up(program, steer);
    jump(program, BPF_JNE, R0, 0, OURS);
}

static void part_port(struct program *program, const struct steer *steer) {
    load(program, BPF_H, R5, R7, 20);
    with(program, BPF_AND, R5, 0xff1f); /* a later fragment has no port */
    jump(program, BPF_JNE, R5, 0, PASS);
    copy(program, R1, R7);
    with(program, BPF_ADD, R1, 14);
    with_register(program, BPF_ADD, R1, R9);
    load(program, BPF_B, R5, R7, 23); /* protocol */
    jump(program, BPF_JEQ, R5, IPPROTO_ICMP, ICMP);
    jump(program, BPF_JNE, R5, IPPROTO_TCP, PASS);
    store(program, BPF_B, KEY_PROTOCOL, R5);
    within(program, R1, 4);
    load(program, BPF_H, R5, R1, 2); /* destination port */
    store(program, BPF_H, KEY_PORT, R5);
    look_up(program, steer);
    jump(program, BPF_JEQ, R0, 0, PASS);
}

/* r0 = the struct steer_pulse of the queue that the frame came by; the queue's number stays on the stack. */
static void pulse_of_queue(struct program *program, const struct steer *steer) {
    load(program, BPF_W, R5, R6, offsetof(struct xdp_md, rx_queue_index));
    store(program, BPF_W, QUEUE, R5);
    wide(program, R1, BPF_PSEUDO_MAP_FD, (uint32_t)steer->pulse);
    copy(program, R2, R10);
    with(program, BPF_ADD, R2, QUEUE);
    call(program, LOOKUP);
    jump(program, BPF_JEQ, R0, 0, PASS);
}

static void part_ours(struct program *program, const struct steer *steer, uint64_t silence) {
    label(program, OURS);
    pulse_of_queue(program, steer);
    load(program, BPF_DW, R9, R0, offsetof(struct steer_pulse, looked));
    call(program, KTIME);
    with_register(program, BPF_SUB, R0, R9);
    wide(program, R1, 0, silence);
    jump_register(program, BPF_JSGT, R0, R1, PASS);
    wide(program, R1, BPF_PSEUDO_MAP_FD, (uint32_t)steer->sockets);
    load(program, BPF_W, R2, R10, QUEUE);
    set(program, R3, XDP_DROP); /* if the queue has no socket */
    call(program, REDIRECT_MAP);
    emit(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* 802.1Q and 802.1ad: Linux's, counted. */
static void part_tagged(struct program *program, const struct steer *steer) {
    label(program, TAGGED);
    pulse_of_queue(program, steer);
    set(program, R1, 1);
    emit(program, BPF_STX | BPF_ATOMIC | BPF_DW, R0, R1, offsetof(struct steer_pulse, tagged), BPF_ADD);
    jump(program, BPF_JA, 0, 0, PASS);
}

/* "Who has our address?" With a shared address the question is Linux's. */
static void part_arp(struct program *program, const struct steer *steer) {
    label(program, ARP);
    within(program, R7, 42);
    load(program, BPF_W, R5, R7, 38); /* target */
    key_address(program, R5);
    look_up(program, steer);
    jump(program, BPF_JNE, R0, 0, OURS);
    jump(program, BPF_JA, 0, 0, PASS);
}

/* Errors about what we sent: they quote its IP header and ports (RFC 792). r1 is the ICMP header. */
static void part_icmp(struct program *program, const struct steer *steer) {
    label(program, ICMP);
    within(program, R1, 36);
    load(program, BPF_B, R5, R1, 0);
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, R5, 0, 2, 3);  /* unreachable */
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, R5, 0, 1, 11); /* time exceeded */
    jump(program, BPF_JNE, R5, 12, PASS);                   /* parameter problem */
    load(program, BPF_B, R5, R1, 8);
    jump(program, BPF_JNE, R5, 0x45, PASS); /* we send no options */
    load(program, BPF_B, R5, R1, 17);
    jump(program, BPF_JNE, R5, IPPROTO_TCP, PASS);
    store(program, BPF_B, KEY_PROTOCOL, R5);
    load(program, BPF_W, R5, R1, 20);
    store(program, BPF_W, KEY, R5);
    load(program, BPF_H, R5, R1, 28);
    store(program, BPF_H, KEY_PORT, R5);
    look_up(program, steer);
    jump(program, BPF_JNE, R0, 0, OURS);
}

static void part_pass(struct program *program) {
    label(program, PASS);
    set(program, R0, XDP_PASS);
    emit(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

int steer_assemble(struct bpf_insn *into, const struct steer *steer, uint64_t silence) {
    struct program program = {.code = into};
    part_frame(&program, steer);
    part_port(&program, steer);
    part_ours(&program, steer, silence);
    part_arp(&program, steer);
    part_tagged(&program, steer);
    part_icmp(&program, steer);
    part_pass(&program);
    if (program.full) {
        return -E2BIG;
    }
    for (int i = 0; i < program.count; i++) {
        if (program.jumps[i]) {
            into[i].off = (__s16)(program.at[program.target[i]] - i - 1);
        }
    }
    return program.count;
}
