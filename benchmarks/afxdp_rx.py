"""Receiving 60-byte frames: our driver under our loop (wire.c) against recvmmsg of UDP and AF_PACKET's TPACKET_V3 ring.

The client floods its end of a veth pair by AF_XDP from CPU 0, the receiver is on CPU 1, candidates take turns. On veth
Linux's half of the reception (the XDP program and its copy, UDP, AF_PACKET's copy) runs on the sender's CPU, so this
compares what a frame costs there with what the receiver can take. Needs root, ethtool, cc.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import stage
from stage import BARE, THEIRS

KINDS = {"splitplane": "tcp", "recvmmsg": "udp", "af_packet": "raw"}
"""Candidate: the flood it gets."""


def measure(rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """By candidate, frames a second of each round."""
    runs: dict[str, list[float]] = {name: [] for name in KINDS}
    with tempfile.TemporaryDirectory() as folder, stage.stage() as around:
        programs = stage.Frames(Path(folder))
        receivers = {
            "splitplane": programs.ours("receive", seconds),
            "recvmmsg": [programs.frames, "udp", THEIRS, str(seconds)],
            "af_packet": [programs.frames, "packet", BARE, str(seconds)],
        }
        for number, name in stage.turns(list(KINDS), rounds):
            found = programs.flooded(around, KINDS[name], receivers[name], seconds)
            if number >= 0:  # the first round warms
                runs[name].append(found)
    return {"received": runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run")
    options = parser.parse_args()
    runs = measure(options.rounds, options.seconds)
    found = runs["received"]
    ratios = {
        f"frames_vs_{peer}": stage.ratio(found["splitplane"], found[peer])
        for peer in ("recvmmsg", "af_packet")
    }
    stage.report(runs, ratios, options.json)


if __name__ == "__main__":
    main()
