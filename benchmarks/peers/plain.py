"""ONNX Runtime as it comes: its own operators and settings, but for the number of threads."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.peers.plan import normalise


class PlainTower:
    """A session of a graph of stock operators."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session

    def encode(self, tile: np.ndarray) -> np.ndarray:
        """Run the graph."""
        vectors: np.ndarray = self.session.run(None, {"pixel_values": normalise(tile)})[0][0]
        return vectors


def open_tower(model: Path, option: str, threads: int) -> PlainTower:
    """Open the graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return PlainTower(ort.InferenceSession(model / "vision.onnx", options, providers=["CPUExecutionProvider"]))
