"""Pictures packed into few files: tar shards, and the columns of parquet."""
