"""Errors that a person can mend: the command line prints their message without a trace."""


class UserError(ValueError):
    """Input that cannot work: the message says what was expected, what was found where, and what to do.

    Args:
        expected: what the program needed, as a short phrase.
        found: what it found instead and where (file, option or folder).
        remedy: what the person can do about it, as an imperative.
    """

    def __init__(self, expected: str, found: str, remedy: str):
        super().__init__(f"Expected {expected}; found {found}. {remedy}")
        self.expected, self.found, self.remedy = expected, found, remedy


class NonFiniteLoss(RuntimeError):
    """The loss became infinite or NaN: the run cannot go on."""


class WorkerLost(RuntimeError):
    """Another process of a distributed run is gone: this one cannot go on.

    Args:
        reason: what the framework said, on one line.
    """

    def __init__(self, reason: str):
        super().__init__(
            f"Another process of this run is gone ({reason[:160]}). The last whole epoch is kept: start all processes "
            "again with --resume."
        )
