"""The exceptions by which a command ends early on purpose."""


class UserError(Exception):
    """An error that the user can correct; its one sentence says what was wrong, where, and what to do. Exit code 2."""


class Stopped(BaseException):
    """A signal asked the process to end; raised once the work is saved. Exit code 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.code = 128 + number
