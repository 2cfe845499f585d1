/* Weak stand-ins so that the module links while its parts are being written; each goes when its real one is there. */
__attribute__((weak)) void arena_plan(void) {
    __builtin_trap();
}
__attribute__((weak)) void arena_format(void) {
    __builtin_trap();
}
__attribute__((weak)) void arena_check(void) {
    __builtin_trap();
}
__attribute__((weak)) void core_open(void) {
    __builtin_trap();
}
__attribute__((weak)) void core_close(void) {
    __builtin_trap();
}
__attribute__((weak)) void core_listen(void) {
    __builtin_trap();
}
__attribute__((weak)) void core_peer(void) {
    __builtin_trap();
}
__attribute__((weak)) void core_clock(void) {
    __builtin_trap();
}
__attribute__((weak)) void clock_now(void) {
    __builtin_trap();
}
__attribute__((weak)) void table_buckets(void) {
    __builtin_trap();
}
__attribute__((weak)) void table_hash(void) {
    __builtin_trap();
}
__attribute__((weak)) void table_find(void) {
    __builtin_trap();
}
__attribute__((weak)) void table_find_one(void) {
    __builtin_trap();
}
__attribute__((weak)) void table_insert(void) {
    __builtin_trap();
}
__attribute__((weak)) void table_delete(void) {
    __builtin_trap();
}
__attribute__((weak)) void record_take(void) {
    __builtin_trap();
}
__attribute__((weak)) void record_free(void) {
    __builtin_trap();
}
__attribute__((weak)) void table_recover(void) {
    __builtin_trap();
}
__attribute__((weak)) void record_handle(void) {
    __builtin_trap();
}
__attribute__((weak)) void record_of_handle(void) {
    __builtin_trap();
}
__attribute__((weak)) void timer_bytes(void) {
    __builtin_trap();
}
__attribute__((weak)) void timer_set(void) {
    __builtin_trap();
}
__attribute__((weak)) void timer_clear(void) {
    __builtin_trap();
}
__attribute__((weak)) void timer_poll(void) {
    __builtin_trap();
}
__attribute__((weak)) void timer_recover(void) {
    __builtin_trap();
}
__attribute__((weak)) void timer_next(void) {
    __builtin_trap();
}
__attribute__((weak)) void busy_of(void) {
    __builtin_trap();
}
__attribute__((weak)) void busy_take(void) {
    __builtin_trap();
}
__attribute__((weak)) void busy_release(void) {
    __builtin_trap();
}
__attribute__((weak)) void buffer_take(void) {
    __builtin_trap();
}
__attribute__((weak)) void buffer_give(void) {
    __builtin_trap();
}
__attribute__((weak)) void buffer_bytes_at(void) {
    __builtin_trap();
}
__attribute__((weak)) void buffer_recover(void) {
    __builtin_trap();
}
__attribute__((weak)) void buffer_free_bytes(void) {
    __builtin_trap();
}
__attribute__((weak)) void stream_send(void) {
    __builtin_trap();
}
__attribute__((weak)) void stream_queued(void) {
    __builtin_trap();
}
__attribute__((weak)) void stream_peek(void) {
    __builtin_trap();
}
__attribute__((weak)) void stream_acknowledge(void) {
    __builtin_trap();
}
__attribute__((weak)) void stream_room(void) {
    __builtin_trap();
}
__attribute__((weak)) void stream_keep(void) {
    __builtin_trap();
}
__attribute__((weak)) void stream_kept(void) {
    __builtin_trap();
}
__attribute__((weak)) void stream_consume(void) {
    __builtin_trap();
}
__attribute__((weak)) void stream_drop(void) {
    __builtin_trap();
}
