"""What this machine gives."""
