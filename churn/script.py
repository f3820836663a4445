"""What every command shares: one-line errors with exit status 1, and one log format."""

import logging
import sys
from collections.abc import Callable


class InputError(Exception):
    """Something a person handed in is wrong; each line names the thing, the value and the way out."""


def run(main: Callable[[], None], name: str) -> None:
    """Call main() as the command `name`: an InputError ends it with one line per mistake and exit status 1."""
    logging.basicConfig(level="INFO", format="%(name)s: %(message)s", stream=sys.stderr)
    log = logging.getLogger(name)
    try:
        main()
    except InputError as error:
        for line in str(error).splitlines():
            log.error(line)
        sys.exit(1)
    except OSError as error:
        # a full disk, a file without permission; without errno it is a mistake of the code
        if error.errno is None:
            raise
        log.error("%s: %s", error.filename or name, error.strerror)
        sys.exit(1)
