"""Programs that can't compile are refused before the start, in the user's own terms: place, caret, sentence, remedy."""

# ruff: noqa: E501 - a message stands in one piece

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from splitplane.runtime.compiler import compile_actor
from splitplane.runtime.errors import ActorError
from splitplane.runtime.schema import schema_of

HEAD = """
from typing import Any, Literal
from splitplane.runtime.actor import Connection, DataActor, on
from splitplane.runtime.config import Config
from splitplane.runtime.message import Message, Request
from splitplane.runtime.state import State
from splitplane.runtime.types import Array, u8, u32, u64
from splitplane.runtime.view import View
import math

TABLE = {}
NAMES = [b"a", b"b"]
TEXT = "text"

class Session(State):
    requests: u32
    name: Array[u8, Literal[8]]

class Totals(State):
    served: u64

class Settings(Config):
    limit: u32 = 5

class Visit(Message):
    requests: u32

class Lost(Message):
    requests: u32

class Count(Request[Totals]):
    pass

def depth(n: int) -> int:
    return depth(n - 1) if n else 0

def careful(data: View) -> int:
    try:
        return data[0]
    except IndexError:
        return 0

class Base(DataActor):
    @on(Visit)
    def visit(self, message: Visit) -> None:
        pass
"""

# name: the body of on_data, or whole methods; then what is refused: the text over the carets, and the message.
WRONG: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "misspelt_state": (
        "connection.state.requets += 1\nreturn 0",
        [("connection.state.requets", "Session has no field requets: did you mean requests?")],
    ),
    "misspelt_core": (
        "self.core.servd += 1\nreturn 0",
        [("self.core.servd", "Totals has no field servd: did you mean served?")],
    ),
    "misspelt_method": (
        "connection.sned(data)\nreturn 0",
        [("connection.sned", "a Connection has no method sned: did you mean send?")],
    ),
    "misspelt_self": (
        "self.conut = 1\nreturn 0",
        [
            (
                "self.conut",
                "the actor Wrong keeps nothing of its own: put the field into the State of self.core",
            )
        ],
    ),
    "unknown_name": (
        "return lenght(data)",
        [("lenght", "the name lenght is not defined: did you mean len?")],
    ),
    "a_str": (
        "connection.send('hi')\nreturn 0",
        [("'hi'", "'hi' is a str, and handlers work on bytes: write b\"hi\"")],
    ),
    "fstring": (
        "connection.send(f'{data[0]}')\nreturn 0",
        [
            (
                "f'{data[0]}'",
                'an f-string makes a str: send the parts: send(b"…") and send_int(number)',
            )
        ],
    ),
    "a_list": (
        "parts = [1, 2]\nreturn len(parts)",
        [("[1, 2]", "a list needs memory of its own: use an Array field of a State, or a tuple")],
    ),
    "a_dict": (
        "seen = {}\nreturn 0",
        [("{}", "a dict needs memory of its own: keep a fixed table in self.core")],
    ),
    "module_dict": (
        "return TABLE[data[0]]",
        [
            (
                "TABLE",
                "TABLE is a dict, which compiled code cannot share: make it a tuple or bytes constant, or keep it in self.core",
            )
        ],
    ),
    "module_list": (
        "for name in NAMES:\n    pass\nreturn 0",
        [
            (
                "NAMES",
                "NAMES is a list, which compiled code cannot share: make it a tuple or bytes constant, or keep it in self.core",
            )
        ],
    ),
    "a_float": ("half = data[0] / 2\nreturn 0", [("data[0] / 2", "/ makes a float: write //")]),
    "float_const": (
        "half = 0.5\nreturn 0",
        [("0.5", "0.5 is a float, and handlers compute with whole numbers: scale it to an int")],
    ),
    "view_in_state": (
        "connection.state.requests = data\nreturn 0",
        [
            (
                "data",
                "Session.requests is a number; a View cannot be kept, it ends with the call: copy it into an Array field: field.copy_from(view)",
            )
        ],
    ),
    "view_in_array": (
        "connection.state.name = data[0]\nreturn 0",
        [("data[0]", "Session.name holds an Array[u8, 8], not an int")],
    ),
    "allocation": (
        "copy = bytes(data)\nreturn 0",
        [
            (
                "bytes(data)",
                "bytes(…) makes a new object: send the View itself, or copy it into an Array",
            )
        ],
    ),
    "concatenation": (
        "connection.send(b'a' + data)\nreturn 0",
        [
            (
                "b'a' + data",
                "joining bytes makes a new object: send both: connection.send(first, second)",
            )
        ],
    ),
    "undeclared": (
        "self.tell(Lost(requests=1))\nreturn 0",
        [
            (
                "Lost(requests=1)",
                "Lost: no actor of this layout takes it: @on(Lost) is nowhere; taken are Visit: add an @on(Lost) method",
            )
        ],
    ),
    "message_field": (
        "self.tell(Visit(request=1))\nreturn 0",
        [("1", "Visit has no field request: did you mean requests?")],
    ),
    "message_missing": (
        "self.tell(Visit())\nreturn 0",
        [("Visit()", "Visit needs requests too: Visit(requests=…)")],
    ),
    "group": (
        "self.tell(Visit(requests=1), to='wbe')\nreturn 0",
        [
            (
                "'wbe'",
                "this layout has no group 'wbe'; its groups are web, store: did you mean \"web\"?",
            )
        ],
    ),
    "group_of_bytes": (
        "self.tell(Visit(requests=1), to=b'web')\nreturn 0",
        [("b'web'", "to takes an int, not a View")],
    ),
    "endpoint_attribute": (
        "return connection.remote.prt",
        [("connection.remote.prt", "an Endpoint has no prt: did you mean port?")],
    ),
    "endpoint_compared": (
        "return connection.remote == connection.local",
        [
            (
                "connection.remote == connection.local",
                "an Endpoint and an Endpoint cannot be compared so: compare their parts one by one",
            )
        ],
    ),
    "not_a_message": (
        "self.tell(connection.state)\nreturn 0",
        [("connection.state", "tell() takes a Message, not a Session")],
    ),
    "try_except": (
        "try:\n    return data[0]\nexcept IndexError:\n    return 0",
        [
            (
                "try:",
                "try/except cannot compile: an exception ends the handler and resets the connection: test beforehand",
            )
        ],
    ),
    "recursion": (
        "return depth(3)",
        [("depth(n - 1)", "this calls itself: depth → depth: write a loop")],
    ),
    "global": (
        "global TABLE\nTABLE = 1\nreturn 0",
        [
            (
                "global TABLE",
                "a handler cannot change module variables: each core has its own memory: keep it in self.core",
            )
        ],
    ),
    "with": (
        "with open('x') as f:\n    pass\nreturn 0",
        [
            (
                "with open('x') as f:",
                "with cannot compile: handlers hold nothing that must be closed",
            )
        ],
    ),
    "comprehension": (
        "return sum(each for each in (1, 2))",
        [("sum", "sum cannot compile: write a for loop")],
    ),
    "print": (
        "print(data)\nreturn 0",
        [("print", "print works in interpreted handlers only: run with --interpret")],
    ),
    "lambda": (
        "f = lambda x: x\nreturn 0",
        [("lambda x: x", "a lambda cannot compile: write a function in the module")],
    ),
    "two_kinds": (
        "x = data\nx = 3\nreturn x",
        [("x", "x is an int here and a View in line 52: use two names")],
    ),
    "no_return": (
        "connection.send(data)",
        [
            (
                "def on_data(self, connection: Connection[Session], data: View) -> int:",
                "on_data returns how many bytes it consumed, not None: return a number on every path",
            )
        ],
    ),
    "wrong_return": (
        "return data",
        [
            (
                "data",
                "on_data returns how many bytes it consumed, not a View: return a number on every path",
            )
        ],
    ),
    "bare_return": (
        "return",
        [
            (
                "return",
                "on_data returns how many bytes it consumed, not None: return a number on every path",
            )
        ],
    ),
    "math": ("return math.floor(3)", [("math.floor", "floor cannot be called in a handler")]),
    "send_int": (
        "connection.send(5)\nreturn 0",
        [("5", "send() takes bytes or a View, not an int: use send_int(number)")],
    ),
    "send_array": (
        "connection.send(connection.state.name)\nreturn 0",
        [
            (
                "connection.state.name",
                "send() takes bytes or a View, not an Array[u8, 8]: pass array.head(length)",
            )
        ],
    ),
    "step": (
        "connection.send(data[::2])\nreturn 0",
        [("2", "a View has no steps: write view[start:stop]")],
    ),
    "iterate": (
        "for byte in data:\n    pass\nreturn 0",
        [("data", "a View cannot be looped over: write for i in range(len(…))")],
    ),
    "config_store": (
        "self.config.limit = 3\nreturn 0",
        [
            (
                "self.config.limit",
                "a message or config cannot be changed: make a new one, or keep it in a State",
            )
        ],
    ),
    "before_value": (
        "return total",
        [("total", "the name total is not defined: did you mean Totals?")],
    ),
    "timer": (
        "connection.set_timer(50)\nreturn 0",
        [("connection.set_timer(50)", "the time is given by name: set_timer(milliseconds=…)")],
    ),
    "isnone": (
        "if connection is None:\n    return 0\nreturn 1",
        [("connection is None", "nothing in a handler can be None: test the value itself")],
    ),
    "starred": (
        "connection.send(*(b'a', b'b'))\nreturn 0",
        [("*(b'a', b'b')", "* cannot compile: write the arguments one by one")],
    ),
    "request": (
        "@on(Count)\ndef count(self, message: Count) -> Totals:\n    return 5",
        [("5", "this answers with a Totals, not an int: return Totals(…)")],
    ),
    "several": (
        "connection.state.requets += 1\nconnection.sned(data)\nx = connection.state.requets\nreturn x",
        [
            ("connection.state.requets", "Session has no field requets: did you mean requests?"),
            ("connection.sned", "a Connection has no method sned: did you mean send?"),
            ("connection.state.requets", "Session has no field requets: did you mean requests?"),
        ],
    ),
    "power": (
        "return data[0] ** data[1]",
        [
            (
                "data[0] ** data[1]",
                "this operator works on constants only: multiply, or shift with <<",
            )
        ],
    ),
    "helper_message": (
        "@on(Count)\ndef count(self, message: Count) -> Totals:\n    return self.make()\ndef make(self) -> Totals:\n    return Totals(served=1)",
        [
            (
                "return Totals(served=1)",
                "a message built in a function ends with it: build it where it is told",
            )
        ],
    ),
    "message_change": (
        "@on(Lost)\ndef lost(self, message: Lost) -> None:\n    message.requests = 4",
        [
            (
                "message.requests",
                "a message or config cannot be changed: make a new one, or keep it in a State",
            )
        ],
    ),
    "match": (
        "match data[0]:\n    case 1:\n        return 0\nreturn 1",
        [("match data[0]:", "match cannot compile: write if/elif")],
    ),
    "argcount": ("return data.find()", [("data.find()", "find() wants what")]),
    "bigconst": (
        "return data.find(b'x', 'y')",
        [("'y'", "'y' is a str, and handlers work on bytes: write b\"y\"")],
    ),
    "inner": (
        "def on_data(self, connection: Connection[Session], data: View) -> int:\n    def inner() -> int:\n        return 1\n    return inner()",
        [
            (
                "def inner() -> int:",
                "a function inside a handler cannot compile: write it in the module or as a method",
            ),
        ],
    ),
    "some_way": (
        "if data:\n    total = 1\nreturn total",
        [("total", "total has no value on some way here: give it one before the branch")],
    ),
    "helper_try": (
        "return careful(data)",
        [
            (
                "try:",
                "try/except cannot compile: an exception ends the handler and resets the connection: test beforehand",
            )
        ],
    ),
    "tuple_index": (
        "pair = (1, data)\nreturn pair[data[0]]",
        [("pair[data[0]]", "the index of a tuple made here is a constant below 2")],
    ),
    "connection_kept": (
        "connection.state.requests = connection\nreturn 0",
        [("connection", "Session.requests holds a number, not a Connection")],
    ),
    "unpack": ("first, second = data\nreturn 0", [("data", "a View cannot be unpacked")]),
    "alias": (
        "note = Visit(requests=1)\nother = note\nself.tell(other)\nreturn 0",
        [("note", "a message has one name: building the next one overwrites it: build it again")],
    ),
    "raise_text": (
        "raise ValueError(data)",
        [("data", "the text of an exception must be constant")],
    ),
}


