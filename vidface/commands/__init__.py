"""The command line, a module a group of commands; its libraries are imported inside the commands."""
