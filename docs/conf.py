"""How the documentation is built: Markdown pages, reference from docstrings, warnings refused."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import treadle
import treadle.app
import treadle.options
from treadle.foreman import Foreman
from treadle.pools.worker import WorkerBuilder

# Names in annotations that these modules import for type checkers only, and Sphinx looks up.
vars(treadle.app)["Foreman"] = Foreman
vars(treadle.options)["WorkerBuilder"] = WorkerBuilder

project = "Treadle"
author = "The Treadle maintainers"
copyright = "the Treadle maintainers"
version = release = treadle.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "commands",
    "field_comments",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"Treadle {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
