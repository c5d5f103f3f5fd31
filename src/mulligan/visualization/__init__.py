"""What a feature looks like: pictures that were optimized, examples, atlases, maps."""
