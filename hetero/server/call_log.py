"""One line in the log for a governed call, of what its rule says may be logged and nothing else.

Knows the names that policies use: tenant, model, method, decision, sizes, times.
"""

import logging

from privacy.types import Ask, Decision

logger = logging.getLogger(__name__)


class CallLog:
    """Tells of calls that were answered; of refused ones the audit log tells."""

    def tell(self, ask: Ask, decision: Decision, sent_bytes: int, answered_bytes: int, seconds: float) -> None:
        """Write the line, or none where nothing may be logged."""
        known = {
            "tenant": ask.principal.tenant,
            "model": ask.model,
            "method": ask.method.value,
            "decision": decision.decision_id,
            "sizes": f"{sent_bytes}+{answered_bytes} bytes",
            "times": f"{seconds:.3f} s",
        }
        parts = [f"{name} {value}" for name, value in known.items() if name in decision.may_log]
        if parts:
            logger.info("answered: %s", ", ".join(parts))
