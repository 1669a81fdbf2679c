"""Posts with the CloudEvents SDK: structured, binary, and a batch of what it writes."""

import json
import sys
import urllib.request
import uuid

from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

url, key = sys.argv[1:]


def event(session, data=None):
    data = data or {"session_id": session, "track_id": "cloud-events", "played_ms": 31000}
    attributes = {
        "id": str(uuid.uuid4()),
        "source": "/clients/cloudevents",
        "type": "com.example.player.progress",
        "datacontenttype": "application/json",
        "region": "ex é",
    }
    return CloudEvent(attributes=attributes, data=data)


def post(headers, body):
    headers = {"Authorization": f"Bearer {key}", **headers}
    request = urllib.request.Request(f"{url}/v1/events", data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202, (answer.status, answer.read())


for message in (to_structured(event("ce-structured"), JSONFormat()), to_binary(event("ce-binary"), JSONFormat())):
    post(message.headers, message.body)
# Data in bytes is written as data_base64.
packed = json.dumps({"session_id": "ce-packed", "track_id": "cloud-events"}).encode()
message = to_structured(event("ce-packed", packed), JSONFormat())
assert b"data_base64" in message.body
post(message.headers, message.body)
batch = [json.loads(JSONFormat().write(event("ce-batch"))) for _ in range(3)]
post({"Content-Type": "application/cloudevents-batch+json"}, json.dumps(batch).encode())
