"""Does the Ray cluster turn away who has no token? Asked of the cluster itself, for settings only say what is wished.

A process that has a token joins a cluster without authentication as readily as one with it, so a second process tries
to join without.
"""

import os
import subprocess
import sys

from hetero.errors import ConfigurationError

PROBE_SECONDS = 60.0
_REFUSED = 7
_PROBE = f"""
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1])
except AuthenticationError:
    sys.exit({_REFUSED})
"""


def require_token() -> None:
    """Raise ConfigurationError unless the cluster that this process is connected to refuses a process without token."""
    import ray

    address = ray.get_runtime_context().gcs_address
    if not _refuses(address):
        raise ConfigurationError(
            f"a policy needs a Ray cluster that asks for its token, and the one at {address} does not: whoever reaches "
            "it could run code where prompts are; set RAY_AUTH_MODE=token on every node and start the cluster again"
        )


def _refuses(address: str) -> bool:
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    without |= {"RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", _PROBE, address]
    try:
        done = subprocess.run(command, env=without, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == _REFUSED
