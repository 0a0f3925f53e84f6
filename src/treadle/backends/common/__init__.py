"""Decisions that every backend takes the same way, as pure functions."""
