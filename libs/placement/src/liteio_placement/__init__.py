"""Where a key lives: name and topology to pool, set and drive order; endpoint patterns."""
