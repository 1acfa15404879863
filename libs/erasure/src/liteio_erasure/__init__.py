"""Reed-Solomon codec, keyed HighwayHash of shard blocks, quorum arithmetic."""
