"""The errors that a user can cause and fix.

    ResightError                 one line: what, where, cure          exit 1
    ├── UsageError               invalid command line                 exit 2
    │   └── UnknownNameError     a name that is not in its table      exit 2
    ├── DataError                a data set cannot be used
    │   ├── PictureError         one picture cannot be read
    │   └── HangingError         a reading thread does not return
    ├── ModelFileError           a run or weight file cannot be used
    ├── NotFiniteError           pictures, answers or maps are NaN or infinite
    └── TrainingError            training had to stop

A traceback means a bug in Resight; the errors above are printed as one line.
"""

from dataclasses import dataclass


class ResightError(Exception):
    """Base of all errors whose message is written for the user."""

    exit_code = 1


class UsageError(ResightError, ValueError):
    """An invalid command line: an option, a setting, a value."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in its table; the message gives the nearest ones."""


class DataError(ResightError):
    """A data set cannot be used as it is."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a picture, as JSON has it.

    Attributes:
        path: the file, or the row, that holds the picture.
        fault: what is wrong with it.
        cure: what to do about it.
    """

    path: str
    fault: str
    cure: str


class PictureError(DataError):
    """One picture cannot be read as a picture.

    Attributes:
        name: the file, or the row, that holds the picture.
        fault: what is wrong with it.
        cure: what to do about it.
    """

    def __init__(self, name: str, fault: str, cure: str) -> None:
        super().__init__(f"{name}: {fault}; {cure}")
        self.name, self.fault, self.cure = name, fault, cure

    @property
    def row(self) -> Fault:
        """What JSON says of it."""
        return Fault(self.name, self.fault, self.cure)

    def __reduce__(self) -> tuple:
        # Worker processes send their errors home pickled, by constructor arguments.
        return (PictureError, (self.name, self.fault, self.cure))


class HangingError(DataError):
    """A thread that reads pictures does not return, and only the end of the process can end it."""


class ModelFileError(ResightError):
    """A run folder or a weight file cannot be used."""


class NotFiniteError(ResightError):
    """Pictures, a network's answers or its maps hold NaN or infinite values and are unusable."""


class TrainingError(ResightError):
    """Training had to stop; the last good state is on disk."""
