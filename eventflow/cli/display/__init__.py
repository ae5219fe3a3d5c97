"""How the command line shows what it tells: tables, times, progress, colours."""
