"""What a site has in its settings to be let in by ``SecureKafka``, and what it has when it is not."""

import base64
import json
import time
from typing import Any

from tests.services.secure_kafka import PASSWORD, USER, SecureKafka

Options = dict[str, Any]


def by_password(kafka: SecureKafka, mechanism: str, password: Any = PASSWORD) -> Options:
    """User and password, over TLS."""
    return {
        "bootstrap.servers": kafka.sasl_address,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(kafka.authority.certificate),
        "sasl.mechanism": mechanism,
        "sasl.username": USER,
        "sasl.password": password,
    }


def by_token(kafka: SecureKafka, ask: Any) -> Options:
    """What the function ``ask`` returns, over TLS."""
    options = by_password(kafka, "OAUTHBEARER") | {"oauth_cb": ask}
    return {name: value for name, value in options.items() if name not in ("sasl.username", "sasl.password")}


def by_certificate(kafka: SecureKafka, *, of_stranger: bool = False) -> Options:
    """A certificate of the client's own; its key is in the settings."""
    issued = (kafka.stranger if of_stranger else kafka.authority).issue(USER)
    return {
        "bootstrap.servers": kafka.tls_address,
        "security.protocol": "SSL",
        "ssl.ca.location": str(kafka.authority.certificate),
        "ssl.certificate.pem": issued.certificate.read_text(),
        "ssl.key.pem": issued.key.read_text(),
    }


class Tokens:
    """Gives tokens without a signature, which the tests' Kafka believes, and counts them."""

    def __init__(self, seconds: float = 3600.0) -> None:
        self._seconds = seconds
        self.given = 0

    def __call__(self, _config: str) -> tuple[str, float]:
        self.given += 1
        now = time.time()
        claims = {"sub": USER, "iat": now - 1, "exp": now + self._seconds}
        return f"{_part({'alg': 'none'})}.{_part(claims)}.", now + self._seconds


class Vault:
    """A function of the site's that gives the value of an option, and raises until the vault is opened."""

    def __init__(self, value: str) -> None:
        self._value = value
        self.is_open = False
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if not self.is_open:
            raise ConnectionError("the vault is away")
        return self._value


def refused_token(_config: str) -> tuple[str, float]:
    return "t0ken-of-nobody", time.time() + 3600


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
