"""What both ends of a chat go by: names of places, what is said in a session, and what can go wrong.

An identity that chats is a **member**; each program that it chats with is one of its **devices**. A **place** is a
room, `lobby`, or another member, `@alice`. A **conversation** is what a place is to everybody in it: that of two
members is the same for both.

Messages have a number that counts up, for the whole hub, the `id`; and one that their sender's device has given them,
the `number`, by which a message that is sent again is known to be the same.
"""
