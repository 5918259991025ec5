"""`python -m billfold` is the command `billfold`."""

import sys

from billfold.cli import main

sys.exit(main())
