"""Makes librdkafka's clients, so that what is wrong with their options or their token is said at once."""

import ctypes
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from django_events.exceptions import BrokerUnavailable, SettingsError
from django_events.harmless import harmless
from django_events.kafka.logs import QUIET_LOGGER
from django_events.kafka.secrets import reveal, revealed

logger = logging.getLogger("django_events.kafka")

Client = TypeVar("Client")

OAUTH_CB = "settings.DJANGO_EVENTS['KAFKA']['oauth_cb']"

CALLED_IN_POLL = ("stats_cb", "throttle_cb")
"""Options that are functions of the site which librdkafka calls inside of ``poll``, from where they would raise."""


def make(kind: Callable[..., Client], options: Mapping[str, Any]) -> Client:
    """A client with these options, as ``config`` makes them. Does not wait for Kafka.

    Raises SettingsError for an option that librdkafka does not take, BrokerUnavailable if there is no OAuth token.
    """
    if ask := options.get("oauth_cb"):
        options = {**options, "oauth_cb": _Tokens(ask, options.get("sasl.oauthbearer.config", ""))}
    for name in CALLED_IN_POLL:
        if callable(function := options.get(name)):
            text = f"The function {name!r} in the Kafka options of settings.DJANGO_EVENTS raised"
            options = {**options, name: harmless(logger, text)(function)}
    try:
        return kind(revealed(options), logger=QUIET_LOGGER)
    except (KafkaException, TypeError, ValueError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise SettingsError(
            f"librdkafka does not take the Kafka options in settings.DJANGO_EVENTS: {reason}. Correct or remove it."
        ) from error


def never_destroy(client: object) -> None:
    """Keep a parent's client in a child process, or one that hangs, for ever. To destroy it can hang, even when Python
    ends.

    So it gets a reference that nobody gives back; all that a module holds is destroyed at the end.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))


class _Tokens:
    """The site's function for OAuth tokens. librdkafka calls it in a thread of its own when a token gets old.

    The first token is had before the client is made: without one, librdkafka waits for ten seconds and says nothing
    of what the function has raised.
    """

    def __init__(self, ask: Any, config: Any) -> None:
        if not callable(ask):
            raise SettingsError(f"{OAUTH_CB} must be a function that returns a token and when it ends.")
        self._ask = ask
        try:
            self._first = ask(reveal(config))
        except Exception as error:
            raise BrokerUnavailable(
                f"There is no OAuth token: the function {OAUTH_CB} raised {type(error).__name__}: {error}"
            ) from error
        if problem := _problem_of(self._first):
            raise SettingsError(f"The function {OAUTH_CB} must return a token and when it ends, but {problem}.")

    def __call__(self, config: str) -> Any:
        first, self._first = self._first, None
        return first or self._ask(config)


def _problem_of(answer: Any) -> str | None:
    """What is wrong with an answer of the site's function. Says nothing of the token."""
    if not isinstance(answer, tuple) or not 2 <= len(answer) <= 4:
        return f"it returned a {type(answer).__name__}. Return (token, seconds since 1970)"
    if not isinstance(answer[0], str) or not isinstance(answer[1], int | float):
        kinds = ", ".join(type(each).__name__ for each in answer)
        return f"it returned ({kinds}). Return the token as a str, and its end as seconds since 1970"
    if answer[1] <= time.time():
        return "the token that it returned has ended already. The end is in seconds since 1970"
    return None
