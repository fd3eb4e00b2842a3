"""A Kafka that lets nobody in without credentials: SASL over TLS on one listener, client certificates on another."""

from collections.abc import Mapping
from pathlib import Path

from tests.services.certificates import Authority
from tests.services.kafka import KafkaNode, new_cluster_id
from tests.services.server import free_ports

USER = "site"
"""May do everything."""
OTHER_USERS = ("web", "worker", "operator")
"""May do what they are given a right to; they have the same password."""
PASSWORD = "pa55-of-the-site"
OTHER_PASSWORD = "pa55-of-the-other"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

_JAAS = "org.apache.kafka.common.security"


class SecureKafka(KafkaNode):
    """``address`` is for the tests themselves, without security; ``sasl_address`` and ``tls_address`` are for sites."""

    def __init__(self, folder: Path) -> None:
        plain, self._controller_port, sasl, tls = free_ports(4)
        super().__init__(folder, f"127.0.0.1:{plain}", new_cluster_id(), heap="256m")
        self.sasl_address = f"localhost:{sasl}"
        self.tls_address = f"localhost:{tls}"
        self.authority = Authority(folder.with_name("certificates"), "authority")
        self.stranger = Authority(folder.with_name("certificates"), "stranger")
        self._own = self.authority.issue("kafka")

    def properties(self) -> Mapping[str, object]:
        listeners = {
            "PLAINTEXT": self.address,
            "SASL": self.sasl_address,
            "TLS": self.tls_address,
        }
        urls = ",".join(f"{name}://{address}" for name, address in listeners.items())
        return {
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"{urls},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": urls,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_SSL,TLS:SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "num.network.threads": 1,  # for each listener
            "offsets.topic.replication.factor": 1,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "broker.session.timeout.ms": 60_000,  # nobody kills it, and one that stands still is not to be fenced
            "super.users": f"User:ANONYMOUS;User:{USER};User:CN={USER}",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._own.both,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.certificate,
            "listener.name.tls.ssl.client.auth": "required",
            "listener.name.sasl.sasl.enabled.mechanisms": ",".join(MECHANISMS),
            "listener.name.sasl.plain.sasl.jaas.config": (
                f"{_JAAS}.plain.PlainLoginModule required "
                + " ".join(f'user_{name}="{PASSWORD}"' for name in (USER, *OTHER_USERS))
                + ";"
            ),
            "listener.name.sasl.scram-sha-256.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
            "listener.name.sasl.oauthbearer.sasl.jaas.config": (
                f"{_JAAS}.oauthbearer.OAuthBearerLoginModule required "
                'unsecuredLoginStringClaim_sub="kafka" unsecuredValidatorAllowableClockSkewMs="0";'
            ),
            "listener.name.sasl.oauthbearer.sasl.server.callback.handler.class": (
                f"{_JAAS}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
            ),
            "connection.failed.authentication.delay.ms": 0,  # an answer at once
            "connections.max.reauth.ms": 3_600_000,  # a session ends with its token, if the token ends earlier
        }

    def credentials(self) -> list[str]:
        """What the storage knows from its first day: the passwords for SCRAM."""
        return [
            f"--add-scram={mechanism}=[name={USER},password={PASSWORD}]"
            for mechanism in MECHANISMS
            if mechanism.startswith("SCRAM")
        ]
