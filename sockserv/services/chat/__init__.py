"""A chat: rooms, messages that are kept, and who is there."""

from sockserv.services.chat.service import Chat

__all__ = ["Chat"]
