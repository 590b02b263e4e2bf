"""May a server under a policy listen as it is told to? Knows addresses, TLS and which credentials the policy names.

Each refusal is at the start: a server that would take prompts or tokens in the clear never comes up.
"""

from ipaddress import ip_address

from hetero.errors import ConfigurationError
from hetero.server.settings import ServerSettings
from privacy.policy.types import Policy


def check_listening(settings: ServerSettings, policy: Policy) -> None:
    """Raise ConfigurationError where credentials or prompts would be readable on the way, or could not be shown."""
    if settings.token:
        raise ConfigurationError(
            "a policy names its own credentials and does not go with the server's one token; unset HETERO_GRPC_TOKEN"
        )
    if policy.identity.certificates and not (settings.tls and settings.tls.client_ca):
        raise ConfigurationError(
            "the policy knows tenants by their certificates, which only mutual TLS asks for; give "
            "--grpc-use-ssl-mutual with --grpc-server-cert, --grpc-server-key and --grpc-root-cert"
        )
    if settings.tls is None and not is_loopback(settings.host):
        raise ConfigurationError(
            f"without TLS, credentials and prompts would be readable on the way to {settings.host}; give "
            "--grpc-use-ssl with --grpc-server-cert and --grpc-server-key, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
