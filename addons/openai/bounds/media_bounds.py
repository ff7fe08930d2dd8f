"""Bound what calls of pictures and sound can use."""

from __future__ import annotations

from addons.openai.bounds import model_sizes as sizes
from addons.openai.bounds.output_limits import positive
from addons.openai.bounds.text_bounds import MARGIN
from addons.openai.bounds.usage_bound import BoundedRequest, UploadBound, UsageBound
from addons.openai.counting import sound
from addons.openai.counting.tally import text
from addons.openai.vocabulary import normalise

SPEECH_PER_CHARACTER = 8
"""Output tokens of a character read out at the slowest speed (0.25): 20 a second, 0.4 s a character."""
PARTIAL_PICTURE = 100
"""Tokens of each picture that is shown while it is made."""
PICTURES = {"low": 408, "medium": 1_584, "high": 6_240}
"""Tokens of a made picture by quality, at the dearest size (docs, image generation, up to gpt-image-1.5)."""
LATER_PICTURE = 25_000
"""It is that of the models after these, which make larger ones: 2048 x 2048, at the same rate by area."""
MOST_PICTURES = 10
"""In one call."""
PICTURES_GIVEN = 16
"""To be edited, in one call."""
PROMPT = 32_000
"""Characters of a picture's description."""
LARGEST_SOUND = 25 * 2**20
"""Bytes of a recording that the API takes."""
TRANSCRIPT = 2_000
"""Tokens of the longest transcript (model pages of the gpt-4o transcription models)."""
PICTURE_MODELS = ("gpt-image-1", "gpt-image-1.5", "gpt-image-2")
TRANSCRIPTION_MODELS = ("gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1")
TRANSLATION_MODELS = ("whisper-1",)


def pictures(found: UsageBound, request: BoundedRequest) -> None:
    """Bound the making or editing of pictures."""
    body = request.body
    count = min(positive(body, "n") or 1, MOST_PICTURES)
    name = normalise(found.model or "")
    if name.startswith("dall-e"):
        found.images = count
        return
    found.model = found.model or PICTURE_MODELS[0]  # the server's choice, and the dearest of them
    early = not name or name.startswith(("gpt-image-1", "chatgpt-image"))
    quality = PICTURES.get(text(body.get("quality")), PICTURES["high"])
    each = MARGIN + (quality if early else LATER_PICTURE)
    found.output_tokens = count * (each + PARTIAL_PICTURE * (positive(body, "partial_images") or 0))
    found.input_tokens = MARGIN + len(text(body.get("prompt")).encode("utf-8", "surrogatepass"))
    found.made.add("image")
    if body.get("images") or body.get("image"):
        found.input_tokens += PICTURES_GIVEN * PICTURES["high"]
        found.given.add("image")


def speech(found: UsageBound, request: BoundedRequest) -> None:
    """Bound a text that is read out."""
    read_out = text(request.body.get("input"))
    told = text(request.body.get("instructions"))
    found.characters = len(read_out)
    found.input_tokens = MARGIN + len((read_out + told).encode("utf-8", "surrogatepass"))
    found.output_tokens = MARGIN + SPEECH_PER_CHARACTER * len(read_out)
    found.made.add("audio")


def _uploaded_pictures(_: int | None) -> UsageBound:
    given = PICTURES_GIVEN * PICTURES["high"] + PROMPT
    return UsageBound(None, given, MOST_PICTURES * LATER_PICTURE, given={"image"}, made={"image"})


def _heard(models: tuple[str, ...]) -> UploadBound:
    def most(size: int | None) -> UsageBound:
        heard = LARGEST_SOUND if size is None else min(size, LARGEST_SOUND)
        window, seconds = sizes.of(models[0]).window, heard // sound.SLOWEST + 1
        return UsageBound(None, window, TRANSCRIPT, seconds=seconds, given={"audio"})

    return UploadBound(models, most)


UPLOADED_PICTURES = UploadBound(PICTURE_MODELS, _uploaded_pictures)
TRANSCRIPTION = _heard(TRANSCRIPTION_MODELS)
TRANSLATION = _heard(TRANSLATION_MODELS)
