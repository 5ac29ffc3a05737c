"""What the runner itself must see: run.py calls it before the documents."""

import unittest

from blocks import Fault, blocks
from expected import Expected
from session import console_steps
from stages import completed

ID, OTHER = "e345f367-b51b-47e4-86c2-4f4fdd8e7a17", "00000000-1111-4222-8333-444444444444"


class Blocks(unittest.TestCase):
    """Annotations."""

    def test_each_block_says_how_it_is_tried(self):
        found = blocks("x.md", "a\n\n<!-- run: dev; serves 8081\nexport ID=1\n-->\n```sh\nls\n```\n```text\nno\n```\n")
        self.assertEqual([(one.kind, one.value, one.options, one.prelude) for one in found], [
            ("run", "dev", {"serves": "8081"}, "export ID=1\n"), ("", "", {}, "")])

    def test_what_says_nothing_or_nonsense_fails(self):
        for above in ("", "<!-- run: dev -->\n\n", "<!-- run: moon -->\n", "<!-- run: dev; fast -->\n", "<!-- not run: -->\n",
                      "<!-- config: here -->\n", "<!-- other -->\n"):
            for language in ("sh", ""):
                with self.assertRaises(Fault, msg=above):
                    blocks("x.md", f"{above}```{language}\nls\n```\n")

    def test_data_is_parsed(self):
        for language, text in (("json", "{"), ("ndjson", "{}\n{"), ("toml", "a = ")):
            with self.assertRaises(Fault):
                blocks("x.md", f"<!-- not run: x -->\n```{language}\n{text}\n```\n")
        with self.assertRaises(Fault):
            blocks("x.md", "```text\nno end\n")


class Outputs(unittest.TestCase):
    """What a block shows beside what was printed."""

    def test_ids_and_times_are_the_runs_own(self):
        shown = Expected([f'{{"id":"{ID}","bytes":…}}', "2026-11-23T08:34:33.943692252Z line 1"])
        printed = f'{{"id":"{OTHER}","bytes":12}}\n2027-01-01T00:00:00.1Z line 1\n'
        self.assertEqual(shown.match(printed, True), {ID: OTHER})
        self.assertIsNone(shown.match(printed.replace("line 1", "line 2"), True))
        self.assertIsNone(shown.match(f"{printed}more\n", True))
        self.assertEqual(shown.match(f"{printed}more\n", False), {ID: OTHER})

    def test_a_line_of_dots_is_any_lines(self):
        shown = Expected(["first", "…", "last"])
        for printed in ("first\nlast\n", "first\na\nb\nlast\n"):
            self.assertEqual(shown.match(printed, True), {})
        self.assertIsNone(shown.match("first\na\n", True))

    def test_nothing_shown_is_nothing_printed(self):
        self.assertEqual(Expected([]).match("", True), {})
        self.assertIsNone(Expected([]).match("error\n", True))

    def test_commands_and_their_outputs(self):
        block = blocks("x.md", "<!-- run: here -->\n```console\n$ a \\\n    b\nshown\n\n$ c\n^C\n```\n")[0]
        self.assertEqual(console_steps(block), [("a \\\n    b", ["shown"]), ("c", ["^C"])])


class Configurations(unittest.TestCase):
    """The sections that a block lacks."""

    def test_what_is_there_is_kept(self):
        text = completed("[docker]\nexpiry = 'off'", "docker")
        self.assertEqual(text.count("[docker]"), 1)
        self.assertIn('type = "docker"', text)
