"""The one error a user sees: what, where, which rule, what to do next, in one line."""


class UserError(Exception):
    """Ends a one-shot command with its text on standard error and exit code 2."""
