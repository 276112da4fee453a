"""Where things are stored: connections, folders, drivers. The only place that knows hosts and paths."""
