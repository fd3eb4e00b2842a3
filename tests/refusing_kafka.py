"""An embedded Kafka that refuses the next requests of a kind, as a coordinator does that is only taking over.

It is librdkafka's mock cluster, which Python's client does not offer: so it is called where the client has loaded it.
"""

import ctypes
from pathlib import Path
from types import TracebackType

import confluent_kafka

COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR, NOT_ENOUGH_REPLICAS, CLUSTER_AUTHORIZATION_FAILED = 14, 16, 19, 31
"""The error codes of answers (Kafka protocol, error codes)."""

_NODE = ctypes.c_int32(1)
_PRODUCE, _OFFSET_COMMIT, _OFFSET_FETCH, _INIT_PRODUCER_ID = 0, 8, 9, 22
_PRODUCER = _NO_ERROR = 0


def librdkafka() -> ctypes.CDLL:
    """The library that Python's client has loaded."""
    (path,) = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs").glob("librdkafka*.so*")
    return ctypes.CDLL(str(path))


class RefusingKafka:
    """One node. A context manager."""

    def __init__(self) -> None:
        self._library = library = librdkafka()
        for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
            getattr(library, name).restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        conf, reason = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
        library.rd_kafka_conf_set(conf, b"log_level", b"0", reason, len(reason))
        self._client = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, conf, reason, len(reason)))
        self._cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(self._client, 1))
        self.bootstrap_servers: str = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create(self, topic: str) -> None:
        """Create a topic of one partition."""
        self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), 1, 1)

    def set_leader(self, topic: str, partition: int, *, leads: bool) -> None:
        """Have the node lead this partition, or nobody."""
        node = _NODE if leads else ctypes.c_int32(-1)
        self._library.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), ctypes.c_int32(partition), node)

    def refuse_commit(self, code: int, after: float = 0) -> None:
        """Answer the next commit of offsets with this error, so many seconds late."""
        self._refuse(_OFFSET_COMMIT, code, after)

    def refuse_offsets(self, code: int) -> None:
        """Answer the next question for committed offsets with this error."""
        self._refuse(_OFFSET_FETCH, code, 0)

    def refuse_records(self, code: int, after: float = 0) -> None:
        """Answer the next request that brings records with this error, so many seconds late, and take none of them.

        Of other records it takes all, as a broker does whose partition does not know the producer yet.
        """
        self._refuse(_PRODUCE, code, after)

    def refuse_producer(self, code: int) -> None:
        """Answer the next producer that asks for its id with this error."""
        self._refuse(_INIT_PRODUCER_ID, code, 0)

    def delay_records(self, *seconds: float) -> None:
        """Answer the next requests that bring records so many seconds late."""
        for late in seconds:
            self._refuse(_PRODUCE, _NO_ERROR, late)

    def stop(self) -> None:
        """Answer nothing more."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, _NODE)

    def _refuse(self, request: int, code: int, after: float) -> None:
        late = ctypes.c_int(int(after * 1000))
        self._library.rd_kafka_mock_broker_push_request_error_rtts(
            self._cluster, _NODE, ctypes.c_int16(request), ctypes.c_size_t(1), ctypes.c_int(code), late
        )

    def __enter__(self) -> "RefusingKafka":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)
