"""The messages of a hub, in SQLite. All of it blocks: it is for a thread.

Invariants:

1. A message is stored once, however often it is given: what its sender's device calls it is unique.
2. What a method has returned is on the disk.
3. Ids count up and are never given again, whatever is removed.
4. Words are put into their index in bulk, in the order of the ids: what is in no index yet comes into it before
   anything is searched for, or removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sockserv.services.chat.database import explained, open_database
from sockserv.services.chat.messages import NewMessage, StoredMessage
from sockserv.services.chat.words import as_indexed, as_query

__all__ = ["ChatStore"]

_REMOVED_AT_ONCE: Final = 1000
_MOST_UNREAD: Final = 1000
_INDEXED_AT_ONCE: Final = 1000
"""With a commit for each the index costs as much as all the rest; a search that has to wait for so many waits some
milliseconds.
"""

_COLUMNS: Final = "id, conversation, sender, device, number, text, at"
_PREFIXED: Final = ", ".join(f"messages.{name}" for name in _COLUMNS.split(", "))
_ROOMS: Final = """
WITH RECURSIVE room (name) AS (
    SELECT min(conversation) FROM messages WHERE conversation >= '#'
    UNION ALL
    SELECT (SELECT min(conversation) FROM messages WHERE conversation > name) FROM room WHERE name < '$'
)
SELECT name, (SELECT max(id) FROM messages WHERE conversation = name) FROM room WHERE name < '$'
"""
"""From one room to the next in the index of conversations, where those of members come behind: whoever counts all
messages takes a second.
"""


class ChatStore:
    """The messages in the file `path`, which is made if it is not there; None keeps them in memory.

    Raises `StoreError`, as all methods do. Not to be used in two threads at once.
    """

    def __init__(self, path: Path | None) -> None:
        self._database = open_database(path)
        self._unindexed = _INDEXED_AT_ONCE
        """How many messages the index may lack; what was stored before this was opened nobody has counted."""

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    # Writing

    def add(self, messages: Sequence[NewMessage]) -> list[int]:
        """Store messages, all together; gives their ids.

        One that was stored before keeps the id that it has; if it was removed since, it is 0.
        """
        with self._transaction():
            last_numbers = self._last_numbers(messages)
            next_id = self._next_id()
            ids = []
            new: dict[tuple[str, str, int], tuple[int, NewMessage]] = {}
            for message in messages:
                device = message.sender, message.device
                if message.number > last_numbers[device]:
                    last_numbers[device] = message.number
                    new[*device, message.number] = next_id, message
                    ids.append(next_id)
                    next_id += 1
                elif (again := new.get((*device, message.number))) is not None:
                    ids.append(again[0])
                else:
                    ids.append(self._stored_id(message))
            self._insert(list(new.values()))
            self._unindexed += len(new)
            if self._unindexed >= _INDEXED_AT_ONCE:
                self._index()
        return ids

    def _last_numbers(self, messages: Iterable[NewMessage]) -> dict[tuple[str, str], int]:
        return {
            device: self.last_number(*device)
            for device in {(message.sender, message.device) for message in messages}
        }

    def _next_id(self) -> int:
        # Of what was removed SQLite remembers the last id in a table of its own, as for any AUTOINCREMENT.
        return 1 + self._number("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")

    def _stored_id(self, message: NewMessage) -> int:
        found = self._database.execute(
            "SELECT id FROM messages WHERE sender = ? AND device = ? AND number = ?",
            (message.sender, message.device, message.number),
        ).fetchone()
        return 0 if found is None else int(found[0])

    def _insert(self, messages: Sequence[tuple[int, NewMessage]]) -> None:
        execute = self._database.executemany
        execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    new_id,
                    each.conversation,
                    each.sender,
                    each.device,
                    each.number,
                    each.text,
                    each.at,
                )
                for new_id, each in messages
            ],
        )
        execute(
            "INSERT OR IGNORE INTO mail VALUES (?, ?)",
            [(member, new_id) for new_id, each in messages for member in each.members],
        )

    def _index(self) -> None:
        """Put the words of all messages into their index, of which it has all up to some id."""
        execute = self._database.execute
        while rows := execute(
            "SELECT id, text FROM messages WHERE id > ? ORDER BY id LIMIT ?",
            (self._last_indexed(), _INDEXED_AT_ONCE),
        ).fetchall():
            self._database.executemany(
                "INSERT INTO words (rowid, text) VALUES (?, ?)",
                [(number, as_indexed(text)) for number, text in rows],
            )
        self._unindexed = 0

    def _last_indexed(self) -> int:
        return self._number("SELECT rowid FROM words ORDER BY rowid DESC LIMIT 1")

    def mark_received(self, ids: Iterable[tuple[str, int]]) -> None:
        """Note of members up to which id they have all their mail; never less than before."""
        with self._transaction():
            self._database.executemany(
                "INSERT INTO received VALUES (?, ?) ON CONFLICT DO UPDATE SET id = max(id, excluded.id)",
                ids,
            )

    def mark_read(self, member: str, conversation: str, number: int) -> None:
        """Note up to which id a member has read a conversation; never less than before."""
        with self._transaction():
            # Anybody may ask for this about any place: where nothing was said, there is nothing to note.
            self._database.execute(
                "INSERT INTO read SELECT ?, ?, ? WHERE EXISTS (SELECT 1 FROM messages WHERE conversation = ?) "
                "ON CONFLICT DO UPDATE SET id = max(id, excluded.id)",
                (member, conversation, number, conversation),
            )

    def mark_seen(self, member: str, at: float) -> None:
        """Note when a member was there last."""
        with self._transaction():
            self._database.execute(
                "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO UPDATE SET at = excluded.at",
                (member, at),
            )

    def trim(
        self, *, before: float, keep: int
    ) -> tuple[int, list[tuple[StoredMessage, tuple[str, ...]]]]:
        """Remove some of the messages that are older than `before`, or more than `keep` in all, the oldest first.

        Gives how many it has removed, none when nothing is left to remove; and those among them that were mail for
        somebody who has not had it, with whom that was.
        """
        with self._transaction():
            execute = self._database.execute
            first, last = execute("SELECT min(id), max(id) FROM messages").fetchone()
            # Up to where somebody has, or has read, what is all removed says nothing: of guests there is any number.
            for table in ("received", "read"):
                execute(f"DELETE FROM {table} WHERE id < ?", (2**62 if first is None else first,))
            if first is None:
                return 0, []
            self._index()
            # Ids have no gaps worth counting: all that are removed are the oldest.
            bound = max(last - keep, 0)
            rows = execute(
                f"SELECT {_COLUMNS} FROM messages WHERE id <= ? OR at < ? ORDER BY id LIMIT ?",
                (bound, before, _REMOVED_AT_ONCE),
            ).fetchall()
            unread = []
            for row in rows:
                missed = execute(
                    "SELECT member FROM mail LEFT JOIN received USING (member) "
                    "WHERE mail.id = ? AND mail.member <> ? AND mail.id > coalesce(received.id, 0)",
                    (row[0], row[2]),
                ).fetchall()
                if missed:
                    unread.append((StoredMessage(*row), tuple(name for (name,) in missed)))
            self._remove([StoredMessage(*row) for row in rows])
            return len(rows), unread

    def _remove(self, messages: Sequence[StoredMessage]) -> None:
        execute = self._database.executemany
        # The index keeps no text, and has to be told what it was.
        execute(
            "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)",
            [(message.id, as_indexed(message.text)) for message in messages],
        )
        execute("DELETE FROM messages WHERE id = ?", [(message.id,) for message in messages])

    # Reading

    def since(
        self, member: str | None, conversations: Iterable[str], *, after: int, count: int
    ) -> list[StoredMessage]:
        """The first messages after an id, of a member's mail if there is one, and of some conversations, in their
        order.
        """
        found: dict[int, StoredMessage] = {}
        with explained():
            rows = self._database.execute(
                f"SELECT {_PREFIXED} FROM mail JOIN messages USING (id) "
                "WHERE mail.member = ? AND mail.id > ? ORDER BY mail.id LIMIT ?",
                (member, after, count),
            ).fetchall()
            for conversation in conversations:
                rows += self._database.execute(
                    f"SELECT {_COLUMNS} FROM messages WHERE conversation = ? AND id > ? ORDER BY id LIMIT ?",
                    (conversation, after, count),
                ).fetchall()
        for row in rows:
            found[row[0]] = StoredMessage(*row)
        return [found[number] for number in sorted(found)[:count]]

    def history(
        self, conversation: str, *, count: int, before: int | None = None, after: int | None = None
    ) -> list[int]:
        """The last messages of a conversation, below the id `before`; or the first ones above `after`.

        Their ids, in their order.
        """
        where, bound, order = "id < ?", before or 2**62, "DESC"
        if after is not None:
            where, bound, order = "id > ?", after, "ASC"
        with explained():
            rows = self._database.execute(
                f"SELECT id FROM messages WHERE conversation = ? AND {where} ORDER BY id {order} LIMIT ?",
                (conversation, bound, count),
            ).fetchall()
        return sorted(number for (number,) in rows)

    def search(
        self, text: str, member: str, conversations: Sequence[str], *, count: int
    ) -> list[int]:
        """The last messages with all words of `text`, in the member's mail and in some conversations: their ids, in
        their order.
        """
        query = as_query(text)
        if not query:
            return []
        if self.last_id() > self._last_indexed():
            with self._transaction():
                self._index()
        with explained():
            # As one value: SQLite does not take as many as there may be rooms.
            rows = self._database.execute(
                "SELECT messages.id FROM words CROSS JOIN messages ON messages.id = words.rowid "
                "WHERE words MATCH ? AND (conversation IN (SELECT value FROM json_each(?)) OR EXISTS "
                "(SELECT 1 FROM mail WHERE mail.member = ? AND mail.id = messages.id)) "
                "ORDER BY words.rowid DESC LIMIT ?",
                (query, json.dumps(list(conversations)), member, count),
            ).fetchall()
        return sorted(number for (number,) in rows)

    def messages(self, ids: Iterable[int], *, max_bytes: int) -> list[StoredMessage]:
        """The first of the messages with these ids, in this order, up to where their texts have so many bytes together.

        It is one at least, if any of them is there; those that are not, any more, are passed over.
        """
        found: list[StoredMessage] = []
        with explained():
            for number in ids:
                row = self._database.execute(
                    f"SELECT {_COLUMNS} FROM messages WHERE id = ?", (number,)
                ).fetchone()
                if row is None:
                    continue
                found.append(StoredMessage(*row))
                max_bytes -= len(found[-1].text.encode())
                if max_bytes <= 0:
                    break
        return found

    def unread(self, member: str, conversation: str) -> int:
        """How many messages of others a conversation has above those that a member has read; no more than 1000 are
        counted.
        """
        with explained():
            (count,) = self._database.execute(
                "SELECT count(*) FROM (SELECT 1 FROM messages WHERE conversation = ? AND sender <> ? AND id > coalesce("
                "(SELECT id FROM read WHERE member = ? AND conversation = ?), 0) LIMIT ?)",
                (conversation, member, member, conversation, _MOST_UNREAD),
            ).fetchone()
        return int(count)

    def received(self, member: str) -> int:
        """Up to which id a member has all their mail."""
        return self._number("SELECT id FROM received WHERE member = ?", member)

    def last_number(self, sender: str, device: str) -> int:
        """The number of a device's last message."""
        return self._number(
            "SELECT max(number) FROM messages WHERE sender = ? AND device = ?", sender, device
        )

    def rooms(self) -> dict[str, int]:
        """The conversations of all rooms in which something was said, and the ids of their newest messages."""
        with explained():
            return dict(self._database.execute(_ROOMS).fetchall())

    def seen(self) -> dict[str, float]:
        """When members were there last, who are not forgotten."""
        with explained():
            return dict(self._database.execute("SELECT member, at FROM seen").fetchall())

    def last_id(self, conversation: str | None = None) -> int:
        """The id of the newest message there is, of a conversation or of all."""
        if conversation is None:
            return self._number("SELECT max(id) FROM messages")
        return self._number("SELECT max(id) FROM messages WHERE conversation = ?", conversation)

    def _number(self, query: str, *values: str) -> int:
        with explained():
            row = self._database.execute(query, values).fetchone()
        return 0 if row is None or row[0] is None else int(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled it back already.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
