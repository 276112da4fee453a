"""Sets of public data as sites of ours: each module knows one format, and what its labels mean."""
