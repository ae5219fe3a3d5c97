"""What readers ask for: runs, and their deliveries."""
