"""The one error of the backends."""

from __future__ import annotations


class RefusalError(Exception):
    """A model that cannot be served, or a request that cannot be answered, and why: one sentence for the user."""
