"""Several command lines in one interpreter, which imports the framework once: python one_process.py < COMMANDS.json.

Prints a list of [exit code, output, errors].
"""

import contextlib
import io
import json
import sys

from rankmatch_keras import cli


def run(words):
    """Runs one command line."""
    sys.argv = ["rankmatch", *words]
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    print(json.dumps([run(words) for words in json.load(sys.stdin)]))
