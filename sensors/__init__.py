"""When to act: watch, decide, request runs."""
