"""What a node keeps on disk: one write-ahead log, which is also the database. See docs/storage.md."""
