"""The policy's file: every key, its type and its bounds, as pydantic models; and the JSON schema for editors.

Knows what one value may be. What values must be together is `policy.checks`'; what they mean is `policy.building`'s.
Text is never turned into numbers or back, and a key that is not named here is refused.
"""

from typing import Any, Literal

from pydantic import Field

from privacy.policy.fields import FileName, ModelName, Name, Strict, Text
from privacy.policy.rules import RuleModel, editor_conditions

#: Signatures whose check needs no secret. Those with a shared key, and "none", are never accepted.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
Label = Literal["raw-tokens", "embedding", "hidden", "logits", "ciphertext"]


class CertificateModel(Strict):
    """Whom a client certificate stands for."""

    san: Text = Field(description="A subject alternative name of the certificate: a DNS name or a URI.")
    tenant: Name = Field(description="The tenant that shows this certificate.")
    admin: bool = Field(default=False, description="Whether it may call the administrator's methods.")


class JwtModel(Strict):
    """Who may vouch for tenants by signed tokens."""

    issuer: Text = Field(description="What the token's `iss` must be.")
    audience: Text = Field(description="What the token's `aud` must hold.")
    algorithms: list[Algorithm] = Field(min_length=1, description="The signatures that are accepted; no others are.")
    jwks_file: FileName = Field(description="The issuer's public keys, a JSON Web Key Set.")
    tenant_claim: Text = Field(default="tenant", description="The claim that names the tenant.")
    subject_claim: Text = Field(default="sub", description="The claim that names the data subject.")
    admin_claim: Text | None = Field(default=None, description="The claim that is `true` for an administrator.")
    leeway_seconds: float = Field(default=0.0, ge=0, le=120, description="How far the two clocks may be apart.")
    tenants: list[Name] | None = Field(
        default=None, min_length=1, description="Only for these may it vouch; else for all."
    )


class IdentityModel(Strict):
    """How tenants prove who they are. At least one way."""

    certificates: list[CertificateModel] = Field(default=[], max_length=4096)
    jwt: list[JwtModel] = Field(default=[], max_length=32)
    api_keys_file: FileName | None = Field(default=None, description="Hashes of API keys and whose they are.")


class DeviceModel(Strict):
    """What a device may see. Placement gives it no layer that would show it more."""

    device: Text | None = Field(default=None, description="A name as `hetero devices` shows it, or `any`.")
    node: Text | None = Field(default=None, description="All devices of that node; `local` is the server's own.")
    may_see: list[Label] = Field(description="The labels of data that may reach it; raw-tokens covers all others.")


class StateModel(Strict):
    """Where the ledger, the audit log and the signing key are kept."""

    directory: FileName = Field(description="On a local disk, for the server's user alone.")


class PolicyModel(Strict):
    """A privacy policy of hetero. What no rule permits is denied, and a rule that forbids wins."""

    # No Literal: true would equal 1.
    version: int = Field(ge=1, le=1, description="The version of this schema.")
    name: Name = Field(description="What decisions and receipts call this policy.")
    tenants: list[Name] = Field(min_length=1, max_length=4096, description="All tenants; a rule may name no other.")
    models: list[ModelName] = Field(min_length=1, max_length=256, description="All models; a rule may name no other.")
    identity: IdentityModel
    devices: list[DeviceModel] = Field(min_length=1, max_length=4096)
    state: StateModel
    rules: list[RuleModel] = Field(min_length=1, max_length=500)


def json_schema() -> dict[str, Any]:
    """The file's JSON schema (draft 2020-12), for editors. What goes across rules is checked by `load_policy` alone."""
    schema = PolicyModel.model_json_schema()
    schema["$defs"]["RuleModel"]["allOf"] = editor_conditions()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "hetero privacy policy"}
