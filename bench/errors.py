"""Errors of every room: each is one line for the user, and an exit status."""

from __future__ import annotations


class ConfigurationError(Exception):
    """An option, scenario or suite that makes no sense as written; one line that says what to change."""


class StoreError(Exception):
    """A result file that cannot be read or written; one line naming file and cause."""


class SchemaError(StoreError):
    """A result file of another schema version than this program can read."""


class NoResultError(StoreError):
    """A JSON document that never was a file of the wanted kind."""


class SetupError(Exception):
    """No run can work here; one line with the next step."""


class IncomparableError(Exception):
    """Results of different data, machines or schemas were to be put together; one line."""
