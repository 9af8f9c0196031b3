"""How a command ends early, on purpose."""


class UserError(Exception):
    """A person caused it and can mend it: what was wrong, where, and what to do, in one sentence. Exit code 2."""


class Stopped(BaseException):
    """A signal asked the process to end; raised where nothing is lost by it. Exit code 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.code = 128 + number
