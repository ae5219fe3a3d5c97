"""Loading the files of another process again, without their runs."""
