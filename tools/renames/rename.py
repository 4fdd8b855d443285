#!/usr/bin/env python3
"""Applies the rename table to the tree, and proves that a commit did nothing else.

    tools/renames/rename.py apply GROUP...      renames identifiers and moves files of these groups (all groups: `all`)
    tools/renames/rename.py verify COMMIT GROUP proves that COMMIT equals its parent with the table of GROUP applied

The table is tools/renames/GROUP.txt. Each line is one of

    file  OLD-PATH  NEW-PATH                    a moved file
    name  PATH  OLD  NEW                        every identifier OLD of the file (path after the moves of earlier groups)
    name  PATH  OLD  NEW  1,3 of 4              only these occurrences, counted in the file from 1
    text  PATH  OLD TOKENS => NEW TOKENS        a sequence of tokens, for attributes and shorthand fields

Identifiers are tokens of code. Names in backticks in the comments of the same file follow, and so do names captured by
format strings; other strings stay as they are.
A proof compares token streams without comments, strings and trailing commas, after rustfmt: it sorts imports by name.
"""

import pathlib
import re
import subprocess
import sys

TOOLS = pathlib.Path(__file__).resolve().parent
ROOT = TOOLS.parent.parent

TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>//[^\n]*)
  | (?P<string>(?:b|c)?"(?:[^"\\]|\\.)*")
  | (?P<char>b?'(?:[^'\\\n]|\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F_]+\}|.))')
  | (?P<life>'[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>[0-9][0-9a-zA-Z_]*(?:\.[0-9][0-9a-zA-Z_]*)?)
  | (?P<ident>(?:r\#)?[A-Za-z_][A-Za-z0-9_]*)
  | (?P<punct>.)
    """,
    re.X | re.S,
)
RAW_STRING = re.compile(r'(?:b|c)?r(#*)"')


def tokens(text):
    """Yields (kind, text, start) of everything in a Rust source text."""
    at = 0
    while at < len(text):
        raw = RAW_STRING.match(text, at)
        if raw:
            end = text.index('"' + raw.group(1), raw.end()) + 1 + len(raw.group(1))
            yield "string", text[at:end], at
            at = end
            continue
        if text.startswith("/*", at):
            depth, end = 1, at + 2
            while depth:
                step = re.compile(r"/\*|\*/").search(text, end)
                depth += 1 if step.group() == "/*" else -1
                end = step.end()
            yield "comment", text[at:end], at
            at = end
            continue
        match = TOKEN.match(text, at)
        yield match.lastgroup, match.group(), at
        at = match.end()


def code(text):
    """Returns the token stream that a proof compares."""
    found = [token for kind, token, _ in tokens(text) if kind not in ("space", "comment", "string")]
    return [token for token, after in zip(found, found[1:] + [""]) if not (token == "," and after in tuple(")]}>"))]


class Table:
    """The lines of one group."""

    def __init__(self, group):
        self.moves, self.names, self.texts = {}, {}, {}
        for line in (TOOLS / f"{group}.txt").read_text().splitlines():
            fields = line.split("\t")
            if not line or line.startswith("#"):
                continue
            if fields[0] == "file":
                self.moves[fields[1]] = fields[2]
            elif fields[0] == "name":
                which = None
                if len(fields) > 4:
                    listed, _, count = fields[4].partition(" of ")
                    which = ({int(n) for n in listed.split(",")}, int(count))
                self.names.setdefault(fields[1], {}).setdefault(fields[2], []).append((fields[3], which))
            elif fields[0] == "text":
                old, _, new = fields[2].partition(" => ")
                self.texts.setdefault(fields[1], []).append((old, new))
            else:
                raise SystemExit(f"{group}.txt: unknown line {line!r}: expected file, name or text")

    def apply(self, path, text):
        """Returns the renamed text of a file; `path` is the one before this group's moves."""
        for old, new in self.texts.get(path, []):
            text = replace_tokens(path, text, old, new)
        names = self.names.get(path, {})
        if not names:
            return text
        counts, result = {}, []
        totals = {}
        for kind, token, _ in tokens(text):
            if kind == "ident" and token in names:
                totals[token] = totals.get(token, 0) + 1
        for old, choices in names.items():
            for _, which in choices:
                if which and which[1] != totals.get(old, 0):
                    print(f"{path}: {old} occurs {totals.get(old, 0)} times: the table expects {which[1]}", file=sys.stderr)
        for kind, token, _ in tokens(text):
            if kind == "ident" and token in names:
                counts[token] = counts.get(token, 0) + 1
                token = choose(names[token], counts[token], token)
            elif kind == "comment":
                token = rename_comment(token, names)
            elif kind == "string":
                token = rename_captures(token, names)
            result.append(token)
        return "".join(result)


def choose(choices, count, old):
    for new, which in choices:
        if which is None or count in which[0]:
            return new
    return old


def rename_comment(comment, names):
    def quoted(match):
        def one(word):
            choices = names.get(word.group(), [])
            return choices[0][0] if len(choices) == 1 and re.fullmatch(r"\w+", choices[0][0]) else word.group()

        return re.sub(r"\b\w+\b", one, match.group())

    return re.sub(r"`[^`\n]+`", quoted, comment)


def rename_captures(string, names):
    """Follows names that a format string captures, like `{limit}` or `{limit:?}`."""

    def one(match):
        choices = names.get(match.group(1), [])
        whole_file = len(choices) == 1 and choices[0][1] is None
        return "{" + (choices[0][0] if whole_file else match.group(1))

    return re.sub(r"\{(\w+)(?=[:}])", one, string)


def replace_tokens(path, text, old, new):
    """Replaces the only place where the tokens of `old` follow each other."""
    wanted = [token for kind, token, _ in tokens(old) if kind != "space"]
    real = [(token, start) for kind, token, start in tokens(text) if kind not in ("space", "comment")]
    places = [i for i in range(len(real)) if [token for token, _ in real[i : i + len(wanted)]] == wanted]
    if len(places) != 1:
        print(f"{path}: {old!r} occurs {len(places)} times: expected once", file=sys.stderr)
    for i in reversed(places):
        last, start = real[i + len(wanted) - 1]
        text = text[: real[i][1]] + new + text[start + len(last) :]
    return text


def rustfmt(text):
    done = subprocess.run(
        ["rustfmt", "--edition", "2024", "--config-path", str(ROOT)], input=text, capture_output=True, text=True
    )
    return done.stdout if done.returncode == 0 else text


def git(*arguments):
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True).stdout


def apply(group):
    table = Table(group)
    for path in sorted(set(table.names) | set(table.texts)):
        if not (ROOT / path).exists():
            print(f"{path}: not there", file=sys.stderr)
            continue
        text = (ROOT / path).read_text()
        (ROOT / path).write_text(rustfmt(table.apply(path, text)))
    for old, new in table.moves.items():
        if not (ROOT / old).exists():
            print(f"{old}: not there", file=sys.stderr)
            continue
        (ROOT / new).parent.mkdir(parents=True, exist_ok=True)
        git("mv", old, new)


def verify(commit, group):
    table = Table(group)
    listing = lambda tree: {p for p in git("ls-tree", "-r", "--name-only", tree).splitlines() if p.endswith(".rs")}
    before, after = listing(f"{commit}^"), listing(commit)
    moved = {table.moves.get(path, path) for path in before}
    failures = [f"{path}: added or removed, not moved by the table" for path in sorted(moved ^ after)]
    changed = set(git("diff", "--name-only", "--no-renames", f"{commit}^", commit).splitlines())
    compared = 0
    for path in sorted(before):
        new = table.moves.get(path, path)
        if path not in changed and new not in changed and path not in table.names:
            continue
        if new not in after:
            continue
        compared += 1
        expected = code(rustfmt(table.apply(path, git("show", f"{commit}^:{path}"))))
        found = code(rustfmt(git("show", f"{commit}:{new}")))
        if expected != found:
            at = next((i for i, pair in enumerate(zip(expected, found)) if pair[0] != pair[1]), min(len(expected), len(found)))
            failures.append(f"{new}: token {at}: expected {expected[at - 5 : at + 5]}, found {found[at - 5 : at + 5]}")
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{group}: {compared} files compared, {len(failures)} differ")
    return not failures


def main():
    if len(sys.argv) >= 3 and sys.argv[1] == "apply":
        groups = sys.argv[2:] if sys.argv[2:] != ["all"] else sorted(p.stem for p in TOOLS.glob("*.txt"))
        for group in groups:
            apply(group)
    elif len(sys.argv) == 4 and sys.argv[1] == "verify":
        sys.exit(0 if verify(sys.argv[2], sys.argv[3]) else 1)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
