"""The protocol without input and output."""
