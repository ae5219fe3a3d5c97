"""The commands of `eventflow`, one module for each command or group."""
