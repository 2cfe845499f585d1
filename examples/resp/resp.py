"""RESP2: PING, GET, SET [EX], DEL, INCR, EXPIRE on a table of fixed size per core; `redis-cli -p 6380` talks to it."""

from typing import Literal

from splitplane import Connection, DataActor, State, View
from splitplane.protocols import TOO_LONG, WAIT, split_line, table
from splitplane.types import Array, u8, u16, u32, u64

SLOTS, NEAR = 16384, 16  # a key lies within NEAR slots from where its hash points
NINES = table(b"9")
FULL = b"-ERR too long, or the table is full here\r\n"
BAD = b"-ERR value is not an integer or out of range\r\n"


class Slot(State):
    expires: u64  # as self.now, 0 = never
    value_length: u16
    key_length: u8
    key: Array[u8, Literal[64]]
    value: Array[u8, Literal[128]]


class Table(State):
    arguments: Array[u32, Literal[16]]  # of the command in hand: start << 16 | length
    tags: Array[u32, Literal[16384]]  # low bits of a key's hash, 0 = free
    slots: Array[Slot, Literal[16384]]


class Resp(DataActor):
    core: Table

    def on_data(self, connection: Connection[State], data: View) -> int:
        used = 0
        for _ in range(64):  # so many answers fit into reply_reserve
            length = self.parse(data[used:])
            if length == WAIT:
                break
            if length < 0:
                connection.send(b"-ERR Protocol error\r\n")
                connection.close()
                return len(data)
            self.run(connection, data[used:])
            used += length
        return used

    def parse(self, data: View) -> int:
        """Bytes of the command at the start of `data`, its arguments noted in core; WAIT; or less than 0."""
        self.core.arguments.fill(0)
        line = split_line(data, 1024)
        if line.length <= 0:
            return line.length
        if data[0] != 42:  # "*"; else an inline command, of one word
            self.core.arguments[0] = len(line.text)
            return line.length
        count, at = line.text[1:].to_int(), line.length
        if count < 1 or count > 16:
            return TOO_LONG
        for index in range(count):
            line = split_line(data[at:], 1024)
            if line.length <= 0:
                return line.length
            length = line.text[1:].to_int()
            if line.text[:1] != b"$" or length < 0 or length > 1024:
                return TOO_LONG
            self.core.arguments[index] = (at + line.length) << 16 | length
            at += line.length + length + 2
        return at if at <= len(data) else WAIT

    def argument(self, data: View, index: int) -> View:
        span = self.core.arguments[index]
        return data[span >> 16 :][: span & 0xFFFF]

    def run(self, connection: Connection[State], data: View) -> None:
        name, key, value = self.argument(data, 0), self.argument(data, 1), self.argument(data, 2)
        at = self.find(key, False)
        if name.equals_ignore_case(b"get"):
            self.get(connection, at)
        elif name.equals_ignore_case(b"set"):
            seconds = self.argument(data, 4).to_int() if self.core.arguments[3] > 0 else 0
            at = self.find(key, True) if len(value) <= 128 and seconds >= 0 else -1
            if at >= 0:
                slot = self.core.slots[at]
                slot.value.copy_from(value)
                slot.value_length = len(value)
                slot.expires = self.now + seconds * 10**9 if seconds > 0 else 0
            connection.send(b"+OK\r\n" if at >= 0 else FULL)
        elif name.equals_ignore_case(b"incr"):
            self.increment(connection, self.find(key, True))
        elif name.equals_ignore_case(b"del"):
            self.core.tags[max(at, 0)] *= at < 0
            self.integer(connection, at >= 0)
        elif name.equals_ignore_case(b"expire"):
            if at >= 0:
                self.core.slots[at].expires = self.now + value.to_int(0) * 10**9
            self.integer(connection, at >= 0)
        elif name.equals_ignore_case(b"ping"):
            connection.send(b"+PONG\r\n")
        elif name.equals_ignore_case(b"command"):
            connection.send(b"*0\r\n")
        elif name.equals_ignore_case(b"config"):  # a name and an empty value
            connection.send(b"*2\r\n$4\r\nnone\r\n$0\r\n\r\n")
        else:
            connection.send(b"-ERR unknown command\r\n")

    def get(self, connection: Connection[State], at: int) -> None:
        if at < 0:
            connection.send(b"$-1\r\n")
            return
        slot = self.core.slots[at]
        connection.send(b"$")
        connection.send_int(slot.value_length)
        connection.send(b"\r\n", slot.value.head(slot.value_length), b"\r\n")

    def integer(self, connection: Connection[State], number: int) -> None:
        connection.send(b":")
        connection.send_int(number)
        connection.send(b"\r\n")

    def increment(self, connection: Connection[State], at: int) -> None:
        slot = self.core.slots[max(at, 0)]
        number = slot.value.head(slot.value_length).to_int(0 if slot.value_length == 0 else -1) + 1
        if at < 0 or number <= 0 or number >= 10**18:
            connection.send(FULL if at < 0 else BAD)
            return
        self.integer(connection, number)
        if (
            slot.value.head(slot.value_length).span(NINES) == slot.value_length
        ):  # 9, 99: a digit more
            slot.value_length += 1
        for index in range(slot.value_length):
            slot.value[slot.value_length - 1 - index] = 48 + number % 10
            number //= 10

    def find(self, key: View, make: bool) -> int:
        tag, free = key.hash() & 0xFFFFFFFF | 1, -1
        for step in range(NEAR):
            at = (tag // 2 + step) & (SLOTS - 1)
            slot = self.core.slots[at]
            self.core.tags[at] *= slot.expires == 0 or slot.expires > self.now
            if self.core.tags[at] == tag and slot.key.head(slot.key_length) == key:
                return at
            free = at if free < 0 and self.core.tags[at] == 0 else free
        if not make or free < 0 or len(key) == 0 or len(key) > 64:
            return -1
        self.core.tags[free] = tag
        slot = self.core.slots[free]
        slot.key.copy_from(key)
        slot.key_length = len(key)
        slot.value_length = slot.expires = 0
        return free
