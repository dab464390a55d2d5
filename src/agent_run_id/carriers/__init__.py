"""Carriers: what takes a run id across a wall, one module for each shape."""

from __future__ import annotations

from agent_run_id.carriers import environ

__all__ = ["environ"]
