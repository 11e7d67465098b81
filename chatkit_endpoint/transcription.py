"""Speech to text, by OpenAI's audio API, for ``input.transcribe``."""

from __future__ import annotations

from chatkit.types import AudioInput, TranscriptionResult
from openai import BadRequestError

from .assistant import openai_client
from .conf import conf
from .errors import Fault, Refused

FILE_NAMES = {
    "audio/webm": "speech.webm",
    "audio/ogg": "speech.ogg",
    "audio/mp4": "speech.mp4",
}
"""What ChatKit's clients record, and a name that tells OpenAI so: it reads the ending."""


async def transcribe(audio: AudioInput) -> TranscriptionResult:
    """The words of a recording.

    Raises NotImplementedError without a key, Refused for what is no recording of a known type,
    and openai.OpenAIError where OpenAI can't be reached or fails.
    """
    if not conf().openai_api_key:
        raise NotImplementedError("OPENAI_API_KEY is not set.")
    media_type = audio.media_type.strip().lower()
    if media_type not in FILE_NAMES or not audio.data:
        raise Refused(Fault.INVALID)
    try:
        answer = await openai_client().audio.transcriptions.create(
            model=conf().chatkit_transcription_model,
            file=(FILE_NAMES[media_type], audio.data, media_type),
        )
    except BadRequestError as error:
        raise Refused(Fault.INVALID) from error
    return TranscriptionResult(text=answer.text)
