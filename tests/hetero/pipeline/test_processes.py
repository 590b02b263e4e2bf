"""What needs processes of its own: several Ray nodes, and a driver that is killed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TOKEN = "0123456789abcdef" * 4


def environment(home: Path, **settings: str) -> dict[str, str]:
    """As a user's shell has it: no Ray settings but those given, and a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **settings}


@pytest.fixture(scope="module")
def two_nodes(stories260k: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "two_nodes.py"), str(stories260k)],
        env=environment(tmp_path_factory.mktemp("home"), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def test_nodes_are_named_by_label_or_id_and_their_devices_after_them(two_nodes: dict[str, Any]) -> None:
    own, far, other = two_nodes["nodes"]
    assert not two_nodes["started_here"]
    assert (own, far) == ("", "far") and other.startswith("node-") and len(other) == 11
    assert two_nodes["devices"] == [["cpu", ""], ["far.cpu", "far"], [f"{other}.cpu", other]]


def test_plan_over_two_nodes_gives_the_numbers_of_one_process(two_nodes: dict[str, Any]) -> None:
    assert two_nodes["found"] == two_nodes["expected"] and len(set(two_nodes["found"])) > 5


def test_link_between_nodes_is_no_unix_socket(two_nodes: dict[str, Any]) -> None:
    assert two_nodes["sockets"]["unix_links"] == 0 and two_nodes["sockets"]["listening"] > 0


def test_lost_node_is_noticed_within_two_seconds(two_nodes: dict[str, Any]) -> None:
    assert two_nodes["noticed_seconds"] < 2 and two_nodes["lost"].startswith("stage 1 (far.cpu/torch:2-5) was lost")


def test_killed_driver_leaves_no_stage_and_asked_for_a_token(stories260k: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "lone_driver.py"), str(stories260k)]
    with subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        seen = json.loads(driver.stdout.readline())
        descendants = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
        assert set(seen["stages"]) <= {process.pid for process in descendants}
        driver.kill()
    _, alive = psutil.wait_procs([p for p in descendants if p.pid in seen["stages"]], timeout=20)
    # Two helpers of Ray's own take another minute to notice.
    for process in filter(psutil.Process.is_running, descendants):
        process.kill()
    assert alive == []
    assert seen["started_here"] and seen["mode"] == "token" and seen["token_bytes"] == 64
    assert ".ray" not in seen["home"]
