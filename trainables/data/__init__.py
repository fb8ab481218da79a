"""Data sets: readers, splits, checks. Start at `trainables.data.loading.load_dataset`."""
