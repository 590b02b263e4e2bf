"""The command line: one file a command, and what they share (options, output, failures). The edge for people."""
