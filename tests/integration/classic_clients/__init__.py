"""Clients as the old tutorial has them: blocking, of the standard library alone, fed by a person's keyboard."""
