"""The peer of the workers: concurry, which has the same modes."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from benchmarks.peer import Peer

__all__ = ["PEER", "Found", "measure"]

PEER = Peer(
    "concurry",
    ["concurry==0.13.2"],
    Path(__file__).with_name("workers_peer_program.py"),
    promise="its own gather and map are measured",
)
_RAY = Peer("concurry-ray", ["concurry[ray]==0.13.2"], PEER.program)
Found: TypeAlias = "dict[str, float]"


def measure(modes: list[str], scale: float, mib: int) -> Found:
    """What it does, by name; what is missing could not be measured."""
    found: Found = {}
    for peer, own in ((PEER, [m for m in modes if m != "ray"]), (_RAY, ["ray"])):
        if set(own) <= set(modes):
            found |= peer.ask({"modes": own, "scale": scale, "mib": mib}) or {}
    return found
