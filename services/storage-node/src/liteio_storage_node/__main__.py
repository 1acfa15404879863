"""`python -m liteio_storage_node`."""

import sys

from liteio_storage_node.main import main

sys.exit(main())
