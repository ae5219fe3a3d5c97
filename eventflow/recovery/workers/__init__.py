"""Workers: processes that run the hooks which flows leave to them, on any machine."""
