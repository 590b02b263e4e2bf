"""Ray under a policy: a cluster that asks for no token is refused, whatever this process is set to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hetero.cluster import Cluster
from hetero.cluster_token import require_token

pytestmark = pytest.mark.ray

#: Starts a cluster without authentication, and asks for a policy's model on it.
OPEN_CLUSTER = """
import ray, sys
ray.init("local", include_dashboard=False, num_cpus=1, object_store_memory=80_000_000, log_to_driver=False)
from hetero import ConfigurationError, Runtime
from hetero.confinement import Confinement
try:
    Runtime(sys.argv[1], "cpu/torch:0-5", confinement=Confinement(lambda device, node: frozenset({"raw-tokens"})))
except ConfigurationError as error:
    print("refused:", error)
"""


def test_cluster_that_wants_its_token_is_accepted(ray_cluster: Cluster) -> None:
    require_token()


def test_cluster_without_authentication_is_refused(stories260k: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", OPEN_CLUSTER, str(stories260k)],
        env=environment | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "refused: a policy needs a Ray cluster that asks for its token" in done.stdout, done.stderr[-2000:]
