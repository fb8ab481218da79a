"""The plain form for own data: one row per pose, in an npz or a Parquet file."""
