"""A chat: rooms, messages that are kept, and who is there."""
