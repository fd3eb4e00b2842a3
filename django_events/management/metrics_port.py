"""The port on which a command shows its metrics."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_events.management import arguments

ADDRESS = "127.0.0.1"
"""Only this machine, unless somebody says otherwise: metrics name topics, groups and handlers."""


def add_options(parser: CommandParser) -> None:
    """Add ``--metrics-port`` and ``--metrics-address``."""
    parser.add_argument(
        "--metrics-port",
        type=arguments.port,
        metavar="PORT",
        help="show this process's metrics to Prometheus on this port (default: nowhere)",
    )
    parser.add_argument(
        "--metrics-address",
        metavar="ADDRESS",
        help=f"the address of this machine that has the port; whoever reaches it can read (default: {ADDRESS})",
    )


def open_port(options: dict[str, Any]) -> None:
    """Show metrics, if the options say so. A port that cannot be had is logged. Raises CommandError for options that
    cannot be, and without prometheus_client."""
    port, address = options["metrics_port"], options["metrics_address"]
    if port is None:
        if address is not None:
            raise CommandError("--metrics-address is for --metrics-port. Add it, or remove --metrics-address.")
        return
    from django_events import exposition, metrics  # loads prometheus_client, if it is installed

    if not metrics.is_there:
        raise CommandError(
            "--metrics-port needs prometheus_client. Run: pip install 'django-events-kafka[prometheus]'."
        )
    exposition.serve(port, ADDRESS if address is None else address)
