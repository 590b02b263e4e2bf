"""The errors of the privacy layer.

PrivacyError
  PolicyError            the policy's file cannot be believed: unknown keys, a guarantee that lacks a field
  CredentialError        who asks is not known: no credential, or one that does not verify
  DeniedError            the policy does not permit it, or forbids it
    BudgetExhaustedError what is left of the budget does not cover the request
  LedgerError            what was spent cannot be known or written; nothing may be released
  MechanismError         a mechanism's parameters, its input or its sampler are not usable
  EncryptionError        a context, key or ciphertext is not acceptable
  AuditError             the audit log was changed, or cannot be written

Each takes one message string and has no constructor of its own. No message holds a prompt, a vector or a key.
"""


class PrivacyError(Exception):
    """Root of the privacy layer's errors. The message is one sentence that names the thing and the way out."""


class PolicyError(PrivacyError):
    """The policy's file cannot be believed."""


class CredentialError(PrivacyError):
    """The credential is missing, or does not verify."""


class DeniedError(PrivacyError):
    """The policy does not permit the request, or forbids it."""


class BudgetExhaustedError(DeniedError):
    """What is left of the budget does not cover the request."""


class LedgerError(PrivacyError):
    """What was spent cannot be known or written durably."""


class MechanismError(PrivacyError):
    """A mechanism's parameters, its input or its sampler are not usable."""


class EncryptionError(PrivacyError):
    """A context, a key or a ciphertext is not acceptable."""


class AuditError(PrivacyError):
    """The audit log was changed, or cannot be written."""
