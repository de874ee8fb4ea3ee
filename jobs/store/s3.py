"""A store in an S3 bucket: AWS, SeaweedFS, or any server that honours conditional puts. The only file that knows boto3."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.utils import parse_timestamp

from jobs.errors import AlreadyExists, Conflict, InputError, NotFound, OutOfReach
from jobs.store.protocol import Entry, Stored, Unfinished, checked_name, checked_prefix
from jobs.store.s3_encryption import encryption

T = TypeVar("T")
_CHUNK = 1 << 20
_TRIES = 6
_MISSING = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
_LOST = {"412", "PreconditionFailed"}
_AGAIN = {
    "409",
    "ConditionalRequestConflict",
    "OperationAborted",
    "500",
    "InternalError",
    "503",
    "SlowDown",
    "ServiceUnavailable",
    "RequestTimeout",
}
_MAY_NOT = (
    "these credentials may not do that: to run, the bucket must allow list, get, put and delete; "
    "a key that may only read is enough for plan, status, results, report and verify"
)
_HINTS = {
    "NoSuchBucket": "the bucket does not exist: check its name and AWS_ENDPOINT_URL_S3, or make it (aws s3 mb s3://NAME)",
    "AccessDenied": _MAY_NOT,
    "403": _MAY_NOT,
    "InvalidAccessKeyId": "the server does not know AWS_ACCESS_KEY_ID: check the credentials and AWS_ENDPOINT_URL_S3",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not fit AWS_ACCESS_KEY_ID",
    "ExpiredToken": "the session token has expired: get a new one",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "NotImplemented": "the server does not support conditional puts, which the store needs",
}


class S3Store:
    """Objects under a prefix of a bucket. A tag is the object's ETag.

    Endpoint, credentials and region come from the AWS variables, files and roles that boto3 reads. Whether the server is to encrypt
    what is written, which no AWS variable says, from S2L_S3_SSE and S2L_S3_SSE_KMS_KEY_ID.
    """

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client: Any = _client()
        self._encrypted = encryption()
        self._reached = False

    def get(self, name: str) -> Stored:
        def read() -> Stored:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
            return Stored(answer["Body"].read(), answer["ETag"])

        return self._call(name, read)

    def chunks(self, name: str) -> Iterator[bytes]:
        """A broken connection goes on where it broke, unless the object has changed."""
        answer = self._open(name)
        done, total, tag, broken = 0, answer["ContentLength"], answer["ETag"], 0
        while True:
            try:
                for chunk in answer["Body"].iter_chunks(_CHUNK):
                    done, broken = done + len(chunk), 0
                    yield chunk
                return
            except (BotoCoreError, HTTPClientError) as error:
                broken += 1
                if broken == _TRIES:
                    raise self._out_of_reach(name, error) from error
                time.sleep(_pause(broken))
            if done == total:
                return
            answer = self._open(name, Range=f"bytes={done}-", IfMatch=tag)

    def size(self, name: str) -> int | None:
        with contextlib.suppress(NotFound):
            return int(self._call(name, lambda: self._client.head_object(Bucket=self._bucket, Key=self._key(name)))["ContentLength"])
        if not self._reached:  # a head cannot tell a missing object from a missing bucket
            next(self.list(""), None)
        return None

    def list(self, prefix: str) -> Iterator[Entry]:
        token: dict[str, Any] = {}
        start = self._prefix + checked_prefix(prefix)
        while True:
            page = self._call(prefix, lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=start, **token))  # noqa: B023
            for item in page.get("Contents", ()):
                yield Entry(item["Key"][len(self._prefix) :], item["Size"], item["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def create(self, name: str, data: bytes, *, durable: bool = True) -> str:
        try:
            return self._put(name, data, IfNoneMatch="*")
        except _LostError:
            raise AlreadyExists(f"the store {self.url} has {name} already") from None

    def replace(self, name: str, data: bytes, tag: str, *, durable: bool = True) -> str:
        try:
            return self._put(name, data, IfMatch=tag)
        except (_LostError, NotFound):
            raise Conflict(f"{name} in {self.url} changed since it was read, or is gone") from None

    def put_file(self, name: str, path: Path) -> None:
        key = self._key(name)

        def upload() -> None:
            with path.open("rb") as file:
                self._client.upload_fileobj(file, self._bucket, key, ExtraArgs=self._encrypted)  # in parts, when it is large

        self._call(name, upload)

    def move(self, name: str, to: str) -> None:
        if self.size(to) is not None:
            raise AlreadyExists(f"the store {self.url} has {to} already")
        source = {"Bucket": self._bucket, "Key": self._key(name)}
        tag = self._call(name, lambda: self._client.head_object(**source))["ETag"]
        self._call(name, lambda: self._client.copy(source, self._bucket, self._key(to), ExtraArgs=self._encrypted))
        try:
            self.delete(name, tag)
        except Conflict:
            if self.size(name) is not None:
                self.delete(to)
                raise NotFound(f"{name} in {self.url} was written over while it was moved") from None

    def delete(self, name: str, tag: str | None = None) -> None:
        condition: dict[str, Any] = {} if tag is None else {"IfMatch": tag}
        try:
            self._call(name, lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(name), **condition))
        except NotFound:
            return
        except _LostError:
            raise Conflict(f"{name} in {self.url} changed since it was read") from None

    def unfinished(self) -> Iterator[Unfinished]:
        """Multipart uploads that were begun and neither completed nor aborted; a bucket bills their parts and lists them nowhere else."""
        page: dict[str, Any] = {}
        while True:
            answer = self._call("", lambda: self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=self._prefix, **page))  # noqa: B023
            for upload in answer.get("Uploads", ()):
                where = {"Bucket": self._bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                name = upload["Key"][len(self._prefix) :]
                with contextlib.suppress(NotFound):
                    parts = self._call(name, lambda: self._client.list_parts(**where))  # noqa: B023
                    size = sum(part["Size"] for part in parts.get("Parts", ()))
                    yield Unfinished(name, upload["UploadId"], size, upload["Initiated"].timestamp())
            if not answer.get("IsTruncated"):
                return
            page = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def abandon(self, found: Unfinished) -> None:
        key, upload = self._prefix + found.name, found.id
        with contextlib.suppress(NotFound):
            self._call(found.name, lambda: self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload))

    def _key(self, name: str) -> str:
        return self._prefix + checked_name(name)

    def _open(self, name: str, **going_on: str) -> Any:
        key = self._key(name)
        try:
            return self._call(name, lambda: self._client.get_object(Bucket=self._bucket, Key=key, **going_on))
        except _LostError:
            raise NotFound(f"{name} in {self.url} changed while it was read") from None

    def _put(self, name: str, data: bytes, **condition: str) -> str:
        """A conditional put. One that was sent again may meet its own first copy: then it has won."""
        try:
            put, asked = self._client.put_object, {**condition, **self._encrypted}
            return str(self._call(name, lambda: put(Bucket=self._bucket, Key=self._key(name), Body=data, **asked))["ETag"])
        except _LostError as error:
            if error.sent_again:
                with contextlib.suppress(NotFound):
                    there = self.get(name)
                    if there.data == data:
                        return there.tag
            raise

    def _call(self, name: str, request: Callable[[], T]) -> T:
        """A request, sent again with growing pauses while the server says that it might work later; errors in the ledger's words."""
        for attempt in range(1, _TRIES + 1):
            try:
                answer = request()
                self._reached = True
                return answer
            except ClientError as error:
                code, status = _code(error)
                if {code, status} & _LOST:
                    raise _LostError(attempt > 1 or _sent_again(error)) from None
                if code in _MISSING:
                    raise NotFound(f"the store {self.url} has no {name}") from None
                if attempt == _TRIES or not {code, status} & _AGAIN:
                    raise self._out_of_reach(name, error) from error
            except (BotoCoreError, HTTPClientError) as error:
                if attempt == _TRIES or not isinstance(error, IncompleteReadError | ResponseStreamingError):
                    raise self._out_of_reach(name, error) from error
            time.sleep(_pause(attempt))
        raise AssertionError("unreachable")

    def _out_of_reach(self, name: str, error: Exception) -> OutOfReach:
        at = f"the store {self.url} at {self._client.meta.endpoint_url}"
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            told = f"{at}: no complete credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role"
            return OutOfReach(told, passing=False)
        if isinstance(error, ClientError):
            code, status = _code(error)
            hint = _HINTS.get(code) or _HINTS.get(status) or "look at the server's log"
            return OutOfReach(f"{at} refused {name or 'the bucket'}: {code}; {hint}", passing=not {code, status} & _HINTS.keys())
        return OutOfReach(
            f"{at} does not answer ({type(error).__name__}); check AWS_ENDPOINT_URL_S3, the network, and that the server runs"
        )


