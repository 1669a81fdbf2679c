"""Uploads a folder with boto3: what is large in several parts, everything with a type and a tag."""

import mimetypes
import os
import pathlib
import sys

import boto3
from boto3.s3.transfer import TransferConfig

endpoint, bucket, folder = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name="us-east-1",
    aws_access_key_id=os.environ["ACCESS_KEY"],
    aws_secret_access_key=os.environ["SECRET_KEY"],
    config=boto3.session.Config(s3={"addressing_style": "path"}),
)
TYPES = {".m3u8": "application/vnd.apple.mpegurl", ".m4s": "video/iso.segment", ".m4a": "audio/mp4"}
parts = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=5 << 20)
for path in sorted(pathlib.Path(folder).rglob("*")):
    if path.is_file():
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        extra = {"ContentType": kind, "CacheControl": "max-age=600", "Metadata": {"cache-tag": "boto3"}}
        s3.upload_file(str(path), bucket, str(path.relative_to(folder)), ExtraArgs=extra, Config=parts)
        print(path.relative_to(folder))
