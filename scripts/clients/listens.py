"""Posts with liblistenbrainz, which is told a base URL and a token and nothing else."""

import sys
import time

import liblistenbrainz

url, token, wrong = sys.argv[1:]
client = liblistenbrainz.ListenBrainz(api_base_url=url)
try:
    client.set_auth_token(wrong)
    sys.exit("a wrong token was taken for a good one")
except liblistenbrainz.errors.InvalidAuthTokenException:
    pass
client.set_auth_token(token)

now = int(time.time())


def listen(title, at=None):
    return liblistenbrainz.Listen(
        track_name=title,
        artist_name="Client",
        listened_at=at,
        release_name="Check",
        recording_mbid="01935b0e-0000-4000-8000-000000000001",
        tags=["test"],
        additional_info={"duration_ms": 61000, "media_player": "liblistenbrainz"},
    )


assert client.submit_single_listen(listen("single", now - 100)) == {"status": "ok"}
# The same once more: it counts once.
assert client.submit_single_listen(listen("single", now - 100)) == {"status": "ok"}
imported = [listen(f"import {i}", now - 1000 - i) for i in range(100)]
assert client.submit_multiple_listens(imported) == {"status": "ok"}
assert client.submit_playing_now(listen("playing now")) == {"status": "ok"}
try:
    client.submit_single_listen(listen("from the future", now + 10_000))
    sys.exit("a listen from the future was taken")
except liblistenbrainz.errors.ListenBrainzAPIException as error:
    assert error.status_code == 400 and "too high" in error.message, (error.status_code, error.message)
