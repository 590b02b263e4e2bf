"""Joining a cluster, its nodes and devices, and addresses that cannot be joined."""

import time

import pytest

from hetero.cluster import Cluster, connect, discover
from hetero.devices import local_devices
from hetero.errors import ConfigurationError


@pytest.mark.ray
def test_own_node_is_unnamed_and_says_what_it_has(ray_cluster: Cluster) -> None:
    (node,) = ray_cluster.nodes()
    assert node.name == "" and len(node.id) == 56 and node.address and node.resources["CPU"] >= 1
    assert ray_cluster.started_here


@pytest.mark.ray
def test_second_connection_shares_the_first_and_leaves_it_open(ray_cluster: Cluster) -> None:
    with connect() as second:
        assert second.nodes() == ray_cluster.nodes() and not second.started_here
    assert ray_cluster.nodes()


@pytest.mark.ray
def test_devices_of_the_own_node_are_those_of_this_machine(ray_cluster: Cluster) -> None:
    found = discover(ray_cluster)
    expected = local_devices()
    described = [(d.name, d.kind, d.engines, d.precisions, d.emulated) for d in expected]
    assert [(d.name, d.kind, d.engines, d.precisions, d.emulated) for d in found] == described
    assert {(d.node, d.node_id) for d in found} == {("", ray_cluster.nodes()[0].id)}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"),
        ("ray://somewhere:10001", "not the HOST:PORT"),
        ("http://127.0.0.1:8265", "not the HOST:PORT"),
        ("somewhere", "not the HOST:PORT"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
    ],
)
def test_address_without_a_cluster_is_refused_at_once(address: str, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match=message):
        connect(address)
    assert time.monotonic() - began < 6


def test_address_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:9"):
        connect()
