"""What the exit status of a command says."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of every command, a contract with scripts."""

    ALL_POSED = 0
    """Every frame has a pose."""
    NOT_SOUND = 1
    """posesplat doctor found something broken that posesplat cannot do without."""
    BAD_INPUT = 2
    """The command line or an input file is wrong; one line on stderr says what and why."""
    SOME_NOT_POSED = 3
    """Some frames have no pose."""
    NONE_POSED = 4
    """No frame has a pose."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C, or by the end of the terminal or of the time in a batch queue."""
    READER_LEFT = 141
    """Whoever read the output closed it early."""

    @staticmethod
    def of(posed: int, frames: int) -> ExitStatus:
        """The status of a run that posed ``posed`` of ``frames`` frames."""
        if posed == 0:
            return ExitStatus.NONE_POSED
        return ExitStatus.ALL_POSED if posed == frames else ExitStatus.SOME_NOT_POSED
