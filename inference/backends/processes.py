"""Networks belong to the process that loaded them: their threads and GPU contexts do not survive a fork."""

import os


class Owner:
    """The process that loaded a network; a process forked from it later is another."""

    def __init__(self) -> None:
        self.process = os.getpid()

    @property
    def is_here(self) -> bool:
        """Return whether this is still that process."""
        return os.getpid() == self.process

    def check(self, backend: str) -> None:
        """Raise a ValueError in a forked process, where the runtime would wait forever for threads that are not there.

        Args:
            backend: the runtime's name, for the message.
        """
        if not self.is_here:
            raise ValueError(
                f"backend {backend}: the network was loaded before this process was forked, and its threads are not "
                "here; load it in each process (gunicorn: without --preload; multiprocessing: start method spawn)"
            )
