"""SIGINT and SIGTERM, heard while steps are under way and obeyed when the state is kept.

The first signal is only noted, and the handlers that were there before come back, so that a second
one acts at once. ``deliver`` hands the first one to those handlers: Ctrl-C is the exception that it
always was, a little later.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from paribus.closing import Closing

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption(Closing):
    """Listens until it is closed; in the main thread only, because only that one hears signals.

    Attributes:
        received: the number of the signal that was heard and not delivered, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._closed = False
        self._before: dict[int, Any] = {}
        self._listen()

    def deliver(self) -> None:
        """Do what the signal would have done at once; usually that raises.

        Raises:
            SystemExit: for a signal whose default is to end the process without a word.
        """
        number, self.received = self.received, None
        if number is None:
            return
        if signal.getsignal(number) is signal.SIG_DFL:
            raise SystemExit(128 + number)
        signal.raise_signal(number)
        if not self._closed:
            self._listen()  # whoever handled it lets the run go on

    def close(self) -> None:
        """Give the signals back."""
        self._closed = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            before = signal.getsignal(number)
            # What is ignored stays ignored (nohup), and C's handlers cannot be put back.
            if before not in (signal.SIG_IGN, None):
                self._before[number] = before
                signal.signal(number, self._heard)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
