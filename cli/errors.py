"""What a person is told when a command cannot go on: one clear sentence."""


class CommandError(Exception):
    """The message is shown as it is; the command ends with exit code 2."""
