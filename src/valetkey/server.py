"""python -m valetkey.server: the server with the options of seed 004."""

from __future__ import annotations

import sys

from valetkey.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