def problems_of(body: str, folder: Path) -> tuple[Any, str]:
    """The problems of an actor with this on_data (or these methods), and its source."""
    lines = body.strip("\n").split("\n")
    if not body.lstrip().startswith(("def ", "@on", "core", "config")):
        lines = [
            "def on_data(self, connection: Connection[Session], data: View) -> int:",
            *("    " + each for each in lines),
        ]
    text = (
        HEAD
        + "\nclass Wrong(Base):\n    core: Totals\n    config: Settings\n"
        + "".join(f"    {each}\n" for each in lines)
    )
    file = folder / "wrong.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(f"wrong_{abs(hash(text))}", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ActorError) as caught:
        compile_actor(module.Wrong, schema_of([module.Wrong], {"web": 1, "store": 6}))
    return caught.value.problems, text


@pytest.mark.parametrize("name", WRONG)
def test_refused(name: str, tmp_path: Path) -> None:
    """A wrong program is refused with exactly these sentences, each under the text that is wrong."""
    body, expected = WRONG[name]
    problems, text = problems_of(body, tmp_path)
    found = []
    for problem in problems:
        line, carets = problem.excerpt.split("\n")
        start = len(carets) - len(carets.lstrip())
        marked = line[start : start + carets.count("^")]
        assert line.strip() == text.split("\n")[problem.line - 1].strip()
        assert problem.key.startswith("Wrong.")
        sentence = f"{problem.problem}: {problem.remedy}" if problem.remedy else problem.problem
        found.append((marked, sentence))
    assert found == expected


def test_error_text(tmp_path: Path) -> None:
    """An error prints as file, line, actor and handler, sentence and remedy, then the line with carets."""
    problems, _ = problems_of("connection.state.requets += 1\nreturn 0", tmp_path)
    (problem,) = problems
    assert str(problem) == (
        f"{tmp_path}/wrong.py:{problem.line}: Wrong.on_data: Session has no field requets: did you mean requests?\n"
        "    connection.state.requets += 1\n"
        "    ^^^^^^^^^^^^^^^^^^^^^^^^"
    )


def test_all_at_once(tmp_path: Path) -> None:
    """One run names what is wrong in every handler, helpers included, each once."""
    problems, _ = problems_of(
        """def on_open(self, connection: Connection[Session]) -> None:
    connection.sned(b"x")
def on_data(self, connection: Connection[Session], data: View) -> int:
    self.help(data)
    return careful(data) + self.help(data)
def help(self, data: View) -> int:
    return data.fnid(b"x")""",
        tmp_path,
    )
    assert [problem.problem.split(":")[0] for problem in problems] == [
        "a Connection has no method sned",
        "a View has no fnid",
        "try/except cannot compile",
    ]
