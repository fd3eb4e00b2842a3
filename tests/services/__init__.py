"""A real Kafka and a real PostgreSQL for the tests, where nobody has given us addresses of some.

``python -m tests.services -- COMMAND`` runs a command with both; the classes are for tests that kill a broker.
"""

REQUIRED = "DJANGO_EVENTS_REQUIRE_SERVICES"
"""The environment variable that is set where a missing part is a failure."""
