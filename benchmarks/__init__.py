"""Measurements of the project: each prints a table, or with --json one object."""
