"""`meter dev`: everything on one machine, kept running, and stopped in good order."""
