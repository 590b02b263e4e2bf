"""`hetero.v1.AdminService`: what administrators of a server under a policy may ask. Has no method that computes.

Its own service, so that a proxy can keep it from a network on which inference is offered.
"""

import grpc

from hetero.server.convert_budgets import budget_to_wire
from hetero.server.governor import Context, Governor
from hetero.types import Budget
from hetero.v1 import admin_pb2 as wire
from hetero.v1.admin_pb2_grpc import AdminServiceServicer, add_AdminServiceServicer_to_server
from privacy.types import Account


class AdminServicer(AdminServiceServicer):
    """Answers those whose credential says that they are administrators, and nobody else."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor

    def add_to(self, server: grpc.aio.Server) -> None:
        add_AdminServiceServicer_to_server(self, server)

    async def ListBudgets(self, request: wire.ListBudgetsRequest, context: Context) -> wire.ListBudgetsResponse:
        self._governor.require_admin()
        governance = self._governor.governance
        budgets = [budget_to_wire(self._budget(account)) for account in governance.policy.accounts()]
        return wire.ListBudgetsResponse(budgets=budgets, policy_revision=governance.policy.revision)

    def _budget(self, account: Account) -> Budget:
        spent = self._governor.governance.guard.ledger.spent(account)
        return Budget(account.key, account.lifetime, account.rho_cap, spent, account.delta)
