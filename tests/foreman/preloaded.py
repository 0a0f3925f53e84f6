"""A module that is loaded before a child is made."""

from __future__ import annotations

import os

MADE_BY = os.getpid()
