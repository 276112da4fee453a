"""What must hold: contracts of the stored tables, Great Expectations suites and their runner."""
