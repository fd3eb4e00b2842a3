"""Writes records that Python's client cannot write: a header's name there is a text, and in Kafka it is any bytes."""

import ctypes

from tests.refusing_kafka import librdkafka

_PRODUCER = _NO_ERROR = _END = 0
_TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADER = 1, 3, 4, 7, 9
"""What the next arguments of ``rd_kafka_producev`` are (rdkafka.h, rd_kafka_vtype_t)."""
_COPY = ctypes.c_int(2)


def put_with_header(bootstrap_servers: str, wire_topic: str, partition: int, value: bytes, name: bytes) -> None:
    """Write one record with a header of this name."""
    library = librdkafka()
    for function in ("rd_kafka_conf_new", "rd_kafka_new"):
        getattr(library, function).restype = ctypes.c_void_p
    conf, reason = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
    servers = bootstrap_servers.encode()
    assert library.rd_kafka_conf_set(conf, b"bootstrap.servers", servers, reason, len(reason)) == 0, reason.value
    producer = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, conf, reason, len(reason)))
    assert producer, reason.value
    error = library.rd_kafka_producev(
        producer,
        *(_TOPIC, wire_topic.encode()),
        *(_PARTITION, ctypes.c_int32(partition)),
        *(_VALUE, value, ctypes.c_size_t(len(value))),
        *(_FLAGS, _COPY),
        *(_HEADER, name, b"x", ctypes.c_ssize_t(1)),
        _END,
    )
    assert error == _NO_ERROR
    assert library.rd_kafka_flush(producer, 120_000) == _NO_ERROR
    library.rd_kafka_destroy(producer)
