"""A name for a feature, proposed by an overseer and scored."""
