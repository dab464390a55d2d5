"""Integrations: one module for each framework. They carry ids and start runs, and never touch what is stored.

None of them is imported by the library itself, and each needs nothing but the framework it is for.
"""

from __future__ import annotations

__all__: list[str] = []
