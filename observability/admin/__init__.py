"""Turns, requests, deliveries, holds and the dashboard, as an operator reads them."""

from __future__ import annotations

from . import client_events, dashboard, deliveries, governance, requests, retention, turns

__all__ = (
    "client_events",
    "dashboard",
    "deliveries",
    "governance",
    "requests",
    "retention",
    "turns",
)
