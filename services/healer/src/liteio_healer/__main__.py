"""`python -m liteio_healer`."""

import sys

from liteio_healer.main import main

sys.exit(main())
