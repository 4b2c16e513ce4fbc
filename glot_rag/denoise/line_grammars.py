"""Lines as they surround the text of pages, mails and logs, made by small random grammars.

Slots are filled with words of the training texts, so that a head cannot memorise a line. These grammars are for
training only; `glot_rag.evaluation` has templates of its own.
"""

# ruff: noqa: E501 (one template a line)
from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

# {w} a word, {W} a capitalised word, {n} a number, {d} a date, {t} a time, {h} a host, {u} a path, {e} an address,
# {v} a version, {x} a hexadecimal string. [a|b|c] is a choice; choices do not nest.
_NAVIGATION = (
    "[Home|Start|Main page|Overview] [>|/|»|::] {W} [>|/|»|::] {W} {W}",
    "[Menu|Navigate|Browse] {W} {W} {W} [Search|Find] [Log on|Register|Account]",
    "[Previous|Prev|Older] [|Next|Newer] {W} {w} [Up|Back to list|Index]",
    "{W} | {W} | {W} | {W} | {W}",
    "[Jump|Skip|Go] to [content|navigation|search|footer]",
    "[In this section|On this page|Table of contents] {W} {w} {W} {W} {w}",
    "[Categories|Tags|Topics|Filed under] : {W} , {W} , {w} {w}",
    "[Page|Sheet] {n} of {n} [first|last|next]",
    "[Recent|Popular|Related|Featured] [posts|stories|items|pages] {W} {w} {w} {W} {w}",
    "[Sort by|Order by|Show] [date|name|size|relevance] [ascending|descending]",
)
_NOTICES = (
    "[We|This site|Our partners and we] [store|use|process] [cookies|identifiers|local storage] [to|so that we may] "
    "[measure|remember|personalise] {w} [OK|Agree|Manage|Decline all]",
    "[Join|Enter your e-mail for|Get] our [weekly|daily|monthly] [bulletin|digest|mailing] about {w} and {w}",
    "[Copyright|(c)|Published by] {n} {W} {W} [Ltd|Inc.|Foundation|and contributors] [Reproduction forbidden|]",
    "[Imprint|Legal|Disclaimer|Accessibility statement] [Contact|Help desk|Jobs] [Sitemap|Status]",
    "[Like|Tweet|Pin|Mail|Forward] this [entry|piece|item] [on|with] {W}",
    "[Advertisement|Sponsored|Promoted by {W}] {W} {w} {w} from {n} [EUR|USD|a month]",
    "Your [browser|connection|session] [is out of date|has expired|does not support {w}] [Reload|Update]",
    "[Leave a reply|Add a comment|{n} comments] [Name|Nickname] [E-mail|Website] [Post|Preview]",
    "[By|From|Posted by|Author] {W} {W} [on|at] {d} {t} [| {n} views|| {n} min]",
    "[Licensed under|Provided under|See] the {W} [licence|terms] [version {v}|] without warranty of any kind",
    "[Print|Download|Cite|Bookmark] [this page|as PDF|citation] [Report an error|Feedback]",
    "[Was this|Did this] [answer|page|section] [useful|help you] ? [Yes|Yes {n}] [No|No {n}]",
    "[Choose your|Change] [region|language|currency] {W} {W} {W} {W}",
    "[This message|This e-mail with its attachments] [is confidential|is meant for {W}] [delete it|tell the sender]",
)
_LOGS = (
    "{d} {t} [INFO|WARN|ERROR|DEBUG|TRACE] {w}.{w} - {w} {w} {w} = {n}",
    "[{t}] [main|worker-{n}|pool-{n}] {w} : {w} {w} [ok|failed|retry {n}]",
    '{h} - - [{d}:{t}] "[GET|POST|PUT|HEAD] {u} HTTP/1.1" {n} {n}',
    "at {w}.{w}.{W}({W}.java:{n})",
    'File "{u}" , line {n} , in {w}',
    "{d} {h} {w}[{n}]: {w} {w} from {e}",
    'level={w} ts={n} caller={w}.go:{n} msg="{w} {w}"',
)
_MARKUP = (
    '<div class="{w}-{w}" id="{w}"> <a href="{u}">{W}</a> </div>',
    '<[span|li|td|p] class="{w}">{n}</[span|li|td|p]> &nbsp; &raquo;',
    '{{ "{w}" : "{w}" , "{w}" : {n} , "{w}" : [true|false|null] }}',
    ".{w}-{w} {{ [margin|padding|width] : {n}px ; [color|background] : #{x} ; }}",
    "var {w} = {w}.{w}( '{w}' , {n} ) ; [return {w}|if ({w})] ;",
    '{w} = {n} ; {w} = "{u}"',
    "[![{w}](https://{h}{u})](https://{h})",
    "| {W} | {n} | {n} | {w} |",
)
_HEADERS = (
    "[From|To|Cc|Reply-To] : {W} {W} <{e}>",
    "[Date|Sent|Received] : {d} {t} [Subject|Re] : {w} {w}",
    "[Message-ID|In-Reply-To|References] : <{x}@{h}>",
    "On {d} {W} [wrote|said] : > {w} {w}",
    "[{t}] <{w}{n}> {w} [lol|ok|thanks|brb|+1]",
    "[{W} joined|{W} left|{W} pinned a message|{W} is typing]",
    "-- {W} {W} [Sent from my phone|Tel. {n}|www.{h}]",
    "[Version|Build|Release|Revision] {v} [{d}|{x}] https://{h}{u}",
)
_PROSE = (
    "[We value|We respect] [your choices|the trust you place in us] , so you decide which [cookies|trackers] may run .",
    "[Some|A few] cookies are [needed|required] so that the [pages work|shop works] ; others help us [count|see] visits .",
    "[Advertisers|Third parties] may [combine|link] this with [other data|data from other sites] about you .",
    "You can change your mind [at any moment|whenever you like] under [settings|the padlock in the corner] .",
    "By [clicking|pressing] [yes|continue] you [consent|say yes] to [storage|processing] as set out in our [notice|statement] .",
    "[Never miss|Do not miss] [a story|an update|what is new] : [sign up|subscribe] and read us every [morning|Friday] .",
    "[Thank you|Thanks] for [signing up|subscribing] ! Please [check your inbox|confirm your address] .",
    "[Follow|Find] us on [Facebook|Mastodon|LinkedIn|Instagram] and [watch|listen to] us on [YouTube|Spotify] .",
    "[Enjoyed|Did you like] [this|what you read] ? [Tell|Send it to] [a friend|your colleagues] .",
    "[Already a member|Have an account] ? [Log in here|Sign in with Google] . [Forgot|Lost] your password ?",
    "[Create|Open] a free account to [read on|save this page|see more results] .",
    "[You have|There are] {n} [articles|free reads] left this month . [Become|Be] a [member|supporter] today .",
    "[Free|Fast] [delivery|shipping] on [all orders|everything] over {n} and [easy|free] returns within {n} days .",
    "[Add to|View your] [cart|bag|wish list] . In stock : {n} . [Usually sent|Ready to ship] in [one|two] days .",
    "[Customers who|People who] [bought|viewed] this also [bought|looked at] {W} and {W} .",
    "[Rated|Scored] {n} out of {n} by {n} [buyers|users] . [Write|Read] a review .",
    "[Read|See] [also|more] : {W} {w} {w} . [Editors' choice|Most read this week] .",
    "[All|Every] [rights|trade marks] [belong to|are the property of] their [owners|holders] .",
    "[No part of this|Nothing on this] [site|page] may be [copied|reproduced] without [written consent|permission] .",
    "The [authors|publisher] [accept|take] no [liability|responsibility] for the [content|links] of other sites .",
    "The [views|opinions] [given|stated] here are [the author's own|not those of {W}] .",
    "This [program|library|file] is [free software|distributed in the hope that it will be useful] ; see the [file COPYING|terms] .",
    "Permission to [use , copy and modify|redistribute] is [granted|given] provided that [this notice|the above] [appears|stays] .",
    "[Please|Kindly] [turn on|enable] [JavaScript|scripts] in your browser [to go on|and load the page again] .",
    "[This video|This content|The map] [cannot be played|is not available] in your [country|region] .",
    "[Sorry|Oops] , [something went wrong|we could not find that page] . [Try again|Go back] later .",
    "[Download|Get] our [app|reader] for [Android|your phone] and [take it along|read offline] .",
    "[Last|Page last] [edited|changed|modified] on {d} by {W} . [History|Source|Talk] .",
    "[Comments|Replies] are [closed|held for moderation] . Be [kind|civil] and stay on topic .",
    "[Photo|Image|Illustration] : {W} {W} / {W} . [Caption|Enlarge] .",
    "[Estimated|Average] reading time {n} minutes . [Listen|Play audio] instead .",
    "[Our|The] [office|hotline] is open [Monday to Friday|all week] from {n} to {n} . [Call|Ring] {n} .",
    "[Careers|Press|Investors|Partners] [About the company|Who we are] [Contact us|Where to find us] [Help|Support centre]",
    "[Text size|Contrast|Dark mode|Language] [small|on|off|English] [Listen to this page|Easy read]",
    "[Use|Enter] the [code|voucher] {W}{n} at checkout and save {n} % [until Sunday|this week only] .",
    "[Share your thoughts|Let us know what you think] in the [form|survey] below ; it takes [a minute|two minutes] .",
    "[Unsubscribe|Change your preferences] at the bottom of [any|every] message we send .",
    "You [get|receive] this because you [registered|are on our list] as {e} .",
    "[Weather|Traffic|Markets|Lottery] today : {n} [degrees|points] . [More|Forecast] .",
    "[Back|Return] to the [list|overview|results] [of all|for] {w} .",
)
_GROUPS = {
    "page": (_PROSE, _PROSE, _NOTICES, _NAVIGATION),
    "log": (_LOGS,),
    "markup": (_MARKUP,),
    "header": (_HEADERS,),
}


