"""``python -m posesplat`` is the ``posesplat`` command."""

import sys

from posesplat.cli.main import main

sys.exit(main())
