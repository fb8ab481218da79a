"""Decoded data sets in files that later starts map; start at `trainables.data.cache.access`."""
