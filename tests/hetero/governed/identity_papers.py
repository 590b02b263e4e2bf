"""Certificates, tokens and policies for the tests of governed servers."""

import contextlib
import datetime
import ipaddress
import json
import time
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes as Key
from cryptography.x509.oid import NameOID

from hetero import ClientTls
from hetero.server.tls import ServerTls
from privacy.errors import PolicyError
from privacy.guard_opening import begin_state, is_begun
from privacy.policy.loading import load_policy
from privacy.policy.types import Policy

ISSUER, AUDIENCE = "https://id.example", "hetero"
PEM = serialization.Encoding.PEM


class Authority:
    """A certificate authority that writes PEM files into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.key: Key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self.key, [x509.DNSName(name)], ca=True)
        self.path = self._write(f"{name}.pem", self.certificate.public_bytes(PEM))

    def issue(self, name: str, *, sans: list[x509.GeneralName], hours: float = 1.0) -> tuple[Path, Path]:
        """The files of a certificate with these names, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, key, sans, ca=False, hours=hours)
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        stem = f"{self.name}-{name}".replace("/", "_").replace(":", "_")
        return self._write(f"{stem}.pem", certificate.public_bytes(PEM)), self._write(f"{stem}.key", private)

    def client(self, san: str, **more: Any) -> ClientTls:
        """What a client with a certificate of that one name shows to a server of the office."""
        name = x509.UniformResourceIdentifier(san) if "://" in san else x509.DNSName(san)
        return ClientTls(self.folder / "office.pem", *self.issue(san, sans=[name], **more))

    def _sign(self, name: str, key: Key, sans: list[x509.GeneralName], ca: bool, hours: float = 1.0) -> Any:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:60])]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=2))
            .not_valid_after(now + datetime.timedelta(hours=hours))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(sans), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


class Office:
    """One authority, one issuer of tokens, and the files that a policy names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder, "office")
        self.stranger = Authority(folder, "stranger")
        localhost = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        self.tls = ServerTls(*self.authority.issue("server", sans=localhost))
        self.mutual = ServerTls(self.tls.certificate, self.tls.key, client_ca=self.authority.path)
        self.trusting = ClientTls(ca=self.authority.path)
        self.signing_key = ec.generate_private_key(ec.SECP256R1())
        (folder / "jwks.json").write_text(json.dumps({"keys": [public_jwk(self.signing_key, "k1")]}))

    def claims(self, tenant: str | None = "ward", **changes: Any) -> dict[str, Any]:
        """A token's claims; a change to None leaves one out."""
        given = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 300, "sub": "patient-1", "tenant": tenant}
        return {name: value for name, value in (given | changes).items() if value is not None}

    def token(self, tenant: str | None = "ward", *, key: Any = None, algorithm: str = "ES256", **changes: Any) -> str:
        signing = self.signing_key if key is None else key
        return jwt.encode(self.claims(tenant, **changes), signing, algorithm=algorithm, headers={"kid": "k1"})

    def write_policy(self, folder: Path, policy: dict[str, Any], *, begin: bool = True) -> Path:
        """The policy's file, with its state begun in `folder` and the office's keys beside it."""
        for name in ("jwks.json", "api-keys.txt"):
            if (self.folder / name).exists():
                (folder / name).write_bytes((self.folder / name).read_bytes())
        file = folder / "policy.yaml"
        file.write_text(yaml.safe_dump(policy, sort_keys=False))
        if begin:
            # A policy that is wrong on purpose has no state.
            with contextlib.suppress(PolicyError):
                self._begin(load_policy(file))
        return file

    @staticmethod
    def _begin(policy: Policy) -> None:
        if not is_begun(policy.state):
            begin_state(policy)


def public_jwk(key: Any, kid: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    return json.loads(algorithm.to_jwk(key.public_key())) | {"kid": kid, "alg": "ES256", "use": "sig"}


JWT = {
    "issuer": ISSUER,
    "audience": AUDIENCE,
    "algorithms": ["ES256"],
    "jwks_file": "jwks.json",
    "admin_claim": "admin",
}
GUARANTEE = {
    "unit": "person",
    "adjacency": "any-two-inputs",
    "observer": "reader-of-outputs",
    "lifetime": "forever",
    "epsilon": 8.0,
    "delta": 1e-6,
    "accountant": "zcdp",
}


def policy_of(model: str, *rules: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A policy for one model whose tenants are `ward` and `press`, known by tokens."""
    return {
        "version": 1,
        "name": "tests",
        "tenants": ["ward", "press"],
        "models": [model],
        "identity": {"jwt": [JWT]},
        "devices": [{"device": "any", "may_see": ["raw-tokens"]}],
        "state": {"directory": "state"},
        "rules": list(rules),
    } | changes


def permit(model: str, *methods: str, name: str = "plain", **changes: Any) -> dict[str, Any]:
    """A rule that lets `ward` ask in the clear."""
    return {
        "name": name,
        "effect": "permit",
        "tenants": ["ward"],
        "models": [model],
        "methods": list(methods),
        "protection": "none",
        "may_log": ["tenant", "method", "decision"],
    } | changes


def private(model: str, method: str, mechanism: str, parameters: dict[str, float], **changes: Any) -> dict[str, Any]:
    """A rule that lets `ward` ask for answers under differential privacy."""
    given = {
        "protection": "output-dp",
        "guarantee": GUARANTEE,
        "mechanism": {"name": mechanism, "parameters": parameters},
        "budget": {"owner": "subject", "name": "all"},
    }
    return permit(model, method, name=f"private-{method}") | given | changes
