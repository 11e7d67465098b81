"""What goes wrong outside, done on purpose: ``make faults`` runs all of it, ``make test`` less."""

from __future__ import annotations
