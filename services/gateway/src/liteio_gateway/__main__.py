"""`python -m liteio_gateway`."""

from liteio_gateway.main import main
from liteio_runtime.leaving import leave

leave(main())
