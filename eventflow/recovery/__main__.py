"""`python -m eventflow.recovery`: finish what dead owners left."""

import os
import sys
import threading

from eventflow.recovery.owner import main

LAST_SECONDS = 10.0
"""How long what the owner's files have started may still keep this process, when all is done."""

if __name__ == "__main__":
    CODE = main()
    LAST = threading.Timer(LAST_SECONDS, os._exit, [CODE])
    LAST.daemon = True
    LAST.start()
    sys.exit(CODE)
