"""Between wire messages and our own types, both ways, and nothing else: budgets."""

from hetero.types import Budget
from hetero.v1 import admin_pb2 as wire


def budget_to_wire(budget: Budget) -> wire.Budget:
    return wire.Budget(
        account=budget.account,
        lifetime=budget.lifetime,
        cap=budget.cap,
        spent=budget.spent,
        delta=budget.delta,
    )


def budget_from_wire(budget: wire.Budget) -> Budget:
    return Budget(budget.account, budget.lifetime, budget.cap, budget.spent, budget.delta)
