"""The page: shows the runs, the hooks and the deliveries of a journal in a browser."""
