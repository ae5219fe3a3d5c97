"""Stopping what executes: threads, asyncio tasks, signals."""
