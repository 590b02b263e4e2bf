"""`hetero devices`: what can compute here, or in a cluster. Starts Ray only where a cluster is named."""

import os
from contextlib import nullcontext
from typing import Annotated

import typer

from hetero.cli import options
from hetero.cli.describe import device_document, devices_table
from hetero.cli.output import only_results_on_stdout, out, print_json
from hetero.cores import core_devices
from placement import Device

Cores = Annotated[bool, typer.Option("--cores", help="List each core of a CPU as well; plans may name them.")]


def devices(address: options.Address = None, cores: Cores = False, as_json: options.Json = False) -> None:
    """List the devices, with the names that a plan uses."""
    with only_results_on_stdout() if as_json else nullcontext():
        found = find_devices(address)
        found += core_devices(found) if cores else ()
        if as_json:
            print_json([device_document(device) for device in found])
        else:
            out().print(devices_table(found))


def find_devices(address: str | None) -> tuple[Device, ...]:
    """The devices of the cluster that is named or that this runs in, else of this machine."""
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        from hetero.devices import local_devices

        return local_devices()
    from hetero.cluster import connect, discover

    cluster = connect(address)
    try:
        return discover(cluster)
    finally:
        cluster.close()
