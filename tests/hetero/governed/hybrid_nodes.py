"""Run by test_privacy_nodes.py in a process of its own: two Ray nodes, the blocks on the trusted one, the layer apart.

Prints one JSON object of what it saw. Arguments: the encoder's folder, the head's file, a folder to write in.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import identity_papers as papers
import numpy as np

from hetero import Runtime
from hetero.client import connect
from hetero.client_encrypted import EncryptedClient
from hetero.config import Settings
from hetero.encrypted_models import read_encrypted
from hetero.encrypted_stages import serve_marked
from hetero.governance import open_governance
from hetero.served import Served
from hetero.server.server import Server
from hetero.server.settings import ServerSettings

#: Only this text has it; what a node's memory holds of it says who has seen the text.
CANARY = "the patient in bed nineteen sleeps badly"


def policy() -> dict[str, Any]:
    bounded = {"max_queries": 64, "lifetime": "forever", "weights": "not-protected-beyond-max-queries"}
    sealed = {"protection": "encrypted", "encrypted": bounded}
    return papers.policy_of(
        "minilm",
        papers.permit("minilm", "embed"),
        papers.permit("mood", "any", name="sealed", **sealed),
        models=["minilm", "mood"],
        devices=[{"node": "local", "may_see": ["raw-tokens"]}, {"node": "far", "may_see": ["ciphertext"]}],
    )


@contextmanager
def two_nodes() -> Iterator[str]:
    from ray.cluster_utils import Cluster as RayNodes

    nodes = RayNodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1, labels={"hetero-node": "far"})
    nodes.wait_for_nodes()
    try:
        yield nodes.address
    finally:
        nodes.shutdown()


def main(encoder: Path, head: Path, folder: Path, search: ModuleType) -> dict[str, Any]:
    office, mood = papers.Office(folder), read_encrypted(head)
    (folder / "policy").mkdir()
    with ExitStack() as stack:
        address = stack.enter_context(two_nodes())
        governance = stack.enter_context(open_governance(office.write_policy(folder / "policy", policy())))
        settings = Settings(encrypted=(head,), address=address)
        marked = stack.enter_context(serve_marked(str(encoder), settings, governance))
        assert marked is not None
        confinement = governance.confinement("minilm")
        runtime = stack.enter_context(Runtime(str(encoder), address=address, confinement=confinement, threads=1))
        listening = ServerSettings(port=0, tls=office.tls)
        server = stack.enter_context(Server(listening, governance, marked.service))
        server.attach(Served(runtime, "minilm", encrypted=marked.stages))
        where, credentials = f"localhost:{server.port}", {"tls": office.trusting, "token": office.token("ward")}
        with connect(where, **credentials) as plain, EncryptedClient(where, timeout=60, **credentials) as sealed:
            vectors = plain.embed([CANARY])
            scores = sealed.model("mood")(vectors)
        with connect(where, tls=office.trusting, token=office.token("press", admin=True)) as operator:
            plan = operator.plan
        traces = [[CANARY.encode()], [np.asarray(vectors[0, :8], np.float32).tobytes()]]
        far = marked.service.gateway.pool.pids
        return {
            "blocks": [stage.device.name for stage in plan.stages],
            "encrypted": [(stage.layer, stage.device.name, stage.parameters) for stage in plan.encrypted],
            "error": float(abs(scores - mood.in_the_clear(vectors)).max()),
            "own": [search.found_in(os.getpid(), each) for each in traces],
            "far_processes": len(far),
            "far": [search.found_in(pid, each) for pid in far for each in traces],
        }


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))
    import test_secret_key

    print(json.dumps(main(*map(Path, sys.argv[1:]), test_secret_key)))
