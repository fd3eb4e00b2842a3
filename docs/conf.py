"""How Sphinx makes the documentation site from these pages: ``./dev docs``."""

import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["DJANGO_SETTINGS_MODULE"] = "testproject.settings"
django.setup()  # autodoc imports models

from django_events import __version__  # noqa: E402

project = "django_events"
author = "the django_events authors"
copyright = author
version = release = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "docs.pages"]
exclude_patterns = ["_build"]

nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures: most are Django's, Python's, or not public

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"django_events {__version__}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
