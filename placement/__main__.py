"""`python -m placement FILE`: plan a graph of the public workload format and print what was found."""

import argparse
import json
import sys
from pathlib import Path

from placement.errors import PlacementError
from placement.graph_plan import GraphPlan, plan_graph


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 after one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        plan = plan_graph(
            options.file,
            options.objective,
            contiguous=options.contiguous,
            accelerator_count=options.devices,
            time_limit_seconds=options.time_limit,
        )
    except PlacementError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(_document(plan)) if options.json else _text(plan))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m placement", description=__doc__)
    parser.add_argument("file", type=Path, help="a workload file (JSON)")
    parser.add_argument("--objective", choices=("throughput", "latency"), default="throughput")
    parser.add_argument("--contiguous", action="store_true", help="each device takes one contiguous piece")
    parser.add_argument("--devices", type=int, help="how many accelerators, instead of the file's own number")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="S", help="seconds for the search")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _document(plan: GraphPlan) -> dict[str, object]:
    return {
        "objective": plan.objective,
        "bound": plan.bound,
        "gap": plan.gap,
        "seconds": plan.seconds,
        "assignment": {str(node): device for node, device in sorted(plan.assignment.items())},
    }


def _text(plan: GraphPlan) -> str:
    counts: dict[str, int] = {}
    for device in plan.assignment.values():
        counts[device] = counts.get(device, 0) + 1
    head = f"{plan.objective:.6g} ms (proven bound {plan.bound:.6g}, gap {plan.gap:.2%}) in {plan.seconds:.2f} s"
    return "\n".join([head, *(f"  {device}: {count} nodes" for device, count in sorted(counts.items()))])


if __name__ == "__main__":
    sys.exit(main())
