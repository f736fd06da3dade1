"""What a command tells its user when it can't go on."""


class CommandError(Exception):
    """Ends the command: `message` goes to stderr as one line that says what to do next."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
