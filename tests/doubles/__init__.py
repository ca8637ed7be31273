"""Doubles: servers that tests talk to instead of real ones."""
