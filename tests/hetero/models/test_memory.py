"""What a stage holds in memory: its share of a large checkpoint, and no more while it loads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

HIDDEN, INNER, BLOCKS, VOCABULARY = 1024, 4096, 6, 2048
BLOCK_BYTES = 2 * (4 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER + 2 * HIDDEN)

#: Compiles blocks of a model and prints how resident memory grew: at its end, at its peak, and that of mapped files.
PROGRAM = """
import sys, json, re
from pathlib import Path
from hetero.backends import get_backend
from hetero.backends.base import KvSpec, SliceSpec
from placement.types import Device, DeviceKind

def resident():
    text = Path("/proc/self/status").read_text()
    return [int(re.search(name + r":\\s+(\\d+)", text)[1]) * 1024 for name in ("VmRSS", "VmHWM", "RssFile")]

def spec(folder, first, last):
    cpu = Device("cpu", DeviceKind.CPU, ("torch",), ("bf16",), 1 << 34)
    return SliceSpec(Path(folder), first, last, cpu, "bf16", 1, KvSpec(4, 32, 1, 128))

big, small, first, last = sys.argv[1:]
backend = get_backend("torch")
backend.compile(spec(small, 0, 4)).close()  # what loading itself needs is there before the measurement
before = resident()
piece = backend.compile(spec(big, int(first), int(last)))
print(json.dumps([after - was for after, was in zip(resident(), before)] + [piece.report.weight_bytes]))
"""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 200 MB in bf16."""
    folder = tmp_path_factory.mktemp("big")
    values = {"model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": BLOCKS,
              "num_attention_heads": 8, "vocab_size": VOCABULARY, "dtype": "bfloat16"}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values))
    shapes = {f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"}
    shapes |= {"mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER)}
    shapes |= {"input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
    tensors = {f"model.layers.{i}.{name}.weight": shape for i in range(BLOCKS) for name, shape in shapes.items()}
    tensors |= {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN),
                "model.norm.weight": (HIDDEN,)}  # fmt: skip
    save_file({name: torch.ones(shape, dtype=torch.bfloat16) for name, shape in tensors.items()},
              folder / "model.safetensors")  # fmt: skip
    return folder


@pytest.mark.parametrize(("first", "last"), [(0, 3), (3, 6), (1, 2)])
def test_stage_resident_memory_is_its_share(first: int, last: int, big: Path, checkpoint) -> None:  # type: ignore[no-untyped-def]
    command = [sys.executable, "-c", PROGRAM, big, checkpoint("llama"), str(first), str(last)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    grown, peak, mapped, weights = json.loads(done.stdout.splitlines()[-1])
    head = 2 * HIDDEN * (VOCABULARY + 1) if last == BLOCKS else 0
    assert weights == (last - first) * BLOCK_BYTES + head
    slack = 12 << 20
    assert weights * 0.98 < grown < weights + slack
    assert peak < weights + slack + (8 << 20)
    assert mapped < slack
