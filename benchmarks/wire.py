"""An echo of 60-byte frames as our actors' core has it (loop and driver) against the smallest echo over AF_XDP's rings.

Both in C (wire.c), opened and steered alike on the same end of a veth pair, in turn; the client floods the other end by
AF_XDP from CPU 0, the echo is on CPU 1. The smallest echo sends a frame back in place and marks nothing: a killed
worker of it would lose frames. Frames a second that went back. Needs root, ethtool, cc.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import stage

KINDS = {"splitplane": "echo", "smallest": "bare"}


def measure(rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """By candidate, frames a second of each round."""
    runs: dict[str, list[float]] = {name: [] for name in KINDS}
    with tempfile.TemporaryDirectory() as folder, stage.stage() as around:
        programs = stage.Frames(Path(folder))
        for number, name in stage.turns(list(KINDS), rounds):
            found = programs.flooded(around, "tcp", programs.ours(KINDS[name], seconds), seconds)
            if number >= 0:  # the first round warms
                runs[name].append(found)
    return {"echo": runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run")
    options = parser.parse_args()
    runs = measure(options.rounds, options.seconds)
    found = runs["echo"]
    ratios = {"frames_vs_smallest": stage.ratio(found["splitplane"], found["smallest"])}
    stage.report(runs, ratios, options.json)


if __name__ == "__main__":
    main()
