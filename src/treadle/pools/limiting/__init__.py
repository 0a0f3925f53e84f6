"""Limits where they are taken: by calls of workers, and by code itself."""
