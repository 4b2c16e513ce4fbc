"""What a chat program shows around the messages: names and times, reactions, threads, system notes."""

from __future__ import annotations

import random
from collections.abc import Iterator

_NAMES = (
    "anouk",
    "bjarne_k",
    "Chidi",
    "dana.w",
    "Emeka",
    "fatou",
    "gus_the_cat",
    "Hanneke",
    "ivo77",
    "Jun",
    "Katya",
    "lars-o",
)
_CHANNELS = ("general", "random", "ops-alerts", "team-blue", "watercooler", "release-train", "help-desk")
_REACTIONS = ("👍", "🎉", "😂", ":eyes:", ":+1:", "❤️", "🙏", ":shipit:", "🔥")
_BOTS = ("DeployBot", "Calendar", "Polly", "IssueMirror", "StandupBuddy")
_LINES = (
    "{name} {time}",
    "{name} APP {time}",
    "{time} {name} (edited)",
    "{emoji} {n} {emoji} {n} Add reaction…",
    "{n} replies Last reply {ago} View thread",
    "{name} added {name2} to #{channel}.",
    "{name} has joined the call · {n}:{mm}",
    "{name} set the channel topic of #{channel}",
    "Today {time} New messages since {time} Mark all as read ×",
    "{bot} Reminder: weekly sync starts in {n} minutes. Snooze Dismiss",
    "Forwarded from {name} · {ago}",
    "Message #{channel} @ Aa 📎 🎤 ➤",
    "{name} and {n} others are typing…",
    "Seen by {name}, {name2} and {n} more",
    "This message was deleted.",
    "{name} reacted {emoji} to your message",
    "GIF via Tenor /shrug /remind me",
    "── {ago} ──",
    "Missed voice call at {time} Tap to call back",
    "image_{n}{n}.png {n} kB Open in browser",
    "{name} changed their nickname to {name2}",
    "{bot} Poll closed: {n} votes, {n} abstained",
    "Direct messages {name} {name2} + Invite people",
    "Reply in thread Also send to #{channel}",
)
_AGO = ("just now", "3 hours ago", "yesterday", "2 days ago", "last Monday", "on 14 March")


def chat_lines(rng: random.Random) -> Iterator[str]:
    """One conversation: a few people in one channel, its clock running on."""
    people, channel = rng.sample(_NAMES, 4), rng.choice(_CHANNELS)
    minute = rng.randrange(24 * 60)
    while True:
        minute = (minute + rng.randint(0, 9)) % (24 * 60)
        first, second = rng.sample(people, 2)
        line = rng.choice(_LINES)
        while "{n}" in line:
            line = line.replace("{n}", str(rng.randint(2, 48)), 1)
        yield (
            line.replace("{name}", first)
            .replace("{name2}", second)
            .replace("{channel}", channel)
            .replace("{time}", f"{minute // 60}:{minute % 60:02}")
            .replace("{mm}", f"{rng.randrange(60):02}")
            .replace("{emoji}", rng.choice(_REACTIONS))
            .replace("{bot}", rng.choice(_BOTS))
            .replace("{ago}", rng.choice(_AGO))
        )
