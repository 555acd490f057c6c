"""TLS: certificates and keys, listeners that show them, and clients that know a server by its key."""
