"""`python -m liteio_storage_node`."""

from liteio_runtime.leaving import leave
from liteio_storage_node.main import main

leave(main())
