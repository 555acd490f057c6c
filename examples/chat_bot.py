"""A bot that answers in a room of the daemon of this account."""

from typing import Any

from twisted.internet import task

from sockserv import connect


async def main(reactor: Any, room_name: str = "lobby") -> None:
    client = await connect(reactor)
    room = await client.chat.join(room_name)
    async for message in room.messages():
        if message.text.startswith("!upper "):
            await room.say(message.text.removeprefix("!upper ").upper())


if __name__ == "__main__":
    task.react(main)
