"""How a site's drops are written, as its plant file says it; what cannot be so is said when the plant file is read."""

import codecs
from datetime import UTC, date, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# Name in a plant file -> what Python calls it.
ENCODINGS = {
    "utf-8": "utf-8",
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "latin-1": "iso8859-1",
    "cp1252": "cp1252",
}
_EXAMPLE = datetime(2004, 2, 12, 22, 32, 39, tzinfo=UTC)


class DropColumns(BaseModel):
    """Names of the columns in the site's drops."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timestamp: str = "timestamp"
    sensor_id: str = "sensor_id"
    value: str = "value"
    quality: str | None = None
    unit: str | None = Field(default=None, description="values in another unit than the sensor's are converted")
    machine: str | None = Field(default=None, description="wide drops only: the column that names the machine")


class DropFormat(BaseModel):
    """How the site's drops are written. Files that end in .gz or .zip (one file in it) are unpacked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["csv", "jsonl", "parquet"] = "csv"
    layout: Literal["long", "wide"] = "long"
    encoding: str = Field(default="utf-8", description=f"of csv and jsonl, a byte order mark or not: {', '.join(ENCODINGS)}")
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str | None = Field(default='"', min_length=1, max_length=1, description="around csv fields; null if there is none")
    decimal: Literal[".", ","] = Field(default=".", description="the mark before the fraction of a csv number")
    columns: DropColumns = DropColumns()
    timestamp_format: str = Field(default="iso", description="iso, epoch_s, epoch_ms, or a strptime pattern")
    time_zone: str = Field(default="UTC", description="of timestamps without an offset: UTC, site, or an IANA name")
    clock_offset_s: float = Field(
        default=0, allow_inf_nan=False, description="how far the gateway's clock is known to be ahead (below 0: behind); put right"
    )
    clock_tolerance_s: float = Field(default=300, ge=0, description="how far a timestamp may lie in the future")
    max_age_days: float | None = Field(default=None, gt=0, description="older readings are refused; counted from the arrival of the file")
    bad_quality: tuple[str, ...] = Field(default=("bad", "Bad", "BAD"), description="values of the quality column that are refused")
    missing_values: tuple[str, ...] = Field(
        default=(), description="texts, and numbers in any spelling, that stand for no value, such as n/a or -9999"
    )
    max_unpacked_mb: float = Field(default=4_000, gt=0, description="a .gz or .zip file that would become larger is refused")
    max_unpack_ratio: float = Field(
        default=200, gt=1, description="and so is one that would become so many times larger; sensor data reach 40"
    )

    @field_validator("bad_quality", "missing_values", mode="before")
    @classmethod
    def _as_texts(cls, values: object) -> object:
        if not isinstance(values, list | tuple):
            return values
        if any(isinstance(value, bool) for value in values):  # YAML 1.1 reads no and off as false
            raise ValueError('write words such as "no" and "off" in quotes')
        return tuple(str(value) if isinstance(value, int | float) else value for value in values)

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str) -> str:
        try:
            python_name = codecs.lookup(name).name.removesuffix("-sig")
        except (LookupError, ValueError):
            python_name = ""
        for known, its_name in ENCODINGS.items():
            if python_name == its_name:
                return known
        raise ValueError(f"unknown encoding {name!r}; known: {', '.join(ENCODINGS)}")

    @field_validator("timestamp_format")
    @classmethod
    def _known_timestamp_format(cls, written_as: str) -> str:
        if written_as in ("iso", "epoch_s", "epoch_ms"):
            return written_as
        where = f"timestamp_format {written_as!r}"
        if "%" not in written_as:
            raise ValueError(f"{where} is none of iso, epoch_s, epoch_ms, and no pattern such as %d.%m.%Y %H:%M:%S")
        try:
            read = datetime.strptime(_EXAMPLE.strftime(written_as), written_as)  # noqa: DTZ007 - only its parts are looked at
        except ValueError as error:
            raise ValueError(f"{where} is no strptime pattern: {error}") from error
        if read.date() != date(2004, 2, 12):
            raise ValueError(f"{where} does not name the day; it needs %Y, %m and %d, or their like")
        if read.hour not in (0, _EXAMPLE.hour):
            raise ValueError(f"{where} does not tell morning from afternoon; use %H, or add %p")
        return written_as

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        for field, mark in (("delimiter", self.delimiter), ("quote", self.quote)):
            if mark is not None and (mark.isalnum() or mark in "\n\r\0"):
                raise ValueError(f"{field} {mark!r} cannot be told from what stands in the fields; use a mark such as ; or a tab")
        if self.kind != "csv" and self.decimal != ".":
            raise ValueError(f"decimal {self.decimal!r}: only csv drops have a decimal comma")
        if self.kind == "csv" and self.decimal in (self.delimiter, self.quote):
            raise ValueError(f"decimal {self.decimal!r} is also the delimiter or the quote; name the delimiter of the files, mostly ;")
        if self.quote is not None and (self.quote == self.delimiter or not self.quote.isascii()):
            raise ValueError(f"quote {self.quote!r} must be an ASCII character other than the delimiter; write null if there is none")
        return self
