"""Run by test_processes.py in a process of its own: a pipeline on a fresh Ray, which waits to be killed.

Prints one JSON object when all stages run. Arguments: the model's folder.
"""

import json
import os
import sys
import time
from pathlib import Path

from hetero.backends.base import KvSpec
from hetero.cluster import connect
from placement.types import Device, DeviceKind, Plan, Stage


def main(folder: Path) -> None:
    cluster = connect()
    from hetero.pipeline.actor import ActorPipeline

    cpu = Device("cpu", DeviceKind.CPU, ("torch",), ("fp32",), 1 << 30)
    plan = Plan((Stage(cpu, "torch", 0, 2, "fp32"), Stage(cpu, "torch", 2, 5, "fp32")), "a test")
    pipeline = ActorPipeline(folder, plan, KvSpec(16, 32, 4, 128), threads=1)
    seen = {
        "stages": pipeline.process_ids,
        "started_here": cluster.started_here,
        "mode": os.environ["RAY_AUTH_MODE"],
        "token_bytes": len(os.environ["RAY_AUTH_TOKEN"]),
        "home": os.listdir(Path.home()),
    }
    print(json.dumps(seen), flush=True)
    time.sleep(300)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
