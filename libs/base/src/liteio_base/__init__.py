"""Ids, byte spans, clocks, deadlines, limits and check(): what every other part stands on."""
