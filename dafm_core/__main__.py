"""``python -m dafm_core``: the command ``dafm``, where no script of that name is on the path."""

import sys

from dafm_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