class _LostError(Exception):
    """A condition did not hold. `sent_again`: an earlier copy of the same request may have been carried out."""

    def __init__(self, sent_again: bool) -> None:
        super().__init__()
        self.sent_again = sent_again


def _client() -> Any:
    """A client that says in whole who asks: botocore puts that together anew for each request, in a tenth of the request's time."""
    import boto3
    import botocore
    from botocore.config import Config
    from botocore.session import get_session

    retries: Any = {"mode": "standard"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = 5
    named = bool(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
    by_path: Any = {"addressing_style": "path"}  # an own server has no host name for each bucket
    reach: Any = {"connect_timeout": 5, "read_timeout": 60, "max_pool_connections": 32}
    config = Config(retries=retries, s3=by_path if named else {}, user_agent=f"s2l Botocore/{botocore.__version__}", **reach)
    try:
        core = get_session()
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
        session = boto3.session.Session(botocore_session=core)
        client: Any = session.client("s3", config=config)
        if named or ".amazonaws.com" in client.meta.endpoint_url:
            return client
        return session.client("s3", config=config.merge(Config(s3=by_path)))  # named in a profile
    except (BotoCoreError, ValueError) as error:
        raise InputError(f"the AWS settings cannot be used: {error}; check AWS_PROFILE, AWS_CONFIG_FILE and the AWS variables") from None


def _time(value: Any) -> datetime:
    """A time in an answer: of a listing, or in the headers of an object. botocore's own way takes most of the time of a long listing."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(value)
        except (AttributeError, TypeError, ValueError):
            continue
    return parse_timestamp(value)


def _code(error: ClientError) -> tuple[str, str]:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    return str(error.response.get("Error", {}).get("Code", "")), str(status)


def _sent_again(error: ClientError) -> bool:
    return error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0


def _pause(attempt: int) -> float:
    return min(4.0, 0.1 * 2.0**attempt)
