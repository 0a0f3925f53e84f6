"""The version of the library. One place; packaging reads it from here."""

__version__ = "0.1.0"
