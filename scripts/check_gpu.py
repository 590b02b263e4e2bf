"""Check a CUDA GPU against the CPU, in this process, without Ray: python scripts/check_gpu.py [--device gpu0]

Random weights go through the same stages, engine and paged cache as in serving. Greedy tokens in fp32 must be equal on
the GPU alone and with the layers cut between CPU and GPU; then the speed of fp16 and bf16 is printed. Needs a torch
with CUDA beside what the project depends on; exits with 1 if tokens differ, with 2 if the device is not there.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hetero import Runtime  # noqa: E402
from hetero.bench.random_model import random_checkpoint, read_random_config  # noqa: E402
from hetero.devices import local_devices  # noqa: E402

TOKENS = 64
CONCURRENT = 16


def tokens(folder: Path, plan: str, prompts: list[list[int]]) -> tuple[list[tuple[int, ...]], float]:
    """Greedy continuations of all prompts at once, and the tokens per second."""
    with Runtime(str(folder), plan, in_process=True, max_sequences=CONCURRENT) as runtime:
        runtime.generate(prompts[0], max_tokens=4, ignore_eos=True)
        started_at = time.perf_counter()
        streams = [runtime.stream(prompt, max_tokens=TOKENS, ignore_eos=True) for prompt in prompts]
        found = [stream.result().token_ids for stream in streams]
        seconds = time.perf_counter() - started_at
    return found, sum(map(len, found)) / seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="gpu0", help="the name that `hetero devices` prints")
    parser.add_argument("--random-config", default="0.4b", help="a preset or a JSON file of a Llama's sizes")
    options = parser.parse_args()
    names = [device.name for device in local_devices()]
    if options.device not in names:
        print(f"there is no device {options.device} here, only {', '.join(names)}", file=sys.stderr)
        return 2
    return check(options.device, options.random_config)


def check(device: str, sizes: str) -> int:
    config = read_random_config(sizes)
    folder, blocks = random_checkpoint(config), int(str(config["num_hidden_layers"]))
    generator = np.random.default_rng(0)
    prompts = [generator.integers(3, 200, 8 + 5 * i).tolist() for i in range(CONCURRENT)]
    expected, speed = tokens(folder, f"cpu/torch@fp32:0-{blocks}", prompts)
    print(f"cpu fp32: {speed:.0f} tokens/s with {CONCURRENT} at once")
    different = 0
    for plan in (f"{device}/torch@fp32:0-{blocks}", f"cpu/torch@fp32:0-2,{device}/torch@fp32:2-{blocks}"):
        found, speed = tokens(folder, plan, prompts)
        different += found != expected
        print(f"{plan}: {speed:.0f} tokens/s, tokens {'equal' if found == expected else 'DIFFER from'} the CPU's")
    for precision in ("fp16", "bf16"):
        for some in (prompts[:1], prompts):
            _, speed = tokens(folder, f"{device}/torch@{precision}:0-{blocks}", some)
            print(f"{device} {precision}: {speed:.0f} tokens/s with {len(some)} at once")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
