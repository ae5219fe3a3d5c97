"""A run as a file: a page, a picture or a trace, to keep or to attach to a ticket."""
