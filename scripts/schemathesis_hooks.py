"""What schemathesis does not know of our media types: how they are written, and what is often right in them."""

import json
import uuid

import schemathesis
from hypothesis import strategies as st


@schemathesis.serializer("application/x-ndjson", "application/cmcd")
def as_text(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


def lines(line):
    return st.lists(st.one_of(line, st.text(max_size=40)), min_size=1, max_size=5).map("\n".join)


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=140)
AT = st.one_of(st.integers(1_795_251_600_000, 1_795_255_200_000), st.integers(-1, 10**15 - 1))
CMCD = st.builds(
    lambda e, sta, sid, cid, ts, rest: f'e={e},sta={sta},sid="{sid}",cid="{cid}",ts={ts},{rest}v=2',
    st.sampled_from(["ps", "t", "e", "bc", "rr", "ce", "x"]),
    st.sampled_from(list("sprakeqfwdz")),
    st.one_of(st.just("s-1"), TEXT),
    st.one_of(st.just("trk-1"), TEXT),
    AT,
    st.one_of(
        st.just(""),
        TEXT.map(lambda text: f'url="https://e/{text}?token=x&decision_id={uuid.uuid4()}",'),
        st.floats(0, 10**9).map(lambda n: f"br=(1;v {n:.1f};a),pt={n:.0f},"),
        st.integers(-5, 999).map(lambda n: f'rc={n},ec=("x"),'),
    ),
)
EVENT = st.builds(
    lambda type, text, ts, played: json.dumps(
        {"event_id": str(uuid.uuid4()), "type": type, "session_id": text, "track_id": text, "client_ts": ts,
         "played_ms": played, "mood": text}
    ),
    st.sampled_from(["play_start", "progress", "skip", "dance"]),
    st.one_of(st.just("t-1"), st.text(max_size=130)),
    AT,
    st.one_of(st.none(), st.integers(-1, 2**70)),
)
schemathesis.openapi.format("cmcd-lines", lines(CMCD))
schemathesis.openapi.format("event-lines", lines(EVENT))
