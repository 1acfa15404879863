"""`python -m liteio_gateway`."""

import sys

from liteio_gateway.main import main

sys.exit(main())