def templates() -> list[str]:
    """Every template, for the test that evaluation shares none of them."""
    return list(dict.fromkeys(template for groups in _GROUPS.values() for group in groups for template in group))


def page_line(rng: np.random.Generator, vocabulary: Sequence[str], family: str = "page") -> str:
    """A random line of a family (page, log, markup, header), its slots filled from the vocabulary.

    Args:
        rng: of every choice.
        vocabulary: words, the most frequent first.
        family: which grammars.
    """
    groups = _GROUPS[family]
    group = groups[int(rng.integers(len(groups)))]
    template = group[int(rng.integers(len(group)))]
    out, i = [], 0
    while i < len(template):
        character = template[i]
        if template[i : i + 2] in ("{{", "}}"):
            out.append(character)
            i += 2
        elif character == "{":
            out.append(_fill(rng, template[i + 1], vocabulary))
            i += 3
        elif character == "[" and "|" in template[i : template.find("]", i) + 1]:
            # A choice; brackets without a bar in them are plain text.
            end = template.index("]", i)
            options = template[i + 1 : end].split("|")
            chosen = options[int(rng.integers(len(options)))]
            template = chosen + template[end + 1 :]
            i = 0
        else:
            out.append(character)
            i += 1
    return "".join(out)


_STAMPS = ("{d}T{t}Z", "{d} {t}", "[{d}:{t}]", "{t}.{n}", "[{n}]", "{n}", "({t})", "{d}", "")
_LEVELS = (
    "INFO WARN ERROR DEBUG",
    "info warning error",
    "I W E D",
    "[info] [warn]",
    "NOTICE CRIT ALERT",
    "<6> <3>",
    "",
)
_FIELDS = (
    "{w}={n}", "{w}={w}", '{w}="{w} {w}"', "{w}: {n}", "{h}", "{e}", "{u}", "0x{x}", "{x}", "[{w}]", "{w}[{n}]:", "({w}.{w})", "{w}::{W}",
    "{n}ms", "{n} bytes", "{n}.{n}.{n}.{n}:{n}", "-> {u}", "{w} {w}", "{w} {w} {w}", "{w}/{n}", "#{n}", "{w}_{w}", "{n}%", "'{w}'", "<{w}>", "|",
)  # fmt: skip


