"""The headers of an answer are the same on both ways out."""

from __future__ import annotations

import pytest

from marketbell.api.answers import Answer, head_of, headers_of


@pytest.mark.parametrize(
    "answer",
    [
        Answer(202, b"{}"),
        Answer(204),
        Answer(500),
        Answer(503, b'{"a":1}', ((b"retry-after", b"1"), (b"connection", b"close"))),
    ],
)
def test_both_forms_of_the_headers_are_the_same(answer: Answer) -> None:
    lines = head_of(answer, b"r-1").split(b"\r\n")
    assert lines.pop() == b""
    written = [tuple(line.split(b": ", 1)) for line in lines]
    assert sorted(written) == sorted(headers_of(answer, b"r-1"))
