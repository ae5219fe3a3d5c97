"""Where the rows of a journal are kept: SQLite, memory, PostgreSQL."""