def log_format(rng: np.random.Generator) -> list[str]:
    """The templates of an invented program's log: a stamp, a level, and some kinds of message."""
    stamp, levels = (group[int(rng.integers(len(group)))] for group in (_STAMPS, _LEVELS))
    separator = (" ", " ", " - ", "\t", " | ", ", ")[int(rng.integers(6))]
    lines = []
    for _ in range(int(rng.integers(1, 5))):
        level = str(rng.choice(levels.split() or [""]))
        fields = [_FIELDS[int(i)] for i in rng.integers(len(_FIELDS), size=int(rng.integers(2, 7)))]
        lines.append(separator.join(part for part in (stamp, level, *fields) if part))
    return lines


def fill(rng: np.random.Generator, template: str, vocabulary: Sequence[str]) -> str:
    """A template's slots filled; for templates without choices."""
    return _SLOT.sub(lambda match: _fill(rng, match[1], vocabulary), template)


_SLOT = re.compile(r"\{(\w)\}")


def _fill(rng: np.random.Generator, slot: str, vocabulary: Sequence[str]) -> str:
    def word() -> str:
        drawn = vocabulary[int(rng.random() ** 3 * len(vocabulary))]
        return "".join(filter(str.isalpha, drawn)).lower() or "item"

    def number(digits: int) -> str:
        return str(int(rng.integers(10 ** int(rng.integers(1, digits + 1)))))

    if slot == "w":
        return word()
    if slot == "W":
        return word().capitalize()
    if slot == "n":
        return number(6)
    if slot == "d":
        year, month, day = rng.integers(1990, 2030), rng.integers(1, 13), rng.integers(1, 29)
        return f"{year}-{month:02}-{day:02}" if rng.random() < 0.5 else f"{day}/{month}/{year}"
    if slot == "t":
        return f"{rng.integers(24):02}:{rng.integers(60):02}:{rng.integers(60):02}"
    if slot == "h":
        return f"{word()}.{word()}.[com]".replace("[com]", ("com", "org", "net", "io")[int(rng.integers(4))])
    if slot == "u":
        return "/" + "/".join(word() for _ in range(int(rng.integers(1, 4))))
    if slot == "e":
        return f"{word()}@{word()}.net"
    if slot == "v":
        return f"{number(2)}.{number(2)}.{number(1)}"
    return rng.bytes(int(rng.integers(2, 8))).hex()
