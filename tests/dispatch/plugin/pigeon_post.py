"""A sink of another package: the twenty lines that docs/dispatch.md shows."""

from llmproxy.sinks import Option, Parcel, Plan, Unavailable, encode, message, path


class PigeonSink:
    name = "pigeon"
    options = (Option("loft", "Folder that the letters fly to.", path, required=True),)

    def __init__(self, *, loft, include_content):
        self.loft, self.include_content = loft, include_content

    def plan(self, records):
        return Plan([Parcel([record], self.letter(record)) for record in records])

    def letter(self, record):
        return encode(message(record.value, include_content=self.include_content))

    def send(self, parcel):
        try:
            name = parcel.records[0].value["event_id"]
            (self.loft / f"{name}.json").write_text(parcel.content)
        except OSError as error:
            raise Unavailable(f"pigeon: {error}") from error  # it is sent again
        return []  # or Rejected(record, reason) of what will never be taken

    def check(self):
        return f"{self.loft} is a folder" if self.loft.is_dir() else "the loft is missing"

    def close(self):
        pass
