"""What is stored: read, call ml, write, check, report metadata."""
