"""What people type: the command maintenance."""
