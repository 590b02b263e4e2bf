"""Classify texts that the server never sees, and compare every label with the one computed in the clear.

python examples/private_classify.py MODEL TRAIN.tsv TEST.tsv [--hidden 32]

MODEL is an encoder's folder or hub id, such as sentence-transformers/all-MiniLM-L6-v2. The files hold a text, a tab and
a label a line, as the Stanford Sentiment Treebank is often given. With --hidden the head has a layer of so many units
and a parabola, which is its activation in training, too, so that encryption changes nothing.
"""

import argparse
import time
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from hetero import Runtime
from hetero.private import connect_private
from hetero.server.encrypted_server import EncryptedServer
from hetero.server.encrypted_service import Encrypted
from hetero.server.settings import ServerSettings
from privacy.he.activation import activation_named
from privacy.he.gateway import Gateway, GatewaySettings
from privacy.he.spec import Kind, ModelSpec, head_spec

ACTIVATION = activation_named("gelu")


def read_rows(path: Path) -> tuple[list[str], list[str]]:
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line]
    return [text for text, _ in rows], [label for _, label in rows]


def embed(encoder: Runtime, texts: list[str]) -> np.ndarray:
    return np.vstack([encoder.embed(texts[at : at + 512]) for at in range(0, len(texts), 512)])


class Parabola(torch.nn.Module):
    """The activation, as it is computed on ciphertexts."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return ACTIVATION.constant + values * (ACTIVATION.linear + values * ACTIVATION.square)


def train(vectors: np.ndarray, targets: np.ndarray, labels: list[str], hidden: int) -> ModelSpec:
    """A head by plain gradient descent; what is trained is what is served."""
    torch.manual_seed(0)
    widths = [vectors.shape[1], *([hidden] if hidden else []), len(labels)]
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    network = torch.nn.Sequential(layers[0], *((Parabola(), layers[1]) if hidden else ()))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3, weight_decay=1e-4)
    x, y = torch.from_numpy(vectors), torch.from_numpy(targets)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    arrays = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers]
    return head_spec("labels", arrays, [ACTIVATION] * bool(hidden), kind=Kind.CLASSIFY, labels=labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--hidden", type=int, default=0)
    given = parser.parse_args()
    (texts, named), (tested, wanted) = read_rows(given.train), read_rows(given.test)
    labels = sorted(set(named))
    with ExitStack() as stack:
        encoder = stack.enter_context(Runtime(given.model, precision="fp32", in_process=True))
        targets = np.array([labels.index(name) for name in named])
        spec = train(embed(encoder, texts), targets, labels, given.hidden)
        vectors = embed(encoder, tested)
        # So many vectors of one tenant would recover the head: here both are ours, and there is no cap.
        gateway = stack.enter_context(closing(Gateway([spec], GatewaySettings(queries_per_epoch=0, burst=1e6))))
        server = stack.enter_context(EncryptedServer(ServerSettings(port=0), Encrypted(gateway)))
        remote = stack.enter_context(connect_private(f"localhost:{server.port}")).model("labels")
        remote.prepare()
        began = time.perf_counter()
        scores = remote(vectors)
        seconds = time.perf_counter() - began
    plain = spec.in_the_clear(vectors)
    equal = scores.argmax(axis=1) == plain.argmax(axis=1)
    right = np.array([labels[at] for at in scores.argmax(axis=1)]) == np.array(wanted)
    print(f"{len(tested)} texts in {seconds:.1f} s, {1e3 * seconds / len(tested):.1f} ms each")
    print(f"labels equal to the plain ones: {equal.mean():.2%} ({(~equal).sum()} differ)")
    print(f"largest error of a score: {abs(scores - plain).max():.1e}; accuracy {right.mean():.2%}")


if __name__ == "__main__":
    main()
