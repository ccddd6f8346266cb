"""Names of classes, methods and splits that nobody should have to trust."""

EVIL = (
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "two\nlines\r\x85\u2028",
    "\u202egnp.exe",
    "\ud800",
    "nul\x00",
    r"$\frac{$",
    "$a$ $$",
    '=HYPERLINK("http://example.org")',
    "\t=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "＝1",
    "<b>bold</b><script>",
    "a|b",
    "*stars*_lines_`code`[link](http://example.org)",
    r"\input{/etc/passwd}%",
    "_hidden",
    "a" * 10_000,
)
