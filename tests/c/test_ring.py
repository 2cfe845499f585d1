"""The compiled ring under sanitizers, and with its users killed: what the model (tests/runtime) can't see, because it is
not the code.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from c_program import ROOT, THREAD, compiled, run

RING = "runtime/ring.c"


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
@pytest.mark.parametrize("cells", [1, 4, 64])
def test_two_threads(sanitizer: str, cells: int) -> None:
    """Every kind of put against every kind of get: each byte arrives, no data race, no access out of bounds."""
    run(compiled("ring_stress.c", RING, sanitizer=sanitizer), 100_000, cells, 5)


def test_every_instruction() -> None:
    """Wherever in a put or a get its process dies, whole messages arrive: put ones all, half-written ones never, and
    only the message in hand twice.
    """
    assert int(run(compiled("ring_steps.c", RING))) > 10_000


def test_killed_at_random() -> None:
    """Producers and consumers that are killed while the other side goes on lose, tear and invent nothing."""
    run(compiled("ring_crash.c", RING), 1500, 128, 7)


MUTANTS = {
    "keeps half batches": (
        "__atomic_store_n(&ring_cell_at(ring, i, cells)->word, !ring_lap(i, cells), __ATOMIC_RELAXED);",
        "",
    ),
    "trusts the tail": ("        at += count;\n    }\n    for", "        break;\n    }\n    for"),
    "publishes first to last": (
        "for (uint64_t i = count; i-- > 0;) {",
        "for (uint64_t i = 0; i < count; i++) {",
    ),
}


def mutant(folder: Path, file: str, old: str, new: str, program: str, *flags: str) -> Path:
    """The program with one place of one file of the ring changed."""
    for part in ("runtime", "tests/c"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    source = folder / file
    text = source.read_text()
    assert text.count(old) == 1, f"{file} does not have this once: {old}"
    source.write_text(text.replace(old, new))
    out = folder / "mutant"
    sources = [str(folder / "tests" / "c" / program), str(folder / RING)]
    subprocess.run(["cc", "-D_GNU_SOURCE", *flags, *sources, "-o", str(out)], check=True)
    return out


@pytest.mark.parametrize("name", MUTANTS)
def test_every_instruction_finds(name: str, tmp_path: Path) -> None:
    """The search for a bad place to die finds one in a ring that publishes or adopts carelessly."""
    program = mutant(tmp_path, RING, *MUTANTS[name], "ring_steps.c", "-O2")
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "stopped after" in done.stderr


def test_thread_sanitizer_finds_a_relaxed_publication(tmp_path: Path) -> None:
    """x86 hides a publication without release; the stress under TSan doesn't."""
    old = "ring_word(message) | ring_lap(at, ring->cells), __ATOMIC_RELEASE);"
    new = old.replace("RELEASE", "RELAXED")
    program = mutant(tmp_path, "runtime/ring_cell.h", old, new, "ring_stress.c", "-g", *THREAD)
    command = ["setarch", "-R", str(program), "20000", "4", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "data race" in done.stderr
