"""A last line for processes that a library ends by `abort()`, of which Python does not come to know."""

import atexit
import subprocess


class LastWords:
    """A shell beside this process, which waits for its end and then prints what it was told last.

    Example:
        >>> words = LastWords()
        >>> words.are("Error: the library has aborted this process.")
        >>> words.close()  # all went well: nothing to say
    """

    def __init__(self):
        script = 'while read -r line; do words=$line; done; test -z "$words" || echo "$words" >&2'
        self._shell = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        # An abort runs no such functions.
        atexit.register(self.close)

    def are(self, words: str) -> None:
        """Sets what is printed to the standard error when this process ends: one line, or nothing."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{words}\n".encode())
        self._shell.stdin.flush()

    def close(self) -> None:
        """Ends the shell, which says nothing; also done when the interpreter ends by itself."""
        atexit.unregister(self.close)
        self._shell.communicate(b"\n")
