"""`python -m liteio_healer`."""

from liteio_healer.main import main
from liteio_runtime.leaving import leave

leave(main())
