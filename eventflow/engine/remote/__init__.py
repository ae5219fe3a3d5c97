"""Task runs whose bodies are executed by workers: driven at home, step by step."""
