"""Every app that the tests have, for tools that look at all of them at once."""

from tests.chaos.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos", "benchmarks.site"]
