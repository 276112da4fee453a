"""The ledger: everything small that people act on or that must be transactional, in PostgreSQL."""
